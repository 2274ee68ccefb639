"""The API's OpenAPI document, held against what the API really answers."""

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import jsonschema_rs

PATH = Path(__file__).resolve().parents[2] / "docs" / "openapi.json"


class Answer(Protocol):
    """What the API answered; `body` is parsed where it is JSON."""

    status: int
    headers: dict[str, str]
    body: Any


@cache
def document() -> dict[str, Any]:
    """The document as it is committed; tests/contract holds that it is what the API says now."""
    return dict(json.loads(PATH.read_text()))


@dataclass(frozen=True)
class Operation:
    """What the document says of one method of one path."""

    method: str
    path: str

    @property
    def said(self) -> dict[str, Any]:
        return dict(document()["paths"][self.path][self.method.lower()])

    @property
    def name(self) -> str:
        return str(self.said["operationId"])

    @property
    def parameters(self) -> list[dict[str, Any]]:
        return [resolved(each) for each in self.said.get("parameters", [])]

    @property
    def takes_body(self) -> bool:
        return "requestBody" in self.said

    @property
    def takes_key(self) -> bool:
        return any(each["name"] == "Idempotency-Key" for each in self.parameters)

    @property
    def is_open(self) -> bool:
        """Whether it needs no token."""
        return self.said.get("security") == []

    def example(self) -> Any:
        """A body that is all right, None where there is none."""
        content = self.said.get("requestBody", {}).get("content", {}).get("application/json", {})
        return content.get("example")

    def fields(self) -> dict[str, set[str]]:
        """The fields of its body, each with the types of JSON that it takes."""
        content = self.said["requestBody"]["content"]["application/json"]
        models = [resolved(each) for each in _choices(resolved(content["schema"]))]
        return {
            name: {str(resolved(choice).get("type")) for choice in _choices(schema)}
            for model in models
            for name, schema in model.get("properties", {}).items()
        }

    def at(self, **ids: str) -> str:
        """Its path, with ids in it."""
        return re.sub(r"{(\w+)}", lambda match: ids[match[1]], self.path)

    def kinds(self, status: int) -> list[str]:
        """The ends of the types of problems that it may answer with."""
        told = resolved(self.said["responses"].get(str(status), {}))
        return list(told.get("content", {}).get("application/problem+json", {}).get("examples", {}))


def operations() -> list[Operation]:
    """Every operation of the document; there has to be one."""
    found = [
        Operation(method.upper(), path) for path, methods in document()["paths"].items() for method in methods
    ]
    assert found
    return found


def resolved(node: dict[str, Any]) -> dict[str, Any]:
    """What a reference into the document means; anything else is itself."""
    if "$ref" not in node:
        return node
    found: Any = document()
    for part in node["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return dict(found)


def _choices(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """The schemas of which a value fits one."""
    return list(schema.get("anyOf", schema.get("oneOf", [schema])))


@cache
def _validator(schema: str) -> jsonschema_rs.Draft202012Validator:
    whole = {**json.loads(schema), "components": document()["components"]}
    return jsonschema_rs.Draft202012Validator(whole, validate_formats=True)


@cache
def _matchers() -> list[tuple[re.Pattern[str], str]]:
    # A path without parameters comes before one that also fits: /items/reprocess, /items/{item_id}.
    paths = sorted(document()["paths"], key=lambda path: path.count("{"))
    return [(re.compile(re.sub(r"{\w+}", "[^/]+", path)), path) for path in paths]


def operation_of(method: str, path: str) -> Operation | None:
    """The operation that a request is one of, None where the document knows none."""
    for pattern, template in _matchers():
        if pattern.fullmatch(path) and method.lower() in document()["paths"][template]:
            return Operation(method, template)
    return None


def misfit(operation: Operation, answer: Answer) -> str | None:
    """Say what the document does not tell of an answer, None when it is as it says."""
    said = operation.said["responses"].get(str(answer.status))
    place = f"{operation.method} {operation.path} answered {answer.status}"
    if said is None:
        return f"{place}, which the document does not know: {answer.body}"
    contents = resolved(said).get("content", {})
    kind = answer.headers.get("content-type", "").partition(";")[0]
    if not contents:
        return None if not answer.body else f"{place} with a body"
    if kind not in contents:
        return f"{place} as {kind}, and the document knows {sorted(contents)}"
    if "json" not in kind:
        return None
    validator = _validator(json.dumps(contents[kind]["schema"]))
    errors = [f"{list(error.instance_path)}: {error.message}" for error in validator.iter_errors(answer.body)]
    return f"{place}: {'; '.join(errors)[:600]}" if errors else None
