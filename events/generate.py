"""Write what follows from the contracts: each event's JSON Schema, and docs/events.md (`make events`)."""

import ast
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import create_model

from local import template
from shared import events
from shared.events import Contract, Event, Metadata

ROOT = Path(__file__).resolve().parent.parent


OF_AWS = {
    "aws.s3": ("S3", "an original is in the uploads bucket"),
    "aws.states": ("Step Functions", "a run broke off: it failed, was stopped or took too long"),
}
"""Sources that are AWS's own: who they are, and what their events mean here."""


def schema(event: type[Event]) -> dict[str, Any]:
    """Return the JSON Schema of an event's whole `detail`."""
    model = create_model(
        event.detail_type,
        __base__=Contract,
        __doc__=event.__doc__,
        metadata=(Metadata, ...),
        data=(event, ...),
    )
    described = model.model_json_schema()
    # It has a default, but the rules let no event through that does not say it.
    described["$defs"]["Metadata"]["required"].insert(0, "version")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **described}


def hearers() -> dict[tuple[str, str], list[str]]:
    """Return the functions that hear of each (source, detail-type), by the template's rules."""
    resources = template.load(ROOT / "template.yaml").resources
    functions = {
        source["Properties"]["Queue"]["Fn::GetAtt"][0]: function.properties["Handler"].split(".")[1]
        for function in resources.values()
        if function.type == "AWS::Serverless::Function"
        for source in function.properties.get("Events", {}).values()
        if source["Type"] == "SQS"
    }
    heard: dict[tuple[str, str], list[str]] = {}
    for rule in resources.values():
        if rule.type == "AWS::Events::Rule" and "EventPattern" in rule.properties:
            pattern = rule.properties["EventPattern"]
            names = [functions[target["Arn"]["Fn::GetAtt"][0]] for target in rule.properties["Targets"]]
            for source in pattern["source"]:
                for detail_type in pattern["detail-type"]:
                    heard.setdefault((source, detail_type), []).extend(names)
    return heard


def publishers() -> dict[str, list[str]]:
    """Return the functions that make each event: they call its class, or code of `shared` that does."""
    named = {event.__name__ for event in events.EVENTS}
    makers = {name: {name} for name in named}
    for path in sorted((ROOT / "shared").glob("*.py")):
        for function in ast.parse(path.read_text()).body:
            if isinstance(function, ast.FunctionDef):
                for made in named & set(_calls(function)):
                    makers[made] |= {function.name, f"{path.stem}.{function.name}"}
    found: dict[str, list[str]] = {name: [] for name in named}
    for folder in sorted(path for path in (ROOT / "functions").iterdir() if path.is_dir()):
        called = {name for path in folder.rglob("*.py") for name in _calls(ast.parse(path.read_text()))}
        for made, by in makers.items():
            if called & by:
                found[made].append(folder.name)
    return found


def _calls(tree: ast.AST) -> Iterator[str]:
    """Yield what is called in a piece of code: `name` or `module.name`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
        ):
            yield f"{node.func.value.id}.{node.func.attr}"


def _kind(field: Mapping[str, Any]) -> str:
    """Say in a few words what a JSON Schema allows."""
    if "const" in field:
        return f"`{json.dumps(field['const'])}`"
    if "enum" in field:
        return "one of " + ", ".join(f"`{value}`" for value in field["enum"])
    if "anyOf" in field:
        return " or ".join(_kind(choice) for choice in field["anyOf"])
    formats = {"uuid": "UUID", "date-time": "time with zone"}
    return formats.get(field.get("format", ""), str(field["type"]))


def _fields(model: type[Contract]) -> Iterator[str]:
    described = model.model_json_schema()
    yield "| Field | Holds | Always there | Means |"
    yield "|---|---|---|---|"
    for name, field in described["properties"].items():
        always = "yes" if name in described.get("required", []) or "const" in field else "no"
        yield f"| `{name}` | {_kind(field)} | {always} | {field.get('description', '')} |"


def document() -> str:
    """Return docs/events.md."""
    heard, published = hearers(), publishers()
    version = Metadata.model_fields["version"].default
    rows = [
        f"| `{detail_type}` ({who}) | {says} | {who} | {', '.join(by)} |"
        for (source, detail_type), by in heard.items()
        if source in OF_AWS
        for who, says in [OF_AWS[source]]
    ]
    for event in events.EVENTS:
        by = heard.get((events.SOURCE, event.detail_type), [])
        rows.append(
            f"| [`{event.detail_type}`](#{event.detail_type.lower()}) | {_says(event)} "
            f"| {', '.join(published[event.__name__])} | {', '.join(by) or 'nobody yet'} |"
        )
    lines = [
        "# Events",
        "",
        "<!-- Written by `make events` from shared/events.py and template.yaml: edit those. -->",
        "",
        f"Everything that happens to an item is said on the event bus, with source `{events.SOURCE}`.",
        "",
        "| Event | Says | Published by | Heard by |",
        "|---|---|---|---|",
        *rows,
        "",
        "The `detail` of each of our own is an object of two: `metadata`, the same everywhere, and `data`.",
        "Ignore fields that are not listed: an optional field may be added without a new version.",
        "",
        "## metadata",
        "",
        *_fields(Metadata),
    ]
    for event in events.EVENTS:
        place = f"../events/{event.detail_type}/v{version}"
        lines += [
            "",
            f"## {event.detail_type}",
            "",
            f"{event.__doc__} [Schema]({place}.schema.json), [example]({place}.example.json).",
            "",
            *_fields(event),
        ]
    return "\n".join(lines) + "\n"


def _says(event: type[Event]) -> str:
    sentence = (event.__doc__ or "").strip().splitlines()[0].rstrip(".")
    return sentence[0].lower() + sentence[1:]


def files() -> dict[Path, str]:
    """Return every generated file, by its path from the project's root."""
    version = Metadata.model_fields["version"].default
    written = {Path("docs/events.md"): document()}
    for event in events.EVENTS:
        path = Path("events") / event.detail_type / f"v{version}.schema.json"
        written[path] = json.dumps(schema(event), indent=2) + "\n"
    return written


if __name__ == "__main__":
    for path, content in files().items():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(content)
