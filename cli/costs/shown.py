"""What `magpie cost` prints for people."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cli.costs import bill, data
from cli.costs.advice import Advice
from cli.costs.bill import LAMBDA, LOGS, MODEL, REQUESTS, Line
from cli.costs.growth import Grown
from cli.output import Output, money, roughly, size, styled, table

if TYPE_CHECKING:
    from rich.console import RenderableType

THOUSAND = 1000


def stages(with_model: Sequence[Line] | None, offline: Sequence[Line]) -> "RenderableType":
    """Return what 1,000 pictures cost, a line for each stage.

    Args:
        with_model: None where nobody asks what a model costs.
    """
    kinds = [LAMBDA, REQUESTS, LOGS, *([MODEL] if with_model else [])]
    heads = [
        *(kind[:1].upper() + kind[1:] for kind in kinds),
        "Together",
        *(["Offline"] if with_model else []),
    ]
    shown = table("Stage", *heads, right=heads, whole=("Stage",))
    counted = offline if with_model is None else with_model
    names = list(dict.fromkeys(line.stage for line in counted))
    for name in [*names, ""]:
        own = [line for line in counted if name in ("", line.stage)]
        amounts = [bill.total(line for line in own if line.kind == kind) for kind in kinds]
        amounts.append(bill.total(own))
        if with_model:
            amounts.append(bill.total(line for line in offline if name in ("", line.stage)))
        style = "bold" if not name else ""
        shown.add_row(
            styled(name or "together", style),
            *(styled(money(THOUSAND * amount) if amount else "", style) for amount in amounts),
        )
    return shown


def lines(each: Sequence[tuple[str, float]], times: float = 1) -> "RenderableType":
    """Return amounts with what they are for, and their sum."""
    shown = table("What", "Dollars", right=("Dollars",))
    for what, usd in each:
        if usd:
            shown.add_row(styled(what), styled(money(times * usd)))
    shown.add_row(styled("together", "bold"), styled(money(times * sum(usd for _, usd in each)), "bold"))
    return shown


def memory(found: Sequence[Advice]) -> "RenderableType":
    """Return which memory is cheapest, beside what the template has."""
    shown = table(
        "Function", "Message", "Peak", "Has", "ms", "Cheapest", "ms ", "Saves*",
        right=("Peak", "Has", "ms", "Cheapest", "ms ", "Saves*"), whole=("Function",),
    )  # fmt: skip
    for each in found:
        better = each.cheapest_mb != each.template_mb
        shown.add_row(
            styled(each.name),
            styled(each.case),
            styled(f"{each.peak_mb}"),
            styled(f"{each.template_mb:,}"),
            styled(f"{each.work.duration_ms(each.template_mb):,}"),
            styled(f"{each.cheapest_mb:,}", "yellow" if better else "green"),
            styled(f"{each.work.duration_ms(each.cheapest_mb):,}"),
            styled(
                money(THOUSAND * each.saved_usd) if better and THOUSAND * each.saved_usd >= 0.0001 else ""
            ),
        )
    return shown


def grown(rows: Sequence[Grown]) -> "list[RenderableType]":
    """Return how money, time and the database grow, and what bites."""
    dollars = table(
        "Pictures",
        "Bring in",
        "Offline",
        "Again",
        "A month",
        right=("Pictures", "Bring in", "Offline", "Again", "A month"),
    )
    time = table(
        "Pictures", "At once", "Bring in", "Offline", "Again", "Database", "Machine",
        right=("Pictures", "At once", "Bring in", "Offline", "Again", "Database"), whole=("Machine",),
    )  # fmt: skip
    limits = table("Pictures", "What bites", "What lifts it", right=("Pictures",))
    for row in rows:
        count = styled(counted(row.items))
        dollars.add_row(
            count,
            *(
                styled(rounded(usd))
                for usd in (row.once_usd, row.once_offline_usd, row.again_usd, row.month_usd)
            ),
        )
        settings = row.settings
        time.add_row(
            count,
            styled("{image_processor}/{analyzer}/{embedder}/{run}".format(**settings)),
            *(
                styled(long(each))
                for each in (row.bring_seconds, row.bring_offline_seconds, row.again_seconds)
            ),
            styled(large(row.database_bytes)),
            styled(row.machine.name.removeprefix("db.") if row.machine else "none is large enough"),
        )
        limits.add_row(count, styled(row.bites), styled(row.lifts))
    return [dollars, time, limits]


def counted(items: int) -> str:
    """Return a number of pictures for a narrow column: `10 k`, `1 M`."""
    return f"{items // 1_000_000:,} M" if items >= 1_000_000 else f"{items // 1000:,} k"


def rounded(dollars: float) -> str:
    """Return dollars, without cents where there are hundreds."""
    return money(dollars) if dollars < 100 else f"${dollars:,.0f}"


def long(seconds: float) -> str:
    """Return a duration that may be days, in few characters."""
    hours = seconds / 3600
    if hours < 1:
        return roughly(seconds)
    return f"{hours:.2g} h" if hours < 48 else f"{hours / 24:.1f} d"


def large(count: float) -> str:
    """Return bytes that may be terabytes."""
    return f"{count / 1e12:.1f} TB" if count >= 1e12 else size(round(count))


def notes(out: Output, *said: str) -> None:
    """Say below a table what belongs to it."""
    for text in said:
        out.show(styled(text, "dim"))


def sources() -> str:
    """Say where the numbers are from."""
    prices, measured = data.read("prices"), data.read("measured")
    unseen = [name for name, each in prices["prices"].items() if each["seen"] is None]
    return (
        f"List prices of {prices['region']}, read on {prices['read']}, without any free tier. Not found "
        f"again that day, so check them: {', '.join(unseen)}, db.r8g but for the xlarge. Measured on "
        f"{measured['measured']} by {measured['command']}. What the network and models add is assumed. "
        "All of it is in cli/costs/*.json, and docs/cost.md says how it is reckoned."
    )
