"""`magpie cost`: what Magpie costs on AWS, reckoned from list prices and measured durations."""

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.errors import CommandError, UsageError
from cli.options import Json

if TYPE_CHECKING:
    from cli.costs.advice import Advice
    from cli.costs.bill import Line
    from cli.costs.growth import Grown
    from cli.costs.models import Described

MOST = 10_000_000_000

Items = Annotated[int, typer.Option(min=0, max=MOST, help="Pictures that are brought in, and kept.")]
Searches = Annotated[int, typer.Option(min=0, max=MOST, help="Searches in a month.")]
Megapixels = Annotated[float, typer.Option(help="Of each picture, a JPEG: 0.1 to 200.")]
Model = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="That describes pictures, also by Bedrock's names. Default: claude-haiku-5-5.",
        show_default=False,
    ),
]
ModelSeconds = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS", help="That the model takes for an answer. Default: 6.", show_default=False
    ),
]
WithoutModel = Annotated[
    bool, typer.Option("--without-model", help="Pictures are only measured, words hashed: nobody is paid.")
]
Region = Annotated[str, typer.Option(metavar="NAME", help="Of AWS. There are prices for us-east-1 only.")]
InVpc = Annotated[
    bool, typer.Option("--in-vpc", help="With a NAT gateway, for a database without an address.")
]
DatabaseUsd = Annotated[
    float | None,
    typer.Option(
        metavar="DOLLARS",
        help="What your database costs a month. Default: the smallest RDS that holds it, in one zone.",
        show_default=False,
    ),
]
Growth = Annotated[
    bool, typer.Option("--growth", help="How money and time grow from 10 thousand to 100 million pictures.")
]


def cost(
    items: Items = 100_000,
    searches: Searches = 500_000,
    megapixels: Megapixels = 12,
    model: Model = None,
    model_seconds: ModelSeconds = None,
    without_model: WithoutModel = False,
    region: Region = "us-east-1",
    in_vpc: InVpc = False,
    database_usd: DatabaseUsd = None,
    growth: Growth = False,
    json: Json = False,
) -> int:
    """Reckon what Magpie costs on AWS, by list prices and what was measured. Asks and starts nothing."""
    from cli.costs import data, models
    from cli.output import Output

    _check(megapixels, model, model_seconds, without_model, region, database_usd)
    if without_model and growth:
        raise UsageError("--growth shows both, with a model and without: leave out --without-model.")
    seconds = data.assumed("analysis_seconds") if model_seconds is None else model_seconds
    described = None if without_model else models.described(model or models.DEFAULT, datetime.now(UTC).date())
    out = Output(json)
    if growth:
        assert described is not None  # noqa: S101 - as above
        _grow(out, megapixels, described, seconds)
        return 0
    _reckon(out, items, searches, megapixels, described, seconds, in_vpc, database_usd)
    return 0


def _check(
    megapixels: float,
    model: str | None,
    seconds: float | None,
    without_model: bool,
    region: str,
    database_usd: float | None,
) -> None:
    from cli.costs import data
    from cli.costs.pictures import LEAST_MEGAPIXELS, MOST_MEGAPIXELS

    known = data.read("prices")["region"]
    if region != known:
        raise CommandError(
            "unknown_region",
            f"There are prices for {known} only. Other regions cost up to half as much again.",
        )
    if not LEAST_MEGAPIXELS <= megapixels <= MOST_MEGAPIXELS:  # false for what is no number, too
        raise UsageError(f"--megapixels takes {LEAST_MEGAPIXELS:g} to {MOST_MEGAPIXELS:g}.")
    if without_model and (model is not None or seconds is not None):
        raise UsageError("--without-model asks no model: leave out --model and --model-seconds.")
    if seconds is not None and not 0 <= seconds <= 120:
        raise UsageError("--model-seconds takes 0 to 120: no answer is waited for any longer.")
    if database_usd is not None and not (math.isfinite(database_usd) and database_usd >= 0):
        raise UsageError("--database-usd takes dollars a month, from 0 on.")


def _reckon(
    out: Any,
    items: int,
    searches: int,
    megapixels: float,
    described: "Described | None",
    seconds: float,
    in_vpc: bool,
    database_usd: float | None,
) -> None:
    from cli.costs import bill
    from cli.costs.advice import advice

    offline = bill.picture(megapixels, None, seconds)
    pictures = None if described is None else bill.picture(megapixels, described, seconds)
    search, idle = bill.search(described is not None), bill.idle(in_vpc)
    each = bill.total(offline if pictures is None else pictures)
    together = [
        (f"bringing in {items:,} pictures, once", items * each),
        (f"{searches:,} searches a month", searches * bill.total(search)),
        ("keeping the objects, a month", items * bill.kept(megapixels).usd),
        *_database(items, database_usd),
        ("what is paid for anyway, a month", bill.total(idle)),
    ]
    found = advice(megapixels, seconds)
    if out.as_json:
        out.document(
            {
                **_about(megapixels, described, seconds),
                "items": items,
                "searches": searches,
                "per_1000_pictures": {"model": _by_stage(pictures), "offline": _by_stage(offline)},
                "per_1000_searches": [_line(line, 1000) for line in search],
                "idle_month": [_line(line) for line in idle],
                "total": [{"what": what, "usd": round(usd, 6)} for what, usd in together],
                "total_usd": round(sum(usd for _, usd in together), 6),
                "memory": [_memory(one) for one in found],
            }
        )
        return
    _show(out, megapixels, described, offline, pictures, search, idle, together, found)


def _show(
    out: Any,
    megapixels: float,
    described: "Described | None",
    offline: "list[Line]",
    pictures: "list[Line] | None",
    search: "list[Line]",
    idle: "list[Line]",
    together: list[tuple[str, float]],
    found: "list[Advice]",
) -> None:
    from rich.text import Text

    from cli.costs import shown
    from cli.output import styled

    by = f", described by {described.model}" if described else ", measured offline"
    out.show(
        styled(f"1,000 pictures of {megapixels:g} megapixels{by}", "bold"), shown.stages(pictures, offline)
    )
    if described:
        shown.notes(
            out, f"A description: {described.input_tokens:,} tokens in, {described.output_tokens:,} out."
        )
    out.show(Text(), styled("1,000 searches by somebody with 2,000 pictures", "bold"))
    out.show(shown.lines([(line.what, line.usd) for line in search], 1000))
    out.show(Text(), styled("A month in which nothing happens, without the database", "bold"))
    out.show(shown.lines([(line.what, line.usd) for line in idle]))
    out.show(Text(), styled("The amounts asked for, in the first month", "bold"), shown.lines(together))
    out.show(Text(), styled("Memory of functions, in MB", "bold"), shown.memory(found))
    shown.notes(
        out, "* in dollars per 1,000 messages. Not everything that saves is worth it: see docs/cost.md."
    )
    out.show(Text())
    shown.notes(out, shown.sources())


def _database(items: int, database_usd: float | None) -> list[tuple[str, float]]:
    """Return what the database costs a month, as somebody says or as the smallest RDS that holds it."""
    from cli.costs import database

    if database_usd is not None:
        return [("the database, as you say, a month", database_usd)]
    machine = database.fitting(items, run_concurrency=10)
    if machine is None:
        raise CommandError(
            "no_machine",
            f"No machine of RDS holds {items:,} pictures at once. Say --database-usd; see --growth.",
        )
    return [
        (f"the database: {machine.name} in one zone, a month", machine.usd_month),
        ("its storage, a month", database.storage_usd(items)),
    ]


def _grow(out: Any, megapixels: float, described: "Described", seconds: float) -> None:
    from rich.text import Text

    from cli.costs import growth, shown
    from cli.output import styled

    rows = growth.rows(megapixels, described, seconds)
    if out.as_json:
        out.document({**_about(megapixels, described, seconds), "growth": [_grown(row) for row in rows]})
        return
    dollars, time, limits = shown.grown(rows)
    out.show(
        styled(f"Dollars, with {described.model} and pictures of {megapixels:g} megapixels", "bold"), dollars
    )
    shown.notes(
        out,
        "Offline: without a model. Again: analysed and embedded once more. A month: objects, database, idle.",
    )
    out.show(Text(), styled("Time and size", "bold"), time)
    shown.notes(
        out,
        "At once: image_processor, analyzer, embedder (MaximumConcurrency), and a run (RunConcurrency). "
        "Machine: of RDS, in one zone.",
    )
    out.show(Text(), styled("Limits", "bold"), limits, Text())
    shown.notes(out, shown.sources())


def _about(megapixels: float, described: "Described | None", seconds: float) -> dict[str, Any]:
    from dataclasses import asdict

    from cli.costs import data

    prices, measured = data.read("prices"), data.read("measured")
    return {
        "region": prices["region"],
        "prices_read": prices["read"],
        "measured": measured["measured"],
        "command": measured["command"],
        "megapixels": megapixels,
        "model": None if described is None else {**asdict(described), "seconds": seconds},
        "free_tiers": False,
    }


def _by_stage(lines: "list[Line] | None") -> dict[str, Any] | None:
    if lines is None:
        return None
    found: dict[str, Any] = {}
    for line in lines:
        stage = found.setdefault(line.stage, {"usd": 0.0})
        stage[line.kind] = round(stage.get(line.kind, 0.0) + 1000 * line.usd, 6)
        stage["usd"] = round(stage["usd"] + 1000 * line.usd, 6)
    return found


def _line(line: "Line", times: int = 1) -> dict[str, Any]:
    return {"what": line.what, "kind": line.kind, "usd": round(times * line.usd, 6)}


def _memory(each: "Advice") -> dict[str, Any]:
    from cli.costs.memory import SIZES

    return {
        "function": each.name,
        "message": each.case,
        "cpu_ms": each.work.cpu_ms,
        "waiting_ms": round(each.work.waiting_ms, 1),
        "peak_mb": each.peak_mb,
        "least_mb": each.least_mb,
        "template_mb": each.template_mb,
        "cheapest_mb": each.cheapest_mb,
        "why": each.why or None,
        "sizes": [
            {
                "mb": size,
                "ms": each.work.duration_ms(size),
                "usd_per_1000": round(1000 * each.work.usd(size), 6),
                "usd_per_1000_arm": round(1000 * each.work.usd(size, arm=True), 6),
            }
            for size in SIZES
        ],
    }


def _grown(row: "Grown") -> dict[str, Any]:
    return {
        "items": row.items,
        "settings": dict(row.settings),
        "usd": {
            "bring_in": round(row.once_usd, 2),
            "bring_in_offline": round(row.once_offline_usd, 2),
            "again": round(row.again_usd, 2),
            "month": round(row.month_usd, 2),
        },
        "seconds": {
            "bring_in": round(row.bring_seconds),
            "bring_in_offline": round(row.bring_offline_seconds),
            "again": round(row.again_seconds),
        },
        "database_bytes": round(row.database_bytes),
        "machine": row.machine and row.machine.name,
        "bites": row.bites,
        "lifts": row.lifts,
        "sources": list(row.sources),
    }
