"""The page as API Gateway asks for it: its files, and what a browser is told to do with them."""

import base64
import gzip
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest

from functions.api import upload, website
from functions.api.handler import lambda_handler
from shared import objects
from tests.conftest import LambdaContext
from tests.fakes.http_api import Caller

MAX_BYTES = 36_000
"""Of all files together, as they are sent: once for each release, for browsers keep them."""


@dataclass
class Page:
    status: int
    headers: dict[str, str]
    text: str
    encoded: bool


@pytest.fixture
def environment(function_env: Callable[..., dict[str, str]]) -> dict[str, str]:
    return function_env("Api", EMBEDDER="offline", HOSTED_UI_URL="https://sign-in.example/")


def get(path: str, **headers: str) -> Page:
    """Ask as a browser does, without a token."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    event = Caller("nobody", "none").event("GET", path, headers={"authorization": "", **named})
    del event["requestContext"]["authorizer"]
    answer: dict[str, Any] = lambda_handler(event, LambdaContext(remaining_ms=15_000))
    body = answer["body"] or ""
    encoded = answer["isBase64Encoded"]
    text = gzip.decompress(base64.b64decode(body)).decode() if encoded else body
    return Page(answer["statusCode"], {k.lower(): v for k, v in answer["headers"].items()}, text, encoded)


def origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def directives(page: Page) -> dict[str, list[str]]:
    policy = page.headers["content-security-policy"].split("; ")
    return {name: values for name, *values in (directive.split() for directive in policy)}


def test_the_page_is_there_for_everybody(environment: dict[str, str]) -> None:
    page = get("/")
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert page.text.startswith("<!doctype html>")
    assert page.headers["cache-control"] == "no-cache"


def test_whatever_stands_behind_its_address_it_is_the_page(environment: dict[str, str]) -> None:
    """Signing in comes back with a code there."""
    event = Caller("nobody", "none").event("GET", "/", {"code": "c", "state": "s", "state2": ""})
    assert lambda_handler(event, LambdaContext())["statusCode"] == 200


def test_it_names_every_module_so_that_they_are_fetched_at_once(environment: dict[str, str]) -> None:
    named = re.findall(r'(?:href|src)="(web/[^"]+)"', get("/").text)
    modules = {name for name in website.load().files if name.endswith(".js")}
    assert {path.rpartition("/")[2] for path in named} == modules | {"style.css", "magpie.svg"}
    for path in named:
        file = get(f"/{path}")
        assert (file.status, file.headers["cache-control"]) == (200, website.FOR_EVER)
        assert file.headers["content-type"] == website.content_type(path)
        assert file.text == website.load().files[path.rpartition("/")[2]]


def test_nothing_but_these_files_is_served(environment: dict[str, str]) -> None:
    for path in ("/web/x/index.html", "/web/x/__init__.py", "/web/x/..", "/web/x/%2e%2e", "/web/x/none.js"):
        answer = get(path)
        assert (answer.status, answer.headers["content-type"]) == (404, "application/problem+json")


def test_a_file_of_another_release_is_not_kept_under_that_name(environment: dict[str, str]) -> None:
    assert get("/web/0123456789abcdef/main.js").headers["cache-control"] == "no-store"


def test_a_page_that_a_browser_has_already_is_not_sent_again(environment: dict[str, str]) -> None:
    tag = get("/").headers["etag"]
    again = get("/", if_none_match=f'"other", W/{tag}')
    assert (again.status, again.text) == (304, "")
    assert again.headers["content-security-policy"] == get("/").headers["content-security-policy"]
    assert get("/", if_none_match='"other"').status == 200


def test_it_is_sent_gzipped_to_whoever_takes_that(environment: dict[str, str]) -> None:
    page = get("/", accept_encoding="gzip, deflate, br")
    assert page.encoded
    assert page.headers["content-encoding"] == "gzip"
    assert page.headers["vary"] == "Accept-Encoding"
    assert page.text == get("/").text


def test_another_policy_is_another_page(
    function_env: Callable[..., dict[str, str]], environment: dict[str, str]
) -> None:
    """Or a browser would keep the old one beside it: a 304 speaks of the page that it has."""
    before = get("/").headers["etag"]
    function_env("Api", EMBEDDER="offline", HOSTED_UI_URL="https://elsewhere.example")
    assert get("/").headers["etag"] != before


def test_only_this_origin_the_buckets_and_the_sign_in_page_are_talked_to(environment: dict[str, str]) -> None:
    allowed = directives(get("/"))
    view = objects.view_url(environment["MEDIA_BUCKET"], "alice/thumbnails/1.webp", 60)
    form = upload.form(environment["UPLOADS_BUCKET"], "alice/1/original", "image/png", 10)
    assert allowed["default-src"] == ["'self'"]
    assert set(allowed["img-src"]) == {"'self'", "blob:", origin(view)}
    assert set(allowed["connect-src"]) == {"'self'", origin(form.url), "https://sign-in.example"}
    for name in ("object-src", "base-uri", "form-action", "frame-ancestors", "trusted-types"):
        assert allowed[name] == ["'none'"]
    assert allowed["require-trusted-types-for"] == ["'script'"]
    assert not any("unsafe" in value or value == "*" for values in allowed.values() for value in values)


def test_a_deployment_without_a_sign_in_page_has_a_policy_too(
    function_env: Callable[..., dict[str, str]],
) -> None:
    function_env("Api", EMBEDDER="offline", HOSTED_UI_URL="")
    assert len(directives(get("/"))["connect-src"]) == 2


def test_addresses_are_told_to_nobody_and_the_page_is_framed_by_nobody(environment: dict[str, str]) -> None:
    for path in ("/", "/web/x/main.js"):
        headers = get(path).headers
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-frame-options"] == "DENY"
        assert headers["x-content-type-options"] == "nosniff"


def test_no_file_makes_html_of_text_or_holds_a_script_or_a_style_in_line() -> None:
    files = website.load().files
    assert len(files) > 5
    ways = (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "DOMParser",
        "eval(",
        "Function(",
    )
    for name, text in files.items():
        assert not any(way in text for way in ways), name
        if name == website.INDEX:
            assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=", text)
            assert not re.search(r"https?://(?!www\.w3\.org/)", text)


def test_the_page_is_small() -> None:
    sent = [gzip.compress(text.encode()) for text in website.load().files.values()]
    assert sum(map(len, sent)) <= MAX_BYTES
