"""See a run through to its end: how far it is, what it cost so far, and how long it will still take."""

import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.client import Api
from cli.errors import CommandError
from cli.output import Output, money, roughly

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

ENDED = {"planned", "succeeded", "failed", "cancelled", "timed_out"}
"""Statuses after which nothing more happens to a run."""

FIRST_LOOK = 0.3
"""Seconds between two looks while something happens."""
SLOWEST_LOOK = 3.0
NOTE_EVERY = 5.0
"""Seconds between two lines about progress where there is no terminal."""


class Again:
    """The command lines that a person may copy from what a command says.

    Args:
        data, api_url: the options that this command was given, which the next one needs too.
    """

    def __init__(self, data: Path | None, api_url: str | None) -> None:
        self._options = f" --data {shlex.quote(str(data))}" if data is not None else ""
        self._options += f" --api-url {shlex.quote(api_url)}" if api_url is not None else ""

    def __call__(self, command: str) -> str:
        return f"./magpie {command}{self._options}"


def follow(api: Api, out: Output, run: dict[str, Any], again: Again) -> dict[str, Any]:
    """Show a run's progress on stderr until it has ended, and return it as it is then.

    Raises:
        CommandError: the API does not answer any more, or `interrupted` by Ctrl-C. The run goes on.
    """
    run_id = str(run["run_id"])
    goes_on = (
        f"The run goes on without you: {again(f'runs wait {run_id[:8]}')} watches it, "
        f"{again(f'runs cancel {run_id[:8]}')} ends it."
    )
    try:
        with _Progress(out, f"Run {run_id[:8]}", progress_in_words) as progress:
            return _until_ended(api, run_id, progress)
    except KeyboardInterrupt:
        raise CommandError(
            "interrupted", f"Interrupted. {goes_on}", exit_code=130, more={"run": run}
        ) from None
    except CommandError as error:
        raise CommandError(error.code, f"{error.message} {goes_on}", more={"run": run}) from None


def estimated(api: Api, out: Output, run: dict[str, Any]) -> dict[str, Any]:
    """Wait for the end of a dry run, and return it."""
    with _Progress(out, "Estimating", lambda _: "") as progress:
        return _until_ended(api, str(run["run_id"]), progress)


def progress_in_words(run: dict[str, Any]) -> str:
    """Return how far a run is: `34 of 120, 2 failed, $0.03 so far, about 2 min left`."""
    items = run.get("items") or {}
    if items.get("planned") is None:
        return "waiting for its turn" if run.get("status") == "queued" else "planning"
    ended = sum(items.get(name) or 0 for name in ("done", "ignored", "rejected", "failed"))
    said = [f"{ended:,} of {items['planned']:,}"]
    said += [f"{items[name]:,} {name}" for name in ("rejected", "failed") if items.get(name)]
    if run.get("cost_usd"):
        said.append(f"{money(run['cost_usd'])} so far")
    if run.get("seconds_left") and run.get("status") not in ENDED:
        said.append(f"about {roughly(run['seconds_left'])} left")
    return ", ".join(said)


def _until_ended(api: Api, run_id: str, progress: "_Progress") -> dict[str, Any]:
    pause = FIRST_LOOK
    seen: Any = None
    while True:
        run = api.run(run_id)
        progress.update(run)
        if run["status"] in ENDED:
            return run
        now = (run["status"], run.get("items"))
        pause = FIRST_LOOK if now != seen else min(pause * 1.3, SLOWEST_LOOK)
        seen = now
        time.sleep(pause)


class _Progress:
    """A bar on a terminal, else a line now and then.

    Args:
        words: for how far a run is.
    """

    def __init__(self, out: Output, name: str, words: Callable[[dict[str, Any]], str]) -> None:
        self._out = out
        self._name = name
        self._words = words
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._said = ""
        self._said_at = time.monotonic()

    def __enter__(self) -> "_Progress":
        if self._out.errors.is_terminal:
            from rich.progress import BarColumn, Progress, TextColumn

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=None),
                TextColumn("{task.fields[said]}"),
                console=self._out.errors,
                expand=True,
                transient=True,
            )
            self._task = self._bar.add_task(self._name, total=None, said="")
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def update(self, run: dict[str, Any]) -> None:
        said = self._words(run)
        if self._bar and self._task is not None:
            items = run.get("items") or {}
            planned, left = items.get("planned"), items.get("left")
            done = planned - left if planned is not None and left is not None else 0
            self._bar.update(self._task, total=planned or None, completed=done, said=said)
        elif said not in ("", self._said) and time.monotonic() - self._said_at >= NOTE_EVERY:
            self._out.note(f"{self._name}: {said}")
            self._said, self._said_at = said, time.monotonic()
