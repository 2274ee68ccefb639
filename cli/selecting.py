"""What `--select` and `--stages` mean: which items a run is over, and what is done to each.

Every `--select` narrows. Nothing is guessed: a word that is none, and a selection that says nothing, are
refused, because what they would stand for may be everything.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from typing import Annotated, Any

import typer

from cli.errors import UsageError

STAGES = ("process", "analyze", "embed")
STATUSES = ("pending", "processed", "analyzed", "ready", "rejected", "failed")
FLAGS = ("all", "stale", "stale-model", "stale-prompt")
VALUES = ("status", "category", "since", "until", "ids", "failed-in")

WORDS = (
    "all, status=failed, stale (described after another prompt or by another model than now), stale-prompt, "
    "stale-model, category=Receipt, since=2026-01-31, since=7d, until=2026-02-28, ids=ID,ID, failed-in=RUN"
)
"""Everything that `--select` knows, for its help and for whoever got it wrong."""

MOST_IDS = 1000
_AGO = re.compile(r"(\d{1,5})(h|d|w)")
_UNITS = {"h": "hours", "d": "days", "w": "weeks"}

Select = Annotated[
    list[str] | None,
    typer.Option(
        "--select",
        metavar="WHICH",
        help=f"Which items; given several times, each one narrows. {WORDS}",
        show_default=False,
    ),
]
Stages = Annotated[
    str | None,
    typer.Option(
        "--stages",
        metavar="LIST",
        help="What to do to each: process, analyze, embed, with commas between. Default: all three.",
        show_default=False,
    ),
]

Resolve = Callable[[Sequence[str]], list[str]]
"""From beginnings of ids to whole ones."""


def selection(words: Sequence[str], items: Resolve, runs: Resolve, now: datetime) -> dict[str, Any]:
    """Return the API's selection for the values of `--select`.

    Args:
        items, runs: asked for whole ids only where beginnings are given.
        now: aware; what `since=7d` counts from.

    Raises:
        UsageError: a value makes no sense, or they contradict each other.
        CommandError: as `ids.resolve`.
    """
    chosen: dict[str, Any] = {}
    for word in words:
        name, equals, value = (part.strip() for part in word.partition("="))
        name = name.lower().replace("_", "-")
        if not equals and name in STATUSES:
            name, value = "status", name
        elif name in FLAGS and equals:
            raise UsageError(f"--select {name} takes no value.")
        elif name in VALUES and not value:
            raise UsageError(f"--select {name} takes a value: {name}=….")
        elif name not in FLAGS + VALUES:
            raise UsageError(
                f"--select {word!r} is not known{_perhaps(name, FLAGS + VALUES + STATUSES)} There is: {WORDS}"
            )
        field = name.replace("-", "_")
        if field in chosen:
            raise UsageError(f"--select {name} is given twice: an item cannot be both.")
        chosen[field] = _value(name, value, now)
    if not chosen:
        raise UsageError(f"Say which items with --select: {WORDS}")
    if "all" in chosen and len(chosen) > 1:
        raise UsageError(
            "--select all means every item: leave it out, or the other --select that narrows it."
        )
    if "since" in chosen and "until" in chosen and chosen["since"] >= chosen["until"]:
        raise UsageError("--select since is not before until: nothing lies between them.")
    # Last, for it may ask the API.
    if "ids" in chosen:
        chosen["ids"] = list(dict.fromkeys(items(chosen["ids"])))
    if "failed_in" in chosen:
        (chosen["failed_in"],) = runs([chosen["failed_in"]])
    for field in ("since", "until"):
        if field in chosen:
            chosen[field] = chosen[field].isoformat()
    return chosen


def stages(text: str | None) -> list[str]:
    """Return stages in their order in the pipeline.

    Raises:
        UsageError: one of them is none.
    """
    if text is None:
        return list(STAGES)
    given = {part.strip().lower() for part in text.split(",") if part.strip()}
    for name in sorted(given - set(STAGES)):
        raise UsageError(
            f"--stages {name!r} is no stage{_perhaps(name, STAGES)} There is: {', '.join(STAGES)}"
        )
    if not given:
        raise UsageError(f"--stages names none: {', '.join(STAGES)}")
    return [stage for stage in STAGES if stage in given]


def in_words(select: dict[str, Any]) -> str:
    """Return a selection of the API for people: `status failed, since 2026-01-31 00:00`."""
    parts = []
    for name, value in select.items():
        if name == "all" and value:
            parts.append("all items")
        elif name in ("stale", "stale_model", "stale_prompt"):
            parts += [name.replace("_", " ")] if value else []
        elif name == "ids" and value:
            parts.append(
                f"{len(value)} named {'item' if len(value) == 1 else 'items'}"
                if len(value) > 3
                else "items " + ", ".join(str(each)[:8] for each in value)
            )
        elif name in ("since", "until") and value:
            then = datetime.fromisoformat(str(value)).astimezone()
            parts.append(f"{name} {then:%Y-%m-%d %H:%M}")
        elif name == "failed_in" and value:
            parts.append(f"failed in run {str(value)[:8]}")
        elif value:
            parts.append(f"{name} {value}")
    return ", ".join(parts)


def _value(name: str, value: str, now: datetime) -> Any:
    if name in FLAGS:
        return True
    if name == "status":
        if value.lower() not in STATUSES:
            raise UsageError(
                f"--select status={value} is no status{_perhaps(value, STATUSES)} "
                f"There is: {', '.join(STATUSES)}"
            )
        return value.lower()
    if name in ("since", "until"):
        return moment(f"--select {name}=", value, now)
    if name == "ids":
        found = [part for part in re.split(r"[,\s]+", value) if part]
        if len(found) > MOST_IDS:
            raise UsageError(f"--select ids takes {MOST_IDS} at a time, and these are {len(found)}.")
        return found
    return value


def moment(option: str, value: str, now: datetime) -> datetime:
    """Read a day, a time, or how long ago, and return it in UTC.

    Args:
        option: what stands before the value: `--select since=`.

    Raises:
        UsageError: it is none.
    """
    try:
        if ago := _AGO.fullmatch(value.lower()):
            return (now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})).astimezone(UTC)
        read = datetime.fromisoformat(value)
        # What names no zone is meant as the clock on the wall shows it, summer time included.
        return (read if read.tzinfo else read.astimezone()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise UsageError(
            f"{option}{value} is no time: write 2026-01-31, 2026-01-31T14:00, or 7d for seven days ago."
        ) from None


def _perhaps(word: str, known: Iterable[str]) -> str:
    close = get_close_matches(word.lower(), list(known), n=1)
    return f"; did you mean {close[0]}?" if close else "."
