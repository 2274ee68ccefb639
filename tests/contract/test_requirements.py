"""What is asked for ↔ what is pinned ↔ what is imported, and that every lock file agrees."""

import importlib.metadata
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.contract import sources
from tests.contract.conftest import ROOT

MASTER = ROOT / "requirements" / "dev.txt"
FOR_LAMBDA = sorted([*ROOT.glob("functions/*/requirements.txt"), ROOT / "shared" / "requirements.txt"])
FOR_HERE = [ROOT / "requirements" / "local.txt", MASTER]
RUNTIME = ROOT / "requirements" / "runtime.txt"
PHOTOS = ROOT / "requirements" / "photos.txt"
LOCKS = [*FOR_LAMBDA, *FOR_HERE, RUNTIME, PHOTOS]

ON_LAMBDA = {
    **default_environment(),
    "python_version": "3.13",
    "python_full_version": "3.13.0",
    "sys_platform": "linux",
    "platform_system": "Linux",
    "platform_machine": "x86_64",
    "implementation_name": "cpython",
    "platform_python_implementation": "CPython",
}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@dataclass(frozen=True)
class Pin:
    name: str
    version: str
    hashes: int
    on_lambda: bool


@cache
def pins(path: Path) -> tuple[Pin, ...]:
    """The pins of a lock file; there has to be one."""
    found = []
    for entry in re.split(r"\n(?=\S)", path.read_text()):
        line = entry.split("\\")[0].strip()
        if line.startswith("#") or not line:
            continue
        requirement = Requirement(line)
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", line
        applies = requirement.marker is None or requirement.marker.evaluate(ON_LAMBDA)
        found.append(
            Pin(
                canonicalize_name(requirement.name), specifier.version, entry.count("--hash=sha256:"), applies
            )
        )
    assert found, f"{name_of(path)} pins nothing"
    return tuple(found)


def asked(path: Path) -> Iterator[Requirement]:
    """The requirements of a `.in` file, those it includes too."""
    for line in path.read_text().splitlines():
        line = line.split("#")[0].strip()
        if line.startswith("-r "):
            yield from asked(path.parent / line.removeprefix("-r "))
        elif line:
            yield Requirement(line)


@pytest.mark.parametrize("path", LOCKS, ids=name_of)
def test_every_pin_carries_a_hash(path: Path) -> None:
    assert [pin.name for pin in pins(path) if not pin.hashes] == []


@pytest.mark.parametrize("path", [*LOCKS, *(lock.with_suffix(".in") for lock in LOCKS)], ids=name_of)
def test_no_requirements_file_says_where_packages_come_from(path: Path) -> None:
    for line in path.read_text().splitlines():
        assert not re.match(r"\s*(-i\b|-f\b|--(extra-)?index|--find-links|--trusted-host)", line), line
        assert "://" not in line, line
        assert " @ " not in line, line


@pytest.mark.parametrize("path", [path for path in LOCKS if path not in (MASTER, PHOTOS)], ids=name_of)
def test_what_is_tested_is_what_runs(path: Path) -> None:
    """Every lock file takes its versions from the one that the tests are run with."""
    tested = {(pin.name, pin.version) for pin in pins(MASTER)}
    assert {(pin.name, pin.version) for pin in pins(path) if pin.on_lambda} - tested == set(), (
        "run `make lock`"
    )


def needed(requirements: Iterator[Requirement]) -> set[str]:
    """Names of the packages that these requirements bring on Lambda, themselves included.

    By what the installed packages say, which are of the same versions.
    """
    found: set[str] = set()
    done: set[tuple[str, frozenset[str]]] = set()
    waiting = [(requirement.name, frozenset(requirement.extras)) for requirement in requirements]
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in done:
            continue
        done.add((name, extras))
        found.add(canonicalize_name(name))
        for text in importlib.metadata.requires(name) or []:
            further = Requirement(text)
            environments = [{**ON_LAMBDA, "extra": extra} for extra in extras or {""}]
            if further.marker is None or any(further.marker.evaluate(each) for each in environments):
                waiting.append((further.name, frozenset(further.extras)))
    return found


@pytest.mark.parametrize("path", [*FOR_LAMBDA, RUNTIME], ids=name_of)
def test_a_lock_file_holds_what_was_asked_for_and_nothing_else(path: Path) -> None:
    pinned = {pin.name for pin in pins(path) if pin.on_lambda}
    assert needed(asked(path.with_suffix(".in"))) == pinned, "run `make lock`"


@pytest.mark.parametrize("path", FOR_HERE, ids=name_of)
def test_a_lock_file_for_this_machine_holds_what_was_asked_for(path: Path) -> None:
    wanted = list(asked(path.with_suffix(".in")))
    pinned = {pin.name: pin.version for pin in pins(path) if pin.on_lambda}
    for requirement in wanted:
        version = pinned[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), "run `make lock`"


def test_the_stack_needs_nothing_that_the_tests_lack() -> None:
    assert {pin.name for pin in pins(FOR_HERE[0])} <= {pin.name for pin in pins(MASTER)}


@pytest.mark.parametrize("path", FOR_LAMBDA, ids=name_of)
def test_boto3_comes_from_the_runtime(path: Path) -> None:
    assert not {pin.name for pin in pins(path)} & {"boto3", "botocore", "s3transfer"}


def test_only_one_function_carries_voyageai() -> None:
    carrying = [path for path in FOR_LAMBDA if "voyageai" in {pin.name for pin in pins(path)}]
    assert len(carrying) == 1


@cache
def distributions() -> dict[str, list[str]]:
    return dict(importlib.metadata.packages_distributions())


def imported(paths: set[Path]) -> dict[str, set[str]]:
    """Third-party packages that files import, with the distributions that may bring each."""
    names = {name.split(".")[0] for path in paths for name in sources.imports(path)}
    return {
        name: {canonicalize_name(distribution) for distribution in distributions()[name]}
        for name in names
        if name in distributions()
    }


@pytest.mark.parametrize("function", sources.functions())
def test_a_function_imports_only_what_it_is_shipped_with(function: str) -> None:
    own = ROOT / "functions" / function / "requirements.txt"
    locks = [ROOT / "shared" / "requirements.txt", RUNTIME, *([own] if own.exists() else [])]
    shipped = {pin.name for lock in locks for pin in pins(lock)}
    found = imported(sources.closure(function))
    assert found
    missing = {name for name, bringing in found.items() if not bringing & shipped}
    assert missing == set(), f"not in {name_of(own)}, nor in the layer, nor in Lambda's own Python"


@pytest.mark.parametrize(
    "path", [path.with_suffix(".in") for path in FOR_LAMBDA if path.parent.name != "shared"], ids=name_of
)
def test_a_function_asks_for_nothing_that_it_does_not_import(path: Path) -> None:
    found = imported(set(sources.modules(f"functions.{path.parent.name}")))
    bringing = {name for names in found.values() for name in names}
    wanted = {canonicalize_name(requirement.name) for requirement in asked(path)}
    assert wanted
    assert wanted <= bringing


def test_every_in_file_is_locked() -> None:
    asking = {
        path for folder in ("requirements", "shared", "functions/*") for path in ROOT.glob(f"{folder}/*.in")
    }
    assert asking == {lock.with_suffix(".in") for lock in LOCKS}
