"""`magpie usage`: how much of everything there is and may be, what models have cost, and what they will."""

import re
from datetime import UTC, date
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.errors import UsageError
from cli.options import ApiUrl, Data, Json

if TYPE_CHECKING:
    from rich.table import Table

    from cli.output import Output

METERS = {"items": "Items", "storage_bytes": "Storage", "scans": "Scans", "model_usd": "Models"}
BAR = 20
"""Columns of a bar."""
NEARLY = 0.8
"""Share of a limit from which on it is pointed out: where the deployment's own alarm goes off, too."""


def usage(
    month: Annotated[
        str | None,
        typer.Option(metavar="YYYY-MM", help="A month. Default: this one, in UTC.", show_default=False),
    ] = None,
    first: Annotated[
        str | None,
        typer.Option("--from", metavar="DAY", help="Days, such as 2026-11-01, instead.", show_default=False),
    ] = None,
    last: Annotated[
        str | None,
        typer.Option("--to", metavar="DAY", help="The last of them. Default: today.", show_default=False),
    ] = None,
    json: Json = False,
    data: Data = None,
    api_url: ApiUrl = None,
) -> int:
    """Show what is used of what you may have, what models have cost, and what this month will come to."""
    from cli.connect import connect
    from cli.output import Output

    asked = _asked(month, first, last)
    out = Output(json)
    with connect(data, api_url) as api:
        told = api.usage(asked)
    if json:
        out.document(told)
    else:
        _show(out, told)
    return 0


def _asked(month: str | None, first: str | None, last: str | None) -> dict[str, str]:
    """Return the parameters of a period.

    Raises:
        UsageError: it is none.
    """
    if month and (first or last):
        raise UsageError("Say either --month, or --from and --to.")
    if last and not first:
        raise UsageError("--to needs --from.")
    if month and not (re.fullmatch(r"\d{4}-\d\d", month) and _is_day(f"{month}-01")):
        raise UsageError(f"--month takes a month like 2026-11, not {month!r}.")
    for option, day in (("--from", first), ("--to", last)):
        if day and not _is_day(day):
            raise UsageError(f"{option} takes a day like 2026-11-20, not {day!r}.")
    said = {"month": month, "from": first, "to": last}
    return {name: value for name, value in said.items() if value}


def _is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _show(out: "Output", told: dict[str, Any]) -> None:
    from rich.text import Text

    from cli.output import facts, styled

    out.show(styled("What there is, of what there may be", "bold"), _meters(told["limits"]))
    if forecast := told.get("forecast"):
        out.show(Text(), styled("This month", "bold"), facts(_forecast(forecast)))
    out.show(Text(), styled(f"{told['from']} to {told['to']}", "bold"))
    days = [day for day in told["by_day"] if day["calls"] or day["added"]["items"]]
    if days:
        out.show(_by_day(days, told))
    else:
        out.show(styled("Nothing happened in these days.", "dim"))
    for name, rows in (("Stage", told["by_stage"]), ("Model", told["by_model"])):
        if rows:
            out.show(Text(), _by(name, rows))


def _meters(limits: dict[str, Any]) -> "Table":
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    from cli.output import moment, styled

    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(width=BAR)
    grid.add_column(no_wrap=True, justify="right")
    grid.add_column(no_wrap=True, justify="right")
    grid.add_column(overflow="fold")
    for meter, label in METERS.items():
        used, limit = limits[meter]["used"], limits[meter]["limit"]
        resets_at = moment(limits[meter]["resets_at"])
        anew = f"anew on {resets_at.astimezone(UTC):%Y-%m-%d}" if resets_at else ""
        if limit is None:
            grid.add_row(label, "", f"{_amount(meter, used)}, no limit", "", styled(anew, "dim"))
            continue
        share = used / limit if limit else 1.0
        style = "red" if share >= 1 else "yellow" if share >= NEARLY else "green"
        grid.add_row(
            label,
            ProgressBar(
                total=1, completed=min(share, 1.0), width=BAR, complete_style=style, finished_style=style
            ),
            f"{_amount(meter, used)} of {_amount(meter, limit)}",
            styled(f"{share:.0%}", style if share >= NEARLY else ""),
            styled(anew, "dim"),
        )
    return grid


def _amount(meter: str, number: float) -> str:
    from cli.output import money, size

    if meter == "model_usd":
        return money(number)
    return size(int(number)) if meter == "storage_bytes" else f"{number:,.0f}"


def _forecast(forecast: dict[str, Any]) -> list[tuple[str, object]]:
    from cli.output import money, styled

    if forecast["cost_usd"] is None:
        return [("forecast", forecast["basis"])]
    reached = forecast["limit_reached_on"]
    return [
        ("forecast", styled(money(float(forecast["cost_usd"])), "bold")),
        ("", styled(forecast["basis"], "dim")),
        ("limit", styled(f"reached on {reached} at this rate", "yellow") if reached else None),
    ]


def _by_day(days: list[dict[str, Any]], told: dict[str, Any]) -> "Table":
    from cli.output import size, styled, table

    numbers = ("Calls", "Tokens in", "Tokens out", "Cost", "Pictures", "Size")
    listing = table("Day", *numbers, right=numbers, whole=("Day",))
    for day in days:
        added = day["added"]
        came = (f"{added['items']:,}", size(added["bytes"])) if added["items"] else ("", "")
        listing.add_row(day["day"], *_spent(day), *came)
    if len(days) > 1:
        added = told["storage"]["added"]
        total = (*_spent(told["totals"]), f"{added['items']:,}", size(added["bytes"]))
        listing.add_row(*(styled(cell, "bold") for cell in ("together", *total)))
    return listing


def _by(name: str, rows: list[dict[str, Any]]) -> "Table":
    from cli.output import styled, table

    numbers = ("Calls", "Tokens in", "Tokens out", "Cost")
    listing = table(name, *numbers, right=numbers)
    for row in rows:
        who = row["stage"] if name == "Stage" else f"{row['model']} ({row['provider']})"
        listing.add_row(styled(who), *_spent(row))
    return listing


def _spent(row: dict[str, Any]) -> tuple[str, str, str, str]:
    from cli.output import money

    if not row["calls"]:
        return "", "", "", ""
    figures = (f"{row[name]:,}" for name in ("calls", "input_tokens", "output_tokens"))
    calls, read, written = figures
    return calls, read, written, money(float(row["cost_usd"]))
