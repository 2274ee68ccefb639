"""Turn the OpenAPI document into a page that people read: no script, and nothing from elsewhere.

The document itself is written by `make openapi` and shipped beside this module.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from markupsafe import Markup

JSON = "application/json"
_STRONG_OR_CODE = re.compile(r"`([^`]+)`|\*\*([^*]+)\*\*")


@dataclass(frozen=True)
class Page:
    """A page, and the Content-Security-Policy that lets it have its own style and nothing else."""

    html: str
    policy: str


@dataclass(frozen=True)
class Field:
    """A line of a table: a parameter or a property."""

    name: str
    kind: "Markup"
    required: bool
    text: "Markup"
    place: str = ""


@cache
def document() -> str:
    """Return the OpenAPI document as it was written."""
    return _beside("openapi.json")


@cache
def page() -> Page:
    """Return the page of the document."""
    style = _beside("reference.css")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Page(render(json.loads(document()), style), policy)


def render(described: Mapping[str, Any], style: str) -> str:
    """Return the page of an OpenAPI document.

    Args:
        style: CSS, put into the page as it is.
    """
    # Only who reads the page waits for it.
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["prose"] = prose
    return environment.from_string(_beside("reference.html")).render(
        style=Markup(style),  # noqa: S704 - our own file
        info=described["info"],
        tags=[
            {**tag, "operations": [each for each in _operations(described) if tag["name"] in each["tags"]]}
            for tag in described["tags"]
        ],
        schemas=[
            {
                "name": name,
                "text": prose(schema.get("description", "")),
                "fields": list(fields(schema)),
                "kind": kind(schema),
            }
            for name, schema in described["components"]["schemas"].items()
        ],
    )


def prose(text: str) -> "Markup":
    """Return text as HTML: paragraphs, `code` and **strong**; everything else is text."""
    from markupsafe import Markup, escape

    def mark(match: re.Match[str]) -> str:
        return f"<code>{match[1]}</code>" if match[1] else f"<strong>{match[2]}</strong>"

    paragraphs = (str(escape(part)).replace("\n", " ") for part in text.split("\n\n") if part)
    marked = (_STRONG_OR_CODE.sub(mark, paragraph) for paragraph in paragraphs)
    return Markup("").join(Markup(f"<p>{paragraph}</p>") for paragraph in marked)  # noqa: S704 - escaped above


def kind(schema: Mapping[str, Any]) -> "Markup":
    """Say in a few words what a schema allows, as HTML with links to the models it names."""
    from markupsafe import Markup

    if "$ref" in schema:
        return Markup('<a href="#model-{0}">{0}</a>').format(schema["$ref"].rpartition("/")[2])
    if "const" in schema:
        return Markup("<code>{}</code>").format(_plain(schema["const"]))
    if "enum" in schema:
        return Markup(", ").join(Markup("<code>{}</code>").format(_plain(value)) for value in schema["enum"])
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return Markup(" or ").join(kind(choice) for choice in schema[several])
    if schema.get("type") == "array":
        return Markup("list of {}").format(kind(schema["items"])) + _bounds(schema, "Items", "entries")
    if schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), Mapping):
        return Markup("object of {}").format(kind(schema["additionalProperties"]))
    named = {"uuid": "UUID", "date-time": "time", "date": "day", "uri": "URL"}
    shown = Markup("{}").format(named.get(schema.get("format", ""), schema.get("type", "anything")))
    if schema.get("type") == "string":
        return shown + _bounds(schema, "Length", "characters")
    low, high = schema.get("minimum"), schema.get("maximum")
    return shown + _range(low, high, "")


def fields(schema: Mapping[str, Any]) -> Iterator[Field]:
    """Yield the properties of an object's schema."""
    for name, each in schema.get("properties", {}).items():
        yield Field(
            name, _with_default(each), name in schema.get("required", []), prose(each.get("description", ""))
        )


def _operations(described: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            body = operation.get("requestBody")
            yield {
                "description": "",
                **operation,
                "method": method.upper(),
                "path": path,
                "open": operation.get("security") == [],
                "fields": [
                    _parameter(_resolved(each, described)) for each in operation.get("parameters", [])
                ],
                "body": body and {"required": body["required"], **_content(body["content"][JSON])},
                "answers": [
                    {"status": status, "problem": int(status) >= 400, **_answer(_resolved(each, described))}
                    for status, each in operation["responses"].items()
                ],
                "curl": _curl(path, method.upper(), operation, described),
            }


def _parameter(parameter: Mapping[str, Any]) -> Field:
    text = prose(parameter.get("description", ""))
    return Field(
        parameter["name"], _with_default(parameter["schema"]), parameter["required"], text, parameter["in"]
    )


def _answer(response: Mapping[str, Any]) -> dict[str, Any]:
    first = next(iter(response.get("content", {}).items()), None)
    return {
        "text": [prose(line) for line in response["description"].splitlines()],
        "content": first and {"type": first[0], **_content(first[1])},
    }


def _content(media: Mapping[str, Any]) -> dict[str, Any]:
    example = media.get("example")
    return {
        "kind": kind(media["schema"]),
        "example": None if example is None else json.dumps(example, ensure_ascii=False, indent=2),
    }


def _curl(path: str, method: str, operation: Mapping[str, Any], described: Mapping[str, Any]) -> str:
    """Return a command that asks for this, to be pasted into a shell."""
    parts = ["curl" if method == "GET" else f"curl -X {method}"]
    if operation.get("security") != []:
        parts.append('-H "Authorization: Bearer $TOKEN"')
    for each in operation.get("parameters", []):
        if _resolved(each, described)["name"] == "Idempotency-Key":
            parts.append('-H "Idempotency-Key: $KEY"')
    needed = [
        each["name"]
        for each in operation.get("parameters", [])
        if each.get("required") and each["in"] == "query"
    ]
    query = "?" + "&".join(f"{name}={name.upper()}" for name in needed) if needed else ""
    if "requestBody" in operation:
        example = operation["requestBody"]["content"][JSON].get("example", {})
        told = json.dumps(example, ensure_ascii=False).replace("'", "'\\''")
        parts.append(f"-H 'Content-Type: application/json' -d '{told}'")
    where = re.sub(r"{(\w+)}", lambda match: "$" + match[1].upper(), path)
    return " \\\n  ".join([*parts, f'"$MAGPIE_API_URL{where}{query}"'])


def _resolved(node: Mapping[str, Any], described: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" not in node:
        return node
    found: Any = described
    for part in node["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return dict(found)


def _with_default(schema: Mapping[str, Any]) -> "Markup":
    from markupsafe import Markup

    default = schema.get("default")
    if default is None or default == "":
        return kind(schema)
    return kind(schema) + Markup("; else <code>{}</code>").format(_plain(default))


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _bounds(schema: Mapping[str, Any], what: str, unit: str) -> "Markup":
    return _range(schema.get(f"min{what}"), schema.get(f"max{what}"), f" {unit}")


def _range(low: float | None, high: float | None, unit: str) -> "Markup":
    from markupsafe import Markup

    if low is None and high is None:
        return Markup("")
    if high is None:
        return Markup(", from {}{}").format(low, unit)
    return (
        Markup(", {} to {}{}").format(low, high, unit)
        if low is not None
        else Markup(", up to {}{}").format(high, unit)
    )


@cache
def _beside(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
