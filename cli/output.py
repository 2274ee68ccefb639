"""Where a command speaks: its result on stdout, everything else on stderr.

With `--json` stdout holds one JSON document and nothing else. Without it, a terminal gets colours and
its own width; a pipe gets the same words plain, with nothing cut off.

Names, headlines and messages come from outside, so they are never read as markup, and what could move
a terminal's cursor is taken out of them.
"""

import json
import os
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.progress import Progress
    from rich.table import Table
    from rich.text import Text

PIPE_WIDTH = 10_000
"""Columns of a console that is no terminal: wide enough to cut nothing."""

STATUS_STYLES = {
    "ready": "green",
    "ok": "green",
    "rejected": "red",
    "failed": "red",
    "wrong": "red",
    "warning": "yellow",
    "pending": "yellow",
    "over_quota": "yellow",
    "processed": "yellow",
    "analyzed": "yellow",
    "succeeded": "green",
    "queued": "yellow",
    "running": "yellow",
    "timed_out": "red",
    "cancelled": "red",
}


class Output:
    """One command's voice.

    Args:
        as_json: the result is one JSON document.
    """

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json

    @cached_property
    def console(self) -> "Console":
        """The console of stdout, for people."""
        return _console(stderr=False)

    @cached_property
    def errors(self) -> "Console":
        """The console of stderr: progress and notes."""
        return _console(stderr=True)

    def document(self, document: Any) -> None:
        """Write the one JSON document."""
        write_json(document)

    def show(self, *parts: "RenderableType") -> None:
        """Write parts of a result for people, each on lines of its own."""
        if self.console.is_terminal:
            for part in parts:
                self.console.print(part, highlight=False)
            return
        for part in parts:
            with self.console.capture() as captured:
                self.console.print(part, highlight=False)
            # A table fills its last column with spaces: of no use in a file.
            sys.stdout.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))

    def line(self, text: str, style: str = "") -> None:
        """Write one line that is never wrapped, so that an address in it stays whole."""
        self.console.print(styled(text, style), soft_wrap=True, highlight=False)

    def note(self, text: str, style: str = "") -> None:
        """Say something on stderr."""
        self.errors.print(styled(text, style), soft_wrap=True, highlight=False)

    def bars(self) -> "Progress":
        """Return bars for stderr, each with what is done so far (its field `done`) and the time beside it."""
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        return Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[done]}"),
            TimeElapsedColumn(),
            console=self.errors,
            transient=True,
        )

    def step(self, sentence: str) -> None:
        """Say on stderr what is being done."""
        self.note(sentence[:1].upper() + sentence[1:], "dim")


def _console(*, stderr: bool) -> "Console":
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
    # `file` is named, because rich would otherwise look up the stream again at each print.
    return Console(file=stream, width=width, markup=False, emoji=False, highlight=False)


def write_json(document: Any) -> None:
    """Write one JSON document to stdout, and to nobody else."""
    utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    text = json.dumps(_whole(document), ensure_ascii=not utf8, allow_nan=False, indent=2, default=str)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _whole(value: Any) -> Any:
    """Replace halves of characters, which file names may hold and JSON readers refuse."""
    if isinstance(value, str):
        return readable(value)
    if isinstance(value, dict):
        return {readable(str(key)): _whole(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_whole(inner) for inner in value]
    return value


def readable(text: str) -> str:
    """Return the text with half characters, such as undecodable bytes of a file name, as U+FFFD."""
    return "".join("\N{REPLACEMENT CHARACTER}" if "\ud800" <= each <= "\udfff" else each for each in text)


def plain(text: object) -> str:
    """Return a text from outside as it may be shown on a terminal: one line, no control characters.

    Escape sequences, line ends and the marks that turn writing direction around are made harmless.
    """
    shown = []
    for character in str(text):
        if character.isprintable():
            shown.append(character)
        elif character.isspace():
            shown.append(" ")
        elif character == "\N{ZERO WIDTH JOINER}":
            shown.append(character)
        elif unicodedata.category(character) != "Cf":
            shown.append("\N{REPLACEMENT CHARACTER}")
    return "".join(shown)


def styled(text: object, style: str = "") -> "Text":
    """Return a text from outside, made harmless, in a style."""
    from rich.text import Text

    return Text(plain(text), style=style)


def status_text(status: str) -> "Text":
    """Return a status in its colour."""
    return styled(status, STATUS_STYLES.get(status, ""))


def table(*columns: str, right: Iterable[str] = (), whole: Iterable[str] = ()) -> "Table":
    """Return an empty table without borders.

    Args:
        right: columns of numbers.
        whole: columns that a narrow terminal must not wrap or shorten.
    """
    from rich.table import Table

    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    numbers, unbroken = set(right), set(whole)
    for column in columns:
        made.add_column(
            column,
            justify="right" if column in numbers else "left",
            no_wrap=column in numbers | unbroken,
            overflow="ellipsis" if column in numbers | unbroken else "fold",
        )
    return made


def facts(pairs: Sequence[tuple[str, object]]) -> "Table":
    """Return names and values in two columns, leaving out what has no value."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, style="dim")
    grid.add_column(overflow="fold")
    for name, value in pairs:
        if value not in (None, "", [], {}):
            grid.add_row(name, value if isinstance(value, Text) else styled(value))
    return grid


def size(count: int | None) -> str:
    """Return bytes for people, in powers of ten: `1.2 MB`."""
    if count is None:
        return ""
    value, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while value >= 999.5 and len(units) > 1:
        value /= 1000
        del units[0]
    return f"{value:.1f} {units[0]}" if value < 9.95 and count >= 1000 else f"{value:.0f} {units[0]}"


def duration(milliseconds: float | None) -> str:
    """Return a duration for people: `8 ms`, `1.4 s`, `3 min 5 s`, `2 h 10 min`."""
    if milliseconds is None:
        return ""
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    seconds = milliseconds / 1000
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"


def roughly(seconds: float) -> str:
    """Return a duration that is only an estimate: `15 s`, `4 min`, `2 h 10 min`."""
    if seconds < 59.5:
        return f"{max(round(seconds), 1)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def money(dollars: float | None) -> str:
    """Return US dollars for people, small amounts with the digits that count: `$12.40`, `$0.0021`."""
    if dollars is None:
        return ""
    if dollars == 0 or dollars >= 0.1:
        return f"${dollars:,.2f}"
    return f"${dollars:.2g}" if dollars >= 0.0001 else "less than $0.0001"


def moment(text: str | None) -> datetime | None:
    """Read a time of the API (ISO 8601), or None for what is none."""
    if not text:
        return None
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        return None
    return read if read.tzinfo else read.replace(tzinfo=UTC)


def age(text: str | None, now: datetime) -> str:
    """Return how long ago something was: `now`, `5 min`, `3 h`, `2 d`."""
    then = moment(text)
    if then is None:
        return ""
    seconds = (now - then).total_seconds()
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit}"
    return "now"


def short_ids(ids: Sequence[str]) -> list[str]:
    """Return the shortest beginnings, of one length and at least 8 characters, that tell ids apart."""
    for length in range(8, 36):
        if len({item_id[:length] for item_id in ids}) == len(set(ids)):
            return [item_id[:length].rstrip("-") for item_id in ids]
    return list(ids)


def listed(count: int, one: str, many: str | None = None) -> str:
    """Return a count with its noun: `1 picture`, `3 pictures`."""
    return f"{count} {one if count == 1 else many or one + 's'}"
