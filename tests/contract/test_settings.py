"""The template's environment ↔ what functions read from it."""

import importlib
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.settings import Settings
from tests.contract import sources
from tests.contract.conftest import ROOT, Document, folder

LAMBDAS_OWN = ("AWS_", "_X_AMZN_TRACE_ID", "LAMBDA_")
POWERTOOLS = {"POWERTOOLS_SERVICE_NAME", "POWERTOOLS_LOG_LEVEL"}


def settings_of(function: str) -> list[type[Settings]]:
    """Every Settings class in a function's code and in what it reaches of `shared`."""
    found = []
    for path in sources.closure(function):
        module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
        found += [
            value
            for value in vars(module).values()
            if isinstance(value, type)
            and issubclass(value, Settings)
            and value.__module__ == module.__name__
            and value is not Settings
        ]
    return found


def aliases(function: str, *, required_only: bool) -> set[str]:
    """Names of the variables that a function's settings read, but for those that Lambda itself sets."""
    names = {
        field.alias or name
        for cls in settings_of(function)
        for name, field in cls.model_fields.items()
        if field.is_required() or not required_only
    }
    return {name for name in names if not name.startswith(LAMBDAS_OWN)}


def test_every_function_has_settings_to_check(document: Document) -> None:
    for name in document.functions():
        assert settings_of(folder(name)), f"{name} reads nothing, not even where the database is"


def test_a_function_is_given_every_variable_that_it_needs(document: Document) -> None:
    for name in document.functions():
        missing = aliases(folder(name), required_only=True) - set(document.environment(name))
        assert missing == set(), f"the template does not give {name} what it needs"


def test_a_function_is_given_no_variable_that_nobody_reads(document: Document) -> None:
    read = {name: aliases(folder(name), required_only=False) for name in document.functions()}
    for name, known in read.items():
        unread = set(document.own_environment(name)) - POWERTOOLS - known
        assert unread == set(), f"the template gives {name} what it does not read"
    # What every function gets, some may do without.
    assert set(document.common_environment()) - POWERTOOLS <= set().union(*read.values())


def test_what_the_template_gives_makes_sense_to_the_settings(
    document: Document, function_env: Callable[[str], dict[str, str]]
) -> None:
    for name in document.functions():
        function_env(name)
        for cls in settings_of(folder(name)):
            cls.load()


@pytest.mark.parametrize("path", [*sources.modules("shared"), *sources.modules("functions")], ids=str)
def test_the_environment_is_read_through_settings_only(path: Path) -> None:
    """But for what Lambda itself puts there."""
    text = path.read_text()
    for marker in ("os.environ", "os.getenv", "environ["):
        for line in (line for line in text.splitlines() if marker in line):
            assert path.name == "settings.py" or any(own in line for own in LAMBDAS_OWN), line
