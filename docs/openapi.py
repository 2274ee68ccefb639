"""Write the OpenAPI document of the HTTP API from the API itself (`make openapi`)."""

import inspect
import json
import sys
import typing
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.api_gateway import Route
from pydantic import BaseModel, TypeAdapter

from docs import routes
from functions.api import problems, retry
from functions.api.handler import LATER, app, take_in
from functions.api.routes.system import VERSION

ROOT = Path(__file__).resolve().parent.parent
READABLE = Path("docs/openapi.json")
SERVED = Path("functions/api/openapi.json")
EXAMPLES = Path("docs/examples")

JSON = "application/json"
REF = "#/components/schemas/{model}"

ABOUT = """\
Pictures from upload to search. What is uploaded is resized, described by a vision model, embedded, and can
then be searched by words and by meaning.

**Signing in.** Every request but the few that say otherwise carries `Authorization: Bearer TOKEN` with an
access token of the user pool; `GET /version` says which pool and client. You see what is yours, and nothing
else: what belongs to somebody else answers 404, exactly as what does not exist.

**Errors** are `application/problem+json` (RFC 9457). `type` is stable and meant for programs, `title` and
`detail` for people; `errors` names each field that is wrong; `correlation_id` finds the request in the logs.
What does not fit into your plan is refused with 429 and `over-quota`; it says what, how much, and when that
changes by itself, and there is no use in asking again before.
The gateway in front answers a few itself, with `{"message": …}`: 401 without a valid token, 429 to too many
requests at once, 413 to a body of over 10 MB, 404 to a method that nothing here takes, 500 and 503 when the
function behind it does not answer.

**Sending again.** Every POST takes an `Idempotency-Key`. Within 24 hours the same request with the same key
does its work once and answers alike; another request with that key is refused with 422; while the first is
being answered, the second gets 409.

**Lists** come in pages of `limit`, at most 100. `next_cursor` is null on the last; else it asks for the next
page, with the same filters and order. It is opaque: take it as it came.

**Parameters** that a route does not know, or that come twice, are refused with 422, and so are fields of a
body: a filter that is misspelt would otherwise let everything through. In a body `"5"` is no number. HEAD
answers what GET does, without the content.

**Times** are RFC 3339 with an offset. `captured_at` has none: a camera rarely knows its zone.\
"""

FIRST = ("Items", "Actions", "Search", "Duplicates")
"""What most people come for, in the order in which they do."""

PARAMETERS = {
    "limit": "How many to answer with, at most.",
    "cursor": "`next_cursor` of the page before, unchanged.",
    "status": "Only items that stand so.",
    "item_id": "An item's id. What is no id of an item of yours is not found.",
    "run_id": "A run's id. What is no id of a run of yours is not found.",
    "scan_id": "A scan's id. What is no id of a scan of yours is not found.",
    "import_id": "An import's id. What is no id of an import of yours is not found.",
}
"""What parameters mean wherever they come; a route may say it better."""

KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Makes it safe to send the request again: best a new UUID for each new request.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": f"^{retry._KEY.pattern}$"},
    "example": "8e03978e-40d5-43e8-bc93-6894a57f9324",
}

PROBLEM = {
    "type": "object",
    "description": "What went wrong (RFC 9457).",
    "required": ["type", "title", "status", "detail", "correlation_id"],
    "properties": {
        "type": {"type": "string", "format": "uri", "description": "Which problem it is; never changes."},
        "title": {"type": "string", "description": "The problem in a few words, always the same."},
        "status": {"type": "integer", "description": "The HTTP status, again."},
        "detail": {"type": "string", "description": "This case of it, for a person."},
        "correlation_id": {"type": "string", "description": "Finds the request in the logs."},
        "errors": {
            "type": "array",
            "description": "What is wrong with which field.",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {
                    "field": {"type": "string", "description": "Its path, such as `body.size`."},
                    "message": {"type": "string"},
                },
            },
        },
        "meter": {
            "enum": ["items", "storage_bytes", "scans", "model_usd", "deployment"],
            "description": "Of `over-quota`: what does not fit; `deployment` is the budget of all.",
        },
        "limit": {
            "type": ["number", "null"],
            "description": "Of `over-quota`: how much there may be; null for what is shared.",
        },
        "used": {
            "type": ["number", "null"],
            "description": "Of `over-quota`: how much there is already; null for what is shared.",
        },
        "wanted": {"type": "number", "description": "Of `over-quota`: how much more was asked for."},
        "resets_at": {
            "type": ["string", "null"],
            "format": "date-time",
            "description": "Of `over-quota`: when it begins anew; null where it does not by itself.",
        },
    },
}

CASES: Mapping[str, Mapping[str, Any]] = {
    "over-quota": {
        "detail": "You have 1,950 of 2,000 items, and 100 more do not fit. "
        "Delete some, or move to a larger plan.",
        "meter": "items",
        "limit": 2000,
        "used": 1950,
        "wanted": 100,
        "resets_at": None,
    }
}
"""Of problems that say more than others: an example of it."""

GATEWAY = {
    "type": "object",
    "description": "What the gateway says by itself, before a request reaches the API.",
    "required": ["message"],
    "properties": {"message": {"type": "string"}},
}
GATEWAYS_OWN = {
    401: "Unauthorized",
    429: "Too Many Requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
}

HEADERS = {
    "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}},
    "WWW-Authenticate": {"description": "`Bearer`, and what is wrong.", "schema": {"type": "string"}},
    "Allow": {"description": "The methods of this path.", "schema": {"type": "string"}},
}


def every() -> list[Route]:
    """Return all routes, those too that the app takes in when somebody asks for them."""
    for later in LATER.values():
        take_in(later)
    return [*app._static_routes, *app._dynamic_routes]


def shown() -> list[Route]:
    """Return the routes that the document tells of, by path and method."""
    return sorted((route for route in every() if route.include_in_schema), key=_place)


def document() -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of the whole API."""
    said = {route: routes.read(route.func) for route in shown()}
    resolvers = app.get_openapi_schema(title="Magpie", version=VERSION)
    known = resolvers.model_dump(mode="json", by_alias=True, exclude_none=True)["paths"]
    models: set[Any] = {_answers(route) for route in said}
    bodies: set[Any] = {model for each in said.values() for model in each.body}
    schemas, components = _schemas(models, bodies)
    refusals: dict[str, Any] = {}
    paths: dict[str, dict[str, Any]] = {}
    tags: dict[str, str] = {}
    for route, each in said.items():
        tag = route.func.__module__.rpartition(".")[2].capitalize()
        tags[tag] = (inspect.getdoc(sys.modules[route.func.__module__]) or "").partition("\n")[0]
        of_resolver = known[route.openapi_path][route.method.lower()]
        example = _example(route.func.__name__)
        operation: dict[str, Any] = {"operationId": route.func.__name__, "tags": [tag], **_text(route)}
        if (401, "not-signed-in") not in each.problems:
            operation["security"] = []
        if parameters := _parameters(route, of_resolver.get("parameters", []), each):
            operation["parameters"] = parameters
        if each.body:
            operation["requestBody"] = _request(each, schemas, example)
        answered = _answered(route, each, schemas[_answers(route), "serialization"], example)
        refused = _refused(each, refusals, answered)
        operation["responses"] = dict(sorted({**answered, **refused}.items()))
        paths.setdefault(route.openapi_path, {})[route.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Magpie",
            "version": VERSION,
            "summary": "Pictures from upload to search",
            "description": ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "Where this document was found"}],
        "security": [{"token": []}],
        "tags": [{"name": name, "description": text} for name, text in sorted(tags.items(), key=_rank)],
        "paths": paths,
        "components": {
            "schemas": dict(sorted({**components, "Problem": PROBLEM, "GatewayMessage": GATEWAY}.items())),
            "parameters": {"IdempotencyKey": KEY},
            "headers": HEADERS,
            "responses": dict(sorted(refusals.items())),
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "An access token of the user pool and client that `GET /version` names; "
                    "the pool is an OpenID Connect provider.",
                }
            },
        },
    }


def _rank(tag: tuple[str, str]) -> tuple[int, str]:
    name = tag[0]
    return (FIRST.index(name) if name in FIRST else len(FIRST)), name


def _place(route: Route) -> tuple[str, int]:
    return route.openapi_path, ["GET", "POST", "PUT", "PATCH", "DELETE"].index(route.method)


def _text(route: Route) -> dict[str, str]:
    """Return what a route's docstring says: its first sentence, and everything else."""
    summary, _, more = (inspect.getdoc(route.func) or "").partition("\n")
    first, dot, rest = summary.partition(". ")
    description = "\n".join(part for part in (rest.strip(), more.strip()) if part)
    return {"summary": first.rstrip("."), **({"description": description} if description else {})}


def _answers(route: Route) -> Any:
    """Return the type of a route's answer."""
    found = typing.get_type_hints(route.func)["return"]
    return typing.get_args(found)[0] if typing.get_origin(found) is Response else found


def _parameters(route: Route, known: Iterable[dict[str, Any]], said: routes.Said) -> list[dict[str, Any]]:
    """Return the parameters that the resolver knows, each with a description, and the header for POST."""
    parameters = []
    exactly = _properties(route)
    for parameter in sorted(known, key=lambda parameter: parameter["in"] != "path"):
        name = parameter["name"]
        schema = _tidied(exactly.get(name, parameter["schema"]))
        text = schema.pop("description", None) or PARAMETERS.get(name)
        choices = [choice for choice in schema.pop("anyOf", []) if choice != {"type": "null"}]
        if len(choices) == 1:
            # What is left out is null to the code; nobody can send one.
            schema = {**choices[0], **schema}
        elif choices:
            schema["anyOf"] = choices
        if schema.get("default", ...) is None:
            del schema["default"]
        if parameter["in"] == "path":
            # Read as text, so that what is no id is not found rather than wrong.
            schema = {"type": "string", "format": "uuid"}
        about = {"name": name, "in": parameter["in"], "required": parameter["required"]}
        if text:
            about["description"] = text[0].upper() + text[1:].rstrip(".") + "."
        parameters.append({**about, "schema": schema})
    if said.takes_key:
        parameters.append({"$ref": "#/components/parameters/IdempotencyKey"})
    return parameters


def _properties(route: Route) -> dict[str, Any]:
    """Return the schemas of parameters that a route takes as a model, which the resolver only outlines."""
    hints = [hint for name, hint in typing.get_type_hints(route.func).items() if name != "return"]
    models = [hint for hint in hints if isinstance(hint, type) and issubclass(hint, BaseModel)]
    described = [model.model_json_schema() for model in models]
    return {name: schema for model in described for name, schema in model["properties"].items()}


def _request(said: routes.Said, schemas: Mapping[Any, Any], example: Mapping[str, Any]) -> dict[str, Any]:
    read = [schemas[model, "validation"] for model in said.body]
    content: dict[str, Any] = {"schema": read[0] if len(read) == 1 else {"oneOf": read}}
    if "request" in example:
        content["example"] = example["request"]
    return {"required": all(said.body.values()), "content": {JSON: content}}


def _answered(
    route: Route, said: routes.Said, schema: Mapping[str, Any], example: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what a route answers when all is well."""
    answers: dict[str, Any] = {}
    for status, kind in sorted(said.answers) or [(int(route.status_code), JSON)]:
        # A text that is JSON was written elsewhere, and is an object.
        content: dict[str, Any] = {
            "schema": {"type": "object"} if kind == JSON and _answers(route) is str else dict(schema)
        }
        if example.get("status") == status and kind == JSON:
            content["example"] = example["response"]
        about = answers.setdefault(str(status), {"description": _means(_answers(route), status)})
        if kind:
            about.setdefault("content", {})[kind.partition(";")[0]] = content
    return answers


def _means(model: Any, status: int) -> str:
    """Return the first sentences of a model's own docstring, or what the status is called."""
    written = vars(model).get("__doc__") if isinstance(model, type) and model is not str else None
    return (
        inspect.cleandoc(written).split("\n\n")[0].replace("\n", " ")
        if written
        else HTTPStatus(status).phrase
    )


def _refused(
    said: routes.Said,
    components: dict[str, Any],
    answered: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """Return a route's problems by status: references to what is written into `components`.

    Only where a status may also be an answer, as `answered` has it, both stand in one.
    """
    # Every route refuses parameters that it does not have.
    always = {(422, "invalid-input"): routes.Refusal(), (500, "internal-error"): routes.Refusal()}
    told = {**always, **said.problems}
    statuses: dict[int, dict[str, routes.Refusal]] = {429: {}}
    for (status, kind), refusal in sorted(told.items(), key=lambda each: each[0]):
        statuses.setdefault(status, {})[kind] = refusal
    refused: dict[str, Any] = {}
    for status, kinds in statuses.items():
        problem = _problem(status, kinds)
        if also := answered.get(str(status)):
            content = {**problem["content"], **also["content"]}
            description = f"{also['description']}\n{problem['description']}"
            refused[str(status)] = {**problem, "description": description, "content": content}
            continue
        name = "Or".join("".join(word.capitalize() for word in kind.split("-")) for kind in kinds)
        name = name or HTTPStatus(status).phrase.replace(" ", "")
        components[name] = problem
        refused[str(status)] = {"$ref": f"#/components/responses/{name}"}
    return refused


def _problem(status: int, kinds: Mapping[str, "routes.Refusal"]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if kinds:
        types = {
            "type": {"enum": [problems.TYPE_PREFIX + kind for kind in kinds]},
            "status": {"const": status},
        }
        examples = {
            kind: {
                "value": {
                    "type": problems.TYPE_PREFIX + kind,
                    "title": problems.TITLES[kind],
                    "status": status,
                    "detail": refusal.detail or f"{problems.TITLES[kind]}.",
                    "correlation_id": "JKJaXmPLvHcESHA=",
                    **CASES.get(kind, {}),
                }
            }
            for kind, refusal in kinds.items()
        }
        content[problems.CONTENT_TYPE] = {
            "schema": {"allOf": [{"$ref": "#/components/schemas/Problem"}, {"properties": types}]},
            "examples": examples,
        }
    if status in GATEWAYS_OWN:
        content[JSON] = {
            "schema": {"$ref": "#/components/schemas/GatewayMessage"},
            "example": {"message": GATEWAYS_OWN[status]},
        }
    lines = [f"`{kind}`: {problems.TITLES[kind]}." for kind in kinds] or ["The gateway is asked too often."]
    told: dict[str, Any] = {"description": "\n".join(lines), "content": content}
    headers = sorted({header for refusal in kinds.values() for header in refusal.headers})
    if headers:
        told["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in headers}
    return told


def _schemas(answers: Iterable[Any], bodies: Iterable[Any]) -> tuple[dict[Any, Any], dict[str, Any]]:
    """Return the schema of each model by model and mode, and the components that they refer to."""
    wanted = [(model, "serialization", TypeAdapter(model)) for model in answers if model is not str]
    wanted += [(model, "validation", TypeAdapter(model)) for model in bodies]
    found, rest = TypeAdapter.json_schemas(wanted, ref_template=REF)  # type: ignore[arg-type]
    components = rest.get("$defs", {})
    names = {name: _component(name, components) for name in components}
    schemas: dict[Any, Any] = {key: _tidied(_renamed(schema, names)) for key, schema in found.items()}
    schemas[str, "serialization"] = {"type": "string"}
    return schemas, {names[name]: _tidied(_renamed(schema, names)) for name, schema in components.items()}


def _component(name: str, among: Iterable[str]) -> str:
    """Return a component's name: its class's, with its module's where two have it, with what it is for."""
    base, _, mode = name.partition("-")
    parts = base.split("__")
    plain = parts[-1]
    if (
        len(parts) > 1
        and len({other.partition("-")[0] for other in among if other.split("-")[0].split("__")[-1] == plain})
        > 1
    ):
        plain = "".join(word.capitalize() for word in parts[-2].split("_")) + plain
    return plain + ("Asked" if mode == "Input" else "")


def _renamed(node: Any, names: Mapping[str, str]) -> Any:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            own = node["$ref"].removeprefix(REF.format(model=""))
            return {
                **{key: _renamed(value, names) for key, value in node.items()},
                "$ref": REF.format(model=names[own]),
            }
        return {key: _renamed(value, names) for key, value in node.items()}
    return [_renamed(value, names) for value in node] if isinstance(node, list) else node


def _tidied(schema: Any) -> Any:
    """Return a schema without the titles that only repeat names, and with whole numbers written whole."""
    if isinstance(schema, list):
        return [_tidied(each) for each in schema]
    if isinstance(schema, float) and schema.is_integer():
        return int(schema)
    if not isinstance(schema, dict):
        return schema
    kept = {key: value for key, value in schema.items() if not (key == "title" and isinstance(value, str))}
    return {
        key: {name: _tidied(each) for name, each in value.items()} if key == "properties" else _tidied(value)
        for key, value in kept.items()
    }


def _example(operation: str) -> dict[str, Any]:
    path = ROOT / EXAMPLES / f"{operation}.json"
    return dict(json.loads(path.read_text())) if path.exists() else {}


def files() -> dict[Path, str]:
    """Return every generated file, by its path from the project's root."""
    made = document()
    compact = json.dumps(made, ensure_ascii=False, separators=(",", ":"))
    return {READABLE: json.dumps(made, ensure_ascii=False, indent=2) + "\n", SERVED: compact + "\n"}


if __name__ == "__main__":
    for path, content in files().items():
        (ROOT / path).write_text(content)
