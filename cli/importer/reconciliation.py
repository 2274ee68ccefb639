"""The account of an import: what was in the source, and what became of all of it. It must balance."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cli.importer.scratch import IMAGES, LINES, TABLES, Scratch

if TYPE_CHECKING:
    from cli.output import Output

SHOWN = 20
"""Rows of one kind that a person is told by name; `--json` has them all."""
FOLLOWING = {"item_failed", "other_model", "other_dimensions"}
OUTCOMES = ("imported", "exists", "skipped", "failed")


@dataclass(frozen=True)
class Line:
    """Rows of one table, or images, and their bytes, by what became of them."""

    source: int
    rows: Mapping[str, int]
    bytes: Mapping[str, int]

    @property
    def balances(self) -> bool:
        return self.source == sum(self.rows.values())

    def record(self) -> dict[str, Any]:
        return {"source": self.source, **{outcome: self.rows[outcome] for outcome in OUTCOMES}}


class Reconciliation:
    """The whole account.

    Args:
        checksums: of images that are there, compared with the files.
    """

    def __init__(self, scratch: Scratch, checksums: Mapping[str, int] | None = None) -> None:
        self._scratch = scratch
        self.checksums = dict(checksums or {"compared": 0, "same": 0, "different": 0})
        totals = scratch.totals()
        self.lines: dict[str, Line] = {}
        for name in LINES:
            counts = {outcome: totals[name].get(outcome, (0, 0)) for outcome in OUTCOMES}
            rows = {outcome: count for outcome, (count, _) in counts.items()}
            source = scratch.count(name) if name in TABLES else scratch.named_images
            self.lines[name] = Line(source, rows, {outcome: size for outcome, (_, size) in counts.items()})

    @property
    def balances(self) -> bool:
        compared = self.checksums["same"] + self.checksums["different"]
        return all(line.balances for line in self.lines.values()) and compared == self.checksums["compared"]

    @property
    def failed(self) -> int:
        return sum(line.rows["failed"] for line in self.lines.values())

    def document(self) -> dict[str, Any]:
        """Return the account for programs."""
        images = self.lines[IMAGES]
        return {
            "tables": {name: line.record() for name, line in self.lines.items()},
            "bytes": {"source": sum(images.bytes.values()), **images.bytes},
            "checksums": self.checksums,
            "balances": self.balances,
            "skipped": list(self._scratch.named("skipped")),
            "failed": list(self._scratch.named("failed")),
        }

    def show(self, out: "Output", *, dry_run: bool) -> None:
        """Print the account for people."""
        from cli.output import listed, size, styled, table

        columns = (
            "In the source",
            "To import" if dry_run else "Imported",
            "Already there",
            "Skipped",
            "Failed",
        )
        whole = table("", *columns, right=columns)
        for name, line in self.lines.items():
            cells = [line.source, *(line.rows[outcome] for outcome in OUTCOMES)]
            whole.add_row(styled(name.capitalize()), *(styled(f"{count:,}") for count in cells))
        images = self.lines[IMAGES].bytes
        amounts = [sum(images.values()), *(images[outcome] for outcome in OUTCOMES)]
        whole.add_row(styled("Bytes"), *(styled(size(amount)) for amount in amounts))
        out.show(whole)
        for outcome in ("skipped", "failed"):
            self._reasons(out, outcome)
        if self.checksums["compared"]:
            out.line("")
            said = f"{listed(self.checksums['compared'], 'checksum')} compared: {self.checksums['same']} same"
            out.line(f"{said}, {self.checksums['different']} different.")
        if not self.balances:
            out.line("This does not balance: it is a bug in Magpie.", "red")

    def _reasons(self, out: "Output", outcome: Any) -> None:
        from cli.output import styled, table

        counted: Counter[tuple[str, str]] = Counter()
        shown: list[dict[str, Any]] = []
        for each in self._scratch.named(outcome):
            key = (each["table"], each["code"] or "")
            counted[key] += 1
            # What follows from another row, or is told of very many in the same words, is only counted.
            follows = key[1] in FOLLOWING or (key[0] == IMAGES and ("items", key[1]) in counted)
            if counted[key] <= SHOWN and not follows:
                shown.append(each)
        if not counted:
            return
        out.line("")
        out.line(outcome.capitalize(), "bold")
        reasons = table("Table", "Rows", "Why", right=("Rows",))
        for (name, code), count in counted.items():
            reasons.add_row(styled(name), styled(f"{count:,}"), styled(code))
        out.show(reasons)
        if shown:
            out.line("")
            rows = table("Table", "Row", "Id", "Why", right=("Row",))
            for each in shown:
                why = f"{each['code']}: {each['message']}"
                rows.add_row(
                    styled(each["table"]), styled(each["row"]), styled(each["id"] or "–"), styled(why)
                )
            out.show(rows)
        for line in _left_out(counted, shown):
            out.line(line, "dim")


def _left_out(counted: Counter[tuple[str, str]], shown: list[dict[str, Any]]) -> Iterator[str]:
    left = sum(counted.values()) - len(shown)
    if left and shown:
        yield f"… and {left:,} more: --json lists every row."
