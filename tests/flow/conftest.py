"""The whole system, running once for all tests of this folder, and two people who use it."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flow.people import Person
from tests.local.running import ROOT, Running


def start(data: Path) -> Running:
    return Running(data, template=ROOT / "template.yaml")


@pytest.fixture(scope="session")
def system() -> Iterator[Running]:
    # Not in pytest's own folder: see tests/local/conftest.py.
    folder = Path(tempfile.mkdtemp(prefix="magpie-flow-"))
    running = start(folder / "data")
    yield running
    running.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def anna(system: Running) -> Person:
    return Person(system, "anna@magpie.test")


@pytest.fixture(scope="session")
def bert(system: Running) -> Person:
    return Person(system, "bert@magpie.test")


@pytest.fixture(scope="session")
def photos() -> Path:
    """Real photographs: those of the scikit-image wheel."""
    import importlib.util

    found = importlib.util.find_spec("skimage")
    assert found
    assert found.submodule_search_locations
    return Path(found.submodule_search_locations[0]) / "data"
