"""What a cold start pays for: how much each handler brings in before it has been asked anything.

Budgets of modules, which are the same on every machine; `python -m benchmarks.cold_start` tells the time.
"""

import subprocess
import sys
from functools import cache

import pytest

from tests.contract import sources
from tests.contract.conftest import ROOT

SMALL = 310
MODULES = {"api": 487, "image_processor": 365}
"""Function → the most modules that its import may bring, with a tenth to spare; of the others `SMALL`."""

HEAVY = {
    "anthropic",
    "boto3",
    "httpx2",
    "jinja2",
    "numpy",
    "PIL",
    "pillow_heif",
    "psycopg",
    "puremagic",
    "pygal",
    "pyvips",
    "stripe",
    "voyageai",
}
"""Packages that are imported where they are used, and not before."""
NEEDED = {"image_processor": {"PIL", "pillow_heif", "pyvips"}}
"""Function → those that it can do nothing without: image_processor's children find them imported."""


@cache
def imported(function: str, *more: str) -> frozenset[str]:
    """Names of the modules that importing a handler brings, told by a Python that imports nothing else.

    Args:
        more: modules to be imported after it.
    """
    modules = ", ".join((f"functions.{function}.handler", *more))
    program = f"import sys; before = set(sys.modules)\nimport {modules}\nprint(*(set(sys.modules) - before))"
    # Without this variable Powertools' Tracer makes an AWS client.
    environment = {
        "LAMBDA_TASK_ROOT": str(ROOT),
        "POWERTOOLS_TRACE_DISABLED": "true",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=ROOT, capture_output=True, text=True, check=True
    )
    found = frozenset(done.stdout.split())
    assert f"functions.{function}.handler" in found
    return found


@pytest.mark.parametrize("function", sources.functions())
def test_importing_a_handler_stays_within_its_budget(function: str) -> None:
    assert len(imported(function)) <= MODULES.get(function, SMALL)


@pytest.mark.parametrize("function", sources.functions())
def test_no_handler_imports_what_only_some_messages_need(function: str) -> None:
    packages = {name.partition(".")[0] for name in imported(function)}
    assert packages & HEAVY == NEEDED.get(function, set())


def test_neither_do_routes_that_the_api_takes_in_later() -> None:
    routes = sorted(
        f"functions.api.routes.{path.stem}" for path in (ROOT / "functions/api/routes").glob("*.py")
    )
    assert len(routes) > 10
    found = imported("api", *routes)
    assert {*routes} <= found
    assert not {name.partition(".")[0] for name in found} & HEAVY


def test_every_budget_is_of_a_function() -> None:
    assert {*MODULES, *NEEDED} <= set(sources.functions())
