"""Routes that come only when they are asked for answer as if they had been there from the start."""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

from docs import openapi
from functions.api.handler import LATER

ROOT = Path(__file__).resolve().parents[3]

FIRST_AND_AGAIN = """
import json, sys
from types import SimpleNamespace
from functions.api.handler import LATER, lambda_handler, take_in

assert not {f"functions.api.routes.{later}" for later in LATER.values()} & set(sys.modules)
event = json.load(open("events/samples/api/list_items.json")) | {"rawQueryString": ""}
context = SimpleNamespace(
    function_name="api", memory_limit_in_mb=1024, invoked_function_arn="arn", aws_request_id="1"
)

def answer(path):
    asked = event["requestContext"]
    http = {**asked["http"], "method": "OPTIONS", "path": path}
    return lambda_handler(event | {"rawPath": path, "requestContext": {**asked, "http": http}}, context)

paths = json.loads(sys.argv[1])
first = [answer(path) for path in paths]
for later in LATER.values():
    take_in(later)
print(json.dumps([first, [answer(path) for path in paths]]))
"""


def first_parts(name: str) -> set[str]:
    """First parts of the paths that a module of routes has."""
    router = import_module(f"functions.api.routes.{name}").router
    return {rule.split("/")[1] for rule, *_ in router._routes}


def test_what_is_taken_in_later_has_first_parts_of_its_own() -> None:
    later = set(LATER.values())
    assert {part: name for name in later for part in first_parts(name)} == LATER
    at_once = {path.stem for path in (ROOT / "functions/api/routes").glob("*.py")} - later
    parts = {part for name in at_once for part in first_parts(name)}
    assert "items" in parts
    assert not parts & set(LATER)
    assert not any("<" in part for part in parts | set(LATER))


def test_the_first_request_of_a_process_is_answered_as_any_other() -> None:
    # OPTIONS is no method of any route, so that each path tells all of its own.
    paths = sorted({route.path.replace("<", "").replace(">", "") for route in openapi.every()})
    nowhere = ["/nowhere", "/scans/", "/scans/a/b/c", "//scans", "/me2", "/in/scans", "/%73cans"]
    done = subprocess.run(
        [sys.executable, "-c", FIRST_AND_AGAIN, json.dumps(paths + nowhere)],
        cwd=ROOT,
        env={
            "PYTHONPATH": str(ROOT),
            "POWERTOOLS_TRACE_DISABLED": "true",
            "POWERTOOLS_LOG_LEVEL": "CRITICAL",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, again = json.loads(done.stdout.splitlines()[-1])
    assert first == again
    statuses = dict(zip(paths + nowhere, [each["statusCode"] for each in first], strict=True))
    assert {statuses[route.path] for route in openapi.every() if "<" not in route.path} == {405}
    assert {statuses[path] for path in nowhere} == {404}
