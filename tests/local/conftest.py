"""A small stack for the tests of a module."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.local.running import Running


@contextmanager
def data_folder() -> Iterator[Path]:
    """A new data folder with harmless parents.

    Not in pytest's own: as root, PostgreSQL runs as another user, who must pass through, and every pytest
    that starts shuts its folder to others again.
    """
    folder = Path(tempfile.mkdtemp(prefix="magpie-test-"))
    yield folder / "data"
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def data() -> Iterator[Path]:
    with data_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def stack() -> Iterator[Running]:
    """The small template, running; its first user is signed in with `stack.token()`."""
    with data_folder() as folder:
        running = Running(folder)
        yield running
        running.stop()
