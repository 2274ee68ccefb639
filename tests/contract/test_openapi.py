"""The OpenAPI document ↔ the API's routes, the copies of it, and the page made of it."""

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from docs import openapi, routes
from functions.api import problems, reference
from tests.contract.conftest import ROOT, Document

THE_PAGE_S_OWN = {"/", "/web/{release}/{name}"}
"""Files for browsers, which are no interface for programs."""


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    return openapi.document()


@pytest.fixture(scope="module")
def operations(described: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """Path, method and operation, of every operation."""
    found = [
        (path, method, operation)
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    ]
    assert len(found) > 10
    return found


def resolved(node: dict[str, Any], described: dict[str, Any]) -> dict[str, Any]:
    for part in node.get("$ref", "").removeprefix("#/").split("/") if "$ref" in node else ():
        described = described[part]
    return described if "$ref" in node else node


def test_it_is_openapi_3_1(described: dict[str, Any]) -> None:
    OpenAPIV31SpecValidator(described).validate()
    assert described["openapi"].startswith("3.1")


@pytest.mark.parametrize("path", [openapi.READABLE, openapi.SERVED], ids=str)
def test_a_copy_is_what_the_api_says_now(path: Any) -> None:
    is_now = (ROOT / path).read_text() == openapi.files()[path]
    assert is_now, "run `make openapi`"


def test_every_route_is_in_it_and_nothing_else(operations: list[tuple[str, str, dict[str, Any]]]) -> None:
    every = {(route.openapi_path, route.method.lower()) for route in openapi.every()}
    told = {(path, method) for path, method, _ in operations}
    assert told <= every
    assert {path for path, _ in every - told} == THE_PAGE_S_OWN


def test_operations_are_named_once_and_said_in_a_sentence(
    operations: list[tuple[str, str, dict[str, Any]]],
) -> None:
    names = [operation["operationId"] for _, _, operation in operations]
    assert len(set(names)) == len(names)
    for _, _, operation in operations:
        assert re.fullmatch(
            r"[a-z]+(_[a-z]+)+|health|version|reprocess|replay|rebuild", operation["operationId"]
        )
        assert len(operation["summary"]) > 10, operation["operationId"]


def test_every_parameter_says_what_it_means(
    operations: list[tuple[str, str, dict[str, Any]]], described: dict[str, Any]
) -> None:
    silent = [
        f"{operation['operationId']}: {parameter['name']}"
        for _, _, operation in operations
        for parameter in (resolved(each, described) for each in operation.get("parameters", []))
        if not parameter.get("description")
    ]
    assert silent == []


def test_every_post_takes_a_key(operations: list[tuple[str, str, dict[str, Any]]]) -> None:
    key = {"$ref": "#/components/parameters/IdempotencyKey"}
    posts = [operation for _, method, operation in operations if method == "post"]
    assert posts
    assert [
        operation["operationId"] for operation in posts if key not in operation.get("parameters", [])
    ] == []


def test_what_needs_no_token_is_what_the_template_lets_through(
    operations: list[tuple[str, str, dict[str, Any]]], document: Document
) -> None:
    let_through = {
        event["Properties"]["Path"]
        for event in document.functions()["Api"]["Properties"]["Events"].values()
        if event["Properties"].get("Auth", {}).get("Authorizer") == "NONE"
    }
    open_paths = {path for path, _, operation in operations if operation.get("security") == []}
    assert open_paths == {path for path in let_through if path != "/" and not path.startswith("/web/")}


def test_every_kind_of_problem_is_in_it_and_nowhere_else(described: dict[str, Any]) -> None:
    text = json.dumps(described["components"]["responses"])
    told = set(re.findall(re.escape(problems.TYPE_PREFIX) + r"([a-z-]+)", text))
    # Of paths that are not there, and so of no operation.
    assert told == set(problems.TITLES) - {"not-found", "method-not-allowed"}


def test_no_name_tells_of_the_inside(described: dict[str, Any]) -> None:
    names = [name for kind in described["components"].values() for name in kind]
    assert [name for name in names if not re.fullmatch(r"[A-Za-z0-9-]+", name)] == []
    for word in ("pydantic", "psycopg", "functions.", "Traceback"):
        assert word not in json.dumps(described)


def examples(described: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], Any]]:
    """Yield where each example stands, its schema, and the example."""

    def walk(node: Any, where: str) -> Iterator[tuple[str, dict[str, Any], Any]]:
        if isinstance(node, dict):
            if "schema" in node and "example" in node:
                yield where, node["schema"], node["example"]
            if "schema" in node:
                for name, example in node.get("examples", {}).items():
                    yield f"{where}/{name}", node["schema"], example["value"]
            for key, value in node.items():
                yield from walk(value, f"{where}/{key}")

    yield from walk({"paths": described["paths"], "components": described["components"]}, "")


def test_every_example_fits_its_schema(described: dict[str, Any]) -> None:
    checked = 0
    for where, schema, example in examples(described):
        validator = Draft202012Validator(
            {**schema, "components": described["components"]},
            format_checker=Draft202012Validator.FORMAT_CHECKER,
        )
        assert [error.message for error in validator.iter_errors(example)] == [], where
        checked += 1
    assert checked > 20


def test_every_body_and_answer_in_json_has_an_example(
    operations: list[tuple[str, str, dict[str, Any]]],
) -> None:
    missing = set()
    for _, _, operation in operations:
        successes = [answer for status, answer in operation["responses"].items() if status < "300"]
        contents = [answer.get("content", {}).get("application/json") for answer in successes]
        shown = [content for content in contents if content is not None]
        if shown and not any("example" in content for content in shown):
            missing.add(f"the answer of {operation['operationId']}")
        body = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if body is not None and "example" not in body:
            missing.add(f"the body of {operation['operationId']}")
    assert missing == set(), f"write them into {openapi.EXAMPLES}/"


def test_no_example_is_of_nothing(operations: list[tuple[str, str, dict[str, Any]]]) -> None:
    written = {path.stem for path in (ROOT / openapi.EXAMPLES).glob("*.json")}
    assert written <= {operation["operationId"] for _, _, operation in operations}


# What is read from the code


def test_what_a_route_says_is_found_through_everything_that_it_reaches() -> None:
    said = routes.read(next(route.func for route in openapi.shown() if route.func.__name__ == "create_item"))
    assert "NewItem" in {model.__name__ for model in said.body}
    assert said.takes_key
    assert {
        (400, "malformed-request"),
        (401, "not-signed-in"),
        (409, "request-in-progress"),
        (413, "too-large"),
        (422, "idempotency-key-reused"),
        (503, "unavailable"),
    } <= set(said.problems)
    assert said.problems[409, "request-in-progress"].headers == {"Retry-After"}


def test_what_cannot_be_told_is_an_error_and_not_left_out() -> None:
    def route(kind: str) -> None:
        raise problems.Problem(openapi.HTTPStatus.CONFLICT, kind, "It depends.")

    with pytest.raises(ValueError, match="written out"):
        routes.read(route)


# The page


class Reader(HTMLParser):
    """What a browser would load, run, or jump to."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        named = dict(attrs)
        self.attributes |= set(named)
        if named.get("id"):
            self.ids.append(str(named["id"]))
        if tag == "a":
            self.links.append(str(named["href"]))


@pytest.fixture(scope="module")
def page(described: dict[str, Any]) -> Reader:
    reader = Reader()
    reader.feed(reference.render(described, "body { margin: 0 }"))
    return reader


def test_the_page_tells_of_every_operation_and_every_link_leads_somewhere(
    page: Reader, operations: list[tuple[str, str, dict[str, Any]]]
) -> None:
    assert {operation["operationId"] for _, _, operation in operations} <= set(page.ids)
    assert len(set(page.ids)) == len(page.ids)
    assert {link for link in page.links if not link.startswith("#")} == {"openapi.json"}
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)


def test_the_page_needs_nothing_from_elsewhere_and_runs_nothing(page: Reader) -> None:
    assert not page.tags & {"script", "img", "link", "iframe", "object", "form", "svg"}
    assert not {name for name in page.attributes if name.startswith("on")} | page.attributes & {
        "style",
        "src",
    }


def test_the_page_s_policy_allows_its_own_style_only() -> None:
    shown = reference.page()
    assert shown.policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in shown.policy
    assert shown.html.count("<style>") == 1


def test_text_of_the_document_is_text_on_the_page(described: dict[str, Any]) -> None:
    mark = "</code><script>alert(1)</script>"
    info = {**described["info"], "description": f"`{mark}` **{mark}** {mark}", "title": mark}
    hostile = {**described, "info": info}
    shown = reference.render(hostile, "")
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown
