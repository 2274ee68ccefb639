"""The page in a real Chromium, and the whole system behind it, running once for all tests of this folder."""

import contextlib
import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.browser.visit import Visit
from tests.flow.people import Person
from tests.local.running import ROOT, Running

NAMES = ("chromium", "chromium-browser", "google-chrome")
WAIT_MS = 30_000
"""For whatever is expected; it is there in a fraction of that, unless the machine is busy."""
FLAGS = (
    "--no-sandbox",  # a container's root has none to offer
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"no browser on PATH ({', '.join(NAMES)}): the page is not tested")
    expect.set_options(timeout=WAIT_MS)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        yield running
        running.close()


@pytest.fixture(scope="session")
def system(browser: Browser) -> Iterator[Running]:
    # Not in pytest's own folder: see tests/local/conftest.py.
    folder = Path(tempfile.mkdtemp(prefix="magpie-page-"))
    running = Running(folder / "data", template=ROOT / "template.yaml")
    yield running
    running.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def anna(system: Running, photos: Path) -> Person:
    """Somebody with three pictures."""
    person = Person(system, "anna@magpie.test")
    made = [person.upload(photos / name) for name in ("chelsea.png", "rocket.jpg", "coffee.png")]
    for item_id in made:
        person.wait(item_id, "ready")
    return person


_numbers = itertools.count(1)


@pytest.fixture
def somebody(system: Running) -> Iterator[Person]:
    """Somebody new, with nothing yet."""
    person = Person(system, f"somebody-{next(_numbers)}@magpie.test")
    yield person
    cognito, pool = system.client("cognito-idp"), system.info["sign_in"]["user_pool_id"]
    with contextlib.suppress(cognito.exceptions.UserNotFoundException):  # who deleted themselves
        cognito.admin_delete_user(UserPoolId=pool, Username=person.email)


@pytest.fixture
def visit(browser: Browser, system: Running) -> Iterator[Callable[..., Visit]]:
    """Open the page in a tab of its own; with a person, signed in as them by one click.

    What should not happen in any tab (errors in the console, a policy that was broken, a request to anywhere
    else) fails the test at its end.
    """
    opened: list[Visit] = []

    def open_page(person: Person | None = None, path: str = "/", **options: Any) -> Visit:
        context = browser.new_context(
            **{"viewport": {"width": 1280, "height": 800}, "locale": "en-GB"} | options
        )
        context.set_default_timeout(WAIT_MS)
        tab = Visit(context, system.api_url)
        opened.append(tab)
        tab.page.goto(system.api_url + path)
        if person is not None:
            tab.sign_in(person.email)
        return tab

    yield open_page
    for tab in opened:
        tab.context.close()
    assert not [fault for tab in opened for fault in tab.faults]


@pytest.fixture(scope="session")
def photos() -> Path:
    """Real photographs: those of the scikit-image wheel."""
    import importlib.util

    found = importlib.util.find_spec("skimage")
    assert found
    assert found.submodule_search_locations
    return Path(found.submodule_search_locations[0]) / "data"
