"""Read template.yaml: its parameters, conditions and intrinsic functions, made plain values.

CloudFormation's own rules, for what one template can hold without an account: whatever they leave
unknown here (a misspelt `!Ref`, an import from another stack, a section or function that is not
known) is a `TemplateError` that names the place, never a guess.
"""

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

REGION = "us-east-1"
ACCOUNT = "123456789012"
"""The account that moto pretends to be."""

SERVERLESS = "AWS::Serverless-2016-10-31"
SECTIONS = {
    "AWSTemplateFormatVersion",
    "Transform",
    "Description",
    "Metadata",
    "Mappings",
    "Parameters",
    "Conditions",
    "Globals",
    "Resources",
    "Outputs",
}
RESOURCE_KEYS = {
    "Type",
    "Properties",
    "Metadata",
    "DependsOn",
    "Condition",
    "DeletionPolicy",
    "UpdateReplacePolicy",
}
PARAMETER_TYPES = {"String", "Number", "CommaDelimitedList", "List<Number>"}
MAX_DEPTH = 100

NO_VALUE = object()
"""`!Ref AWS::NoValue`: the property is not there."""


class TemplateError(Exception):
    """The template says something that cannot be resolved; the message names the place."""


class ParameterError(TemplateError):
    """A parameter that was given is none of the template's, or has a value that it does not take."""


class UnsupportedResourceError(TemplateError):
    """The template holds something that cannot be run on one machine, and nothing skips it in silence."""

    def __init__(self, logical_id: str, kind: str, reason: str) -> None:
        super().__init__(f"{logical_id} ({kind}): {reason}")
        self.logical_id = logical_id
        self.kind = kind
        self.reason = reason


class _Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short tags, where a key stands once and a date is text."""


def _construct_mapping(loader: _Loader, node: yaml.MappingNode) -> dict[str, Any]:
    mapping: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if isinstance(key, int) and not isinstance(key, bool):
            key = str(key)
        if not isinstance(key, str):
            # YAML 1.1 reads `Yes`, `No`, `On` and `Off` as truth values, here as in CloudFormation.
            raise TemplateError(f"line {key_node.start_mark.line + 1}: {key!r} is no text; quote it")
        if key in mapping:
            raise TemplateError(f"line {key_node.start_mark.line + 1}: {key} stands there twice")
        mapping[key] = loader.construct_object(value_node, deep=True)
    return mapping


def _construct_short(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    """`!Sub x` is `{"Fn::Sub": x}`; `!GetAtt A.B` is `{"Fn::GetAtt": ["A", "B"]}`."""
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = _construct_mapping(loader, node)  # type: ignore[arg-type]
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_constructor("tag:yaml.org,2002:map", _construct_mapping)
_Loader.add_multi_constructor("!", _construct_short)


@dataclass
class Names:
    """What `Ref` and `GetAtt` of the created resources give, filled while they are created."""

    refs: dict[str, Any] = field(default_factory=dict)
    attributes: dict[tuple[str, str], Any] = field(default_factory=dict)

    def add(self, logical_id: str, ref: Any, **attributes: Any) -> None:
        self.refs[logical_id] = ref
        for name, value in attributes.items():
            self.attributes[logical_id, name] = value


@dataclass(frozen=True)
class Resource:
    """One resource as it stands in the template, intrinsics and all."""

    logical_id: str
    type: str
    properties: Mapping[str, Any]
    depends_on: tuple[str, ...] = ()


@dataclass(frozen=True)
class Template:
    """A template with its parameters and conditions decided.

    Attributes:
        parameters: each parameter's value: str, int, float or a list of str.
        resources: those whose condition holds, in the template's order, Globals merged in.
        absent: logical ids of those whose condition does not hold.
    """

    path: Path
    stack_name: str
    region: str
    account: str
    parameters: Mapping[str, Any]
    conditions: Mapping[str, bool]
    mappings: Mapping[str, Any]
    resources: Mapping[str, Resource]
    absent: frozenset[str]
    outputs: Mapping[str, Any]

    def resolve(self, value: Any, names: Names, where: str) -> Any:
        """Return the value with every intrinsic function replaced by what it gives.

        Args:
            where: the place in the template, for errors.

        Raises:
            TemplateError: something in it is not known.
        """
        resolved = _Resolver(self, names).resolve(value, where, 0)
        return None if resolved is NO_VALUE else resolved

    def pseudo_parameters(self) -> dict[str, Any]:
        stack = f"arn:aws:cloudformation:{self.region}:{self.account}:stack/{self.stack_name}/local"
        return {
            "AWS::Region": self.region,
            "AWS::AccountId": self.account,
            "AWS::Partition": "aws",
            "AWS::URLSuffix": "amazonaws.com",
            "AWS::StackName": self.stack_name,
            "AWS::StackId": stack,
            "AWS::NotificationARNs": [],
            "AWS::NoValue": NO_VALUE,
        }


class _Resolver:
    """Intrinsic functions to values, for one template and one table of names."""

    def __init__(self, template: Template, names: Names) -> None:
        self.template = template
        self.names = names
        self.pseudo = template.pseudo_parameters()

    def resolve(self, value: Any, where: str, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise TemplateError(f"{where}: nested too deep")
        if isinstance(value, list):
            items = (self.resolve(item, f"{where}[{n}]", depth + 1) for n, item in enumerate(value))
            return [item for item in items if item is not NO_VALUE]
        if isinstance(value, str) and "{{resolve:" in value:
            raise TemplateError(f"{where}: dynamic references ({value}) are not known here")
        if not isinstance(value, dict):
            return value
        function = intrinsic(value)
        if function is not None:
            return self.call(function, value[function], where, depth + 1)
        pairs = ((key, self.resolve(inner, f"{where}.{key}", depth + 1)) for key, inner in value.items())
        return {key: inner for key, inner in pairs if inner is not NO_VALUE}

    def call(self, function: str, argument: Any, where: str, depth: int) -> Any:
        match function:
            case "Ref":
                return self.ref(argument, where)
            case "Fn::GetAtt":
                return self.attribute(argument, where, depth)
            case "Fn::Sub":
                return self.sub(argument, where, depth)
            case "Fn::If":
                condition, then, otherwise = _arguments(argument, 3, function, where)
                return self.resolve(then if self.holds(condition, where) else otherwise, where, depth)
            case "Fn::Join":
                separator, parts = _arguments(argument, 2, function, where)
                resolved = self.resolve(parts, where, depth)
                if not isinstance(resolved, list):
                    raise TemplateError(f"{where}: !Join needs a list")
                return str(separator).join(text(part, where) for part in resolved)
            case "Fn::Split":
                separator, whole = _arguments(argument, 2, function, where)
                return text(self.resolve(whole, where, depth), where).split(separator)
            case "Fn::Select":
                index, choices = _arguments(argument, 2, function, where)
                resolved = self.resolve(choices, where, depth)
                try:
                    return resolved[int(self.resolve(index, where, depth))]
                except (IndexError, ValueError, TypeError, KeyError) as error:
                    raise TemplateError(f"{where}: !Select finds nothing at {index}") from error
            case "Fn::FindInMap":
                path = [text(self.resolve(part, where, depth), where) for part in argument]
                found: Any = self.template.mappings
                for part in path:
                    if not isinstance(found, dict) or part not in found:
                        raise TemplateError(f"{where}: no mapping {'.'.join(path)}")
                    found = found[part]
                return found
            case "Fn::Base64":
                import base64

                plain = text(self.resolve(argument, where, depth), where)
                return base64.b64encode(plain.encode()).decode()
            case "Condition" | "Fn::Equals" | "Fn::Not" | "Fn::And" | "Fn::Or":
                return self.condition({function: argument}, where)
        raise TemplateError(f"{where}: {function} is not known here")

    def ref(self, name: Any, where: str) -> Any:
        if name in self.pseudo:
            return self.pseudo[name]
        if name in self.template.parameters:
            return self.template.parameters[name]
        if name in self.names.refs:
            return self.names.refs[name]
        raise TemplateError(f"{where}: !Ref {name}: {self._missing(name)}")

    def attribute(self, argument: Any, where: str, depth: int) -> Any:
        logical_id, name = _arguments(argument, 2, "Fn::GetAtt", where)
        name = self.resolve(name, where, depth)
        try:
            return self.names.attributes[logical_id, name]
        except KeyError:
            raise TemplateError(
                f"{where}: !GetAtt {logical_id}.{name}: {self._missing(logical_id)}"
            ) from None

    def _missing(self, logical_id: Any) -> str:
        if logical_id in self.template.absent:
            return "its condition does not hold, so it is not there"
        if logical_id in self.template.resources:
            return f"a {self.template.resources[logical_id].type} has nothing of this name on one machine"
        return "nothing has this name"

    def sub(self, argument: Any, where: str, depth: int) -> str:
        pattern, variables = argument, {}
        if isinstance(argument, list):
            pattern, variables = _arguments(argument, 2, "Fn::Sub", where)
        if not isinstance(pattern, str):
            raise TemplateError(f"{where}: !Sub needs a text")

        def replace(match: re.Match[str]) -> str:
            name = match[1]
            if name.startswith("!"):
                return "${" + name[1:] + "}"
            if name in variables:
                return text(self.resolve(variables[name], where, depth), where)
            if "." in name:
                return text(self.attribute(name.split(".", 1), where, depth), where)
            return text(self.ref(name, where), where)

        return re.sub(r"\$\{([^}]+)\}", replace, pattern)

    def holds(self, name: Any, where: str) -> bool:
        if name not in self.template.conditions:
            raise TemplateError(f"{where}: no condition {name}")
        return self.template.conditions[name]

    def condition(self, value: Any, where: str) -> bool:
        function = intrinsic(value)
        argument = value[function] if function else None
        match function:
            case "Condition":
                return self.holds(argument, where)
            case "Fn::Equals":
                left, right = _arguments(argument, 2, function, where)
                return text(self.resolve(left, where, 0), where) == text(self.resolve(right, where, 0), where)
            case "Fn::Not":
                return not self.condition(_arguments(argument, 1, function, where)[0], where)
            case "Fn::And":
                return all([self.condition(part, where) for part in argument])
            case "Fn::Or":
                return any([self.condition(part, where) for part in argument])
        raise TemplateError(f"{where}: {value} is not a condition")


def load(
    path: Path,
    parameters: Mapping[str, str] | None = None,
    *,
    defaults: Mapping[str, str] | None = None,
    stack_name: str = "magpie",
    region: str = REGION,
    account: str = ACCOUNT,
) -> Template:
    """Read a template and decide its parameters and conditions.

    Args:
        parameters: values that replace the template's defaults.
        defaults: values for those of these parameters that the template has and nobody gives.

    Raises:
        TemplateError: it cannot be read, a parameter's value is missing or not allowed, or
            something refers to what is not there.
    """
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 - a SafeLoader
    except OSError as error:
        raise TemplateError(f"{path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise TemplateError(f"{path} is not YAML: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("Resources"), dict):
        raise TemplateError(f"{path} has no Resources")
    if unknown := sorted(set(document) - SECTIONS):
        raise TemplateError(f"{path}: section {unknown[0]} is not known here")
    if document.get("Transform", SERVERLESS) not in (SERVERLESS, [SERVERLESS]):
        raise TemplateError(f"{path}: transform {document['Transform']} is not known here")

    known = {k: v for k, v in (defaults or {}).items() if k in document.get("Parameters", {})}
    draft = Template(
        path=path,
        stack_name=stack_name,
        region=region,
        account=account,
        parameters=_parameters(document.get("Parameters", {}), {**known, **(parameters or {})}),
        conditions={},
        mappings=document.get("Mappings", {}),
        resources={},
        absent=frozenset(),
        outputs=document.get("Outputs", {}),
    )
    conditions = _conditions(draft, document.get("Conditions", {}))
    resources: dict[str, Resource] = {}
    absent: set[str] = set()
    for logical_id, body in document["Resources"].items():
        resource, condition = _resource(logical_id, body, document.get("Globals", {}))
        if condition is not None and condition not in conditions:
            raise TemplateError(f"Resources.{logical_id}: no condition {condition}")
        if condition is None or conditions[condition]:
            resources[logical_id] = resource
        else:
            absent.add(logical_id)
    template = Template(
        **{
            **draft.__dict__,
            "conditions": conditions,
            "resources": resources,
            "absent": frozenset(absent),
        }
    )
    _check_references(template, document)
    return template


def intrinsic(value: Any) -> str | None:
    """Return the name of the intrinsic function that a value is, or None."""
    if isinstance(value, dict) and len(value) == 1:
        name = str(next(iter(value)))
        if name == "Ref" or name.startswith("Fn::"):
            return name
        if name == "Condition" and isinstance(value[name], str):
            return name
    return None


def text(value: Any, where: str) -> str:
    """Return a scalar as CloudFormation writes it into a text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise TemplateError(f"{where}: a text is needed, not {json.dumps(value, default=repr)}")


def _arguments(argument: Any, count: int, function: str, where: str) -> list[Any]:
    if not isinstance(argument, list) or len(argument) != count:
        raise TemplateError(f"{where}: {function} needs {count} arguments")
    return argument


def _parameters(specifications: Mapping[str, Any], given: dict[str, str]) -> dict[str, Any]:
    if unknown := sorted(set(given) - set(specifications)):
        alike = difflib.get_close_matches(unknown[0], specifications, 1, 0.5)
        meant = f"; did you mean {alike[0]}?" if alike else "; see Parameters there"
        raise ParameterError(f"the template has no parameter {unknown[0]}{meant}")
    values = {}
    for name, specification in specifications.items():
        where = f"Parameters.{name}"
        kind = specification.get("Type")
        if kind not in PARAMETER_TYPES:
            raise TemplateError(f"{where}: type {kind} is not known here")
        raw = given.get(name, specification.get("Default"))
        if raw is None:
            raise ParameterError(f"{where}: has no default and was not given")
        values[name] = _parameter(kind, raw, specification, where)
    return values


def _parameter(kind: str, raw: Any, specification: Mapping[str, Any], where: str) -> Any:
    if kind in ("CommaDelimitedList", "List<Number>"):
        plain = raw if isinstance(raw, list) else text(raw, where).split(",")
        value: Any = [text(part, where).strip() for part in plain]
        parts = value
    else:
        value = text(raw, where)
        parts = [value]
    sentence = specification.get("ConstraintDescription", "")
    for part in parts:
        if "AllowedValues" in specification:
            allowed = [text(choice, where) for choice in specification["AllowedValues"]]
            if part not in allowed:
                raise ParameterError(
                    f"{where}: {part!r} is not one of {', '.join(allowed)}. {sentence}".strip()
                )
        pattern = specification.get("AllowedPattern")
        if pattern is not None and not re.fullmatch(pattern, part):
            raise ParameterError(f"{where}: {part!r} does not match {pattern}. {sentence}".strip())
        if not specification.get("MinLength", 0) <= len(part) <= specification.get("MaxLength", 4096):
            raise ParameterError(f"{where}: the length of {part!r} is not allowed. {sentence}".strip())
    if kind == "Number":
        try:
            value = int(value) if re.fullmatch(r"[+-]?\d+", value) else float(value)
        except ValueError:
            raise ParameterError(f"{where}: {value!r} is not a number") from None
        if not specification.get("MinValue", value) <= value <= specification.get("MaxValue", value):
            raise ParameterError(f"{where}: {value} is out of range. {sentence}".strip())
    return value


def _conditions(draft: Template, specifications: Mapping[str, Any]) -> dict[str, bool]:
    """Decide every condition; one may name others, in any order."""
    decided: dict[str, bool] = {}
    waiting = dict(specifications)
    while waiting:
        ready = [name for name, body in waiting.items() if not set(_named_conditions(body)) & set(waiting)]
        if not ready:
            raise TemplateError(f"Conditions.{next(iter(waiting))}: conditions name each other in a circle")
        for name in ready:
            known = Template(**{**draft.__dict__, "conditions": decided})
            decided[name] = _Resolver(known, Names()).condition(waiting.pop(name), f"Conditions.{name}")
    return decided


def _named_conditions(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "Condition" and isinstance(inner, str):
                yield inner
            else:
                yield from _named_conditions(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _named_conditions(inner)


def _resource(logical_id: str, body: Any, shared: Mapping[str, Any]) -> tuple[Resource, str | None]:
    where = f"Resources.{logical_id}"
    if not isinstance(body, dict) or not isinstance(body.get("Type"), str):
        raise TemplateError(f"{where}: has no Type")
    if unknown := sorted(set(body) - RESOURCE_KEYS):
        raise TemplateError(f"{where}: {unknown[0]} is not known here")
    kind = body["Type"]
    properties = body.get("Properties", {})
    if kind.startswith("AWS::Serverless::"):
        properties = _merge(shared.get(kind.removeprefix("AWS::Serverless::"), {}), properties)
    depends_on = body.get("DependsOn", [])
    depends_on = [depends_on] if isinstance(depends_on, str) else depends_on
    return Resource(logical_id, kind, properties, tuple(depends_on)), body.get("Condition")


def _merge(common: Any, own: Any) -> Any:
    """SAM's rule for Globals: mappings are merged, lists joined, the resource's own word wins."""
    if isinstance(common, dict) and isinstance(own, dict) and not (intrinsic(common) or intrinsic(own)):
        merged = {key: _merge(value, own[key]) if key in own else value for key, value in common.items()}
        return {**merged, **{key: value for key, value in own.items() if key not in common}}
    if isinstance(common, list) and isinstance(own, list):
        return [*common, *own]
    return own


def _check_references(template: Template, document: Mapping[str, Any]) -> None:
    """Refuse a misspelt name wherever it stands, also where nothing here would resolve it."""
    logical_ids = set(template.resources) | template.absent
    # SAM makes resources of its own, named after a function or an API.
    made = {
        f"{name}{suffix}" for name in logical_ids for suffix in ("Role", "Stage", "ApiGatewayDefaultStage")
    }
    known = logical_ids | made | set(template.parameters) | set(template.pseudo_parameters())

    def check(name: Any, names: set[str], where: str) -> None:
        if name not in names:
            raise TemplateError(f"{where}: nothing is named {name}")

    def walk(value: Any, where: str) -> None:
        if isinstance(value, list):
            for n, inner in enumerate(value):
                walk(inner, f"{where}[{n}]")
            return
        if not isinstance(value, dict):
            return
        function = intrinsic(value)
        argument = value[function] if function else None
        if function == "Ref":
            check(argument, known, where)
        elif function == "Fn::GetAtt":
            check(_arguments(argument, 2, function, where)[0], logical_ids | made, where)
        elif function == "Fn::If":
            check(_arguments(argument, 3, function, where)[0], set(template.conditions), where)
        elif function == "Fn::Sub":
            pattern, variables = argument if isinstance(argument, list) else (argument, {})
            for name in re.findall(r"\$\{([^!}][^}]*)\}", str(pattern)):
                if name not in variables:
                    check(name.split(".", 1)[0], known, where)
        for key, inner in value.items():
            walk(inner, f"{where}.{key}")

    for section in ("Globals", "Outputs", "Resources"):
        walk(document.get(section, {}), section)
    for resource in template.resources.values():
        for name in resource.depends_on:
            check(name, logical_ids, f"Resources.{resource.logical_id}.DependsOn")
