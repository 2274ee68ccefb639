"""`magpie reprocess`: stages again over many items, priced before it begins."""

import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.asking import Yes
from cli.errors import CommandError
from cli.options import ApiUrl, Data, Json
from cli.selecting import Select, Stages

if TYPE_CHECKING:
    from cli.client import Api
    from cli.output import Output

PACE_RUNS = 50
"""How many of the latest runs are looked at for how long an item takes."""


def reprocess(
    select: Select = None,
    stages: Stages = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would take.")] = False,
    max_cost: Annotated[
        float | None,
        typer.Option("--max-cost", min=0, metavar="USD", help="Refuse what costs more.", show_default=False),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Describe anew also what was described the same way already.")
    ] = False,
    reason: Annotated[str, typer.Option(help="Why, for whoever looks at the run later.")] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Watch it until it has ended.")] = False,
    yes: Yes = False,
    json: Json = False,
    data: Data = None,
    api_url: ApiUrl = None,
) -> int:
    """Run stages again over items: says first what it takes, and asks before it begins.

    Results are replaced only by newer ones, and what was paid for is not paid for again, unless with
    --force. With --wait it exits 1 when the run did not succeed, or when any of its items failed.
    """
    from cli import selecting
    from cli.asking import ask, refuse_unasked
    from cli.connect import connect
    from cli.output import Output, listed, money
    from cli.runs import conclude
    from cli.watching import Again, estimated

    out = Output(json)
    again = Again(data, api_url)
    if not dry_run:
        refuse_unasked(yes, "--yes starts it without asking, and --dry-run only says what it would take.")
    steps = selecting.stages(stages)
    with connect(data, api_url) as api:
        asked: dict[str, Any] = {"select": read(api, select), "stages": steps, "force": force}
        if reason:
            asked["reason"] = reason
        plan = estimated(api, out, api.reprocess({**asked, "dry_run": True}, str(uuid.uuid4())))
        if plan["status"] != "planned" or not plan.get("estimate"):
            error = plan.get("error") or {}
            raise CommandError(
                str(error.get("code") or "not_estimated"),
                f"{error.get('message') or 'It could not be estimated.'} Nothing was started.",
                more={"estimate": plan.get("estimate"), "run": None},
            )
        estimate = {**plan["estimate"], **pace(api, plan)}
        if not json:
            _show(out, asked, estimate)
        if max_cost is not None and estimate["usd"] > max_cost:
            raise CommandError(
                "over_max_cost",
                f"It would cost about {money(estimate['usd'])}, and --max-cost allows {money(max_cost)}: "
                "narrow it with --select, or allow more. Nothing was started.",
                more={"estimate": estimate, "run": None},
            )
        if dry_run or not estimate["items"]:
            if json:
                out.document({"estimate": estimate, "run": None})
            elif not estimate["items"]:
                out.note(_nothing_fits(asked["select"]))
            return 0
        if not yes:
            cost = f", for about {money(estimate['usd'])}" if estimate["usd"] else ""
            ask(f"Start it over {listed(estimate['items'], 'item')}{cost}?")
        limit = {} if max_cost is None else {"max_cost_usd": max_cost}
        run = api.reprocess({**asked, **limit}, str(uuid.uuid4()))
        if wait:
            return conclude(api, out, run, again, estimate=estimate)
    if json:
        out.document({"estimate": estimate, "run": run})
        return 0
    short = run["run_id"][:8]
    out.line(f"Run {short} is started.", "green")
    for command, does in ((f"runs wait {short}", "watch it"), (f"runs cancel {short}", "end it")):
        out.note(f"  {again(command)}  {does}", "dim")
    return 0


def read(api: "Api", select: list[str] | None) -> dict[str, Any]:
    """Return what `--select` selects, with whole ids.

    Raises:
        UsageError, CommandError: as `selecting.selection`.
    """
    from cli import ids, runs, selecting

    def items(wanted: Any) -> list[str]:
        pages = ([str(item["item_id"]) for item in page] for page in api.pages())
        return ids.resolve(wanted, pages, "item")

    def failed_in(wanted: Any) -> list[str]:
        return runs.resolve_all(api, list(wanted))

    return selecting.selection(select or [], items, failed_in, datetime.now(UTC))


def pace(api: "Api", plan: dict[str, Any]) -> dict[str, Any]:
    """Return how long a run will take, as the latest comparable run went, and which one that was.

    Comparable is what ran the same stages, and paid for descriptions as this one will or will not. Of
    these the one over the most items: of a few items most of the time is the beginning and the end.
    """
    from cli.output import moment

    best: tuple[int, float, str] | None = None
    for page in api.run_pages(size=PACE_RUNS):
        for run in page:
            start, end = moment(run.get("started_at")), moment(run.get("finished_at"))
            items = run.get("planned_items") or 0
            if run["status"] != "succeeded" or not items or start is None or end is None:
                continue
            if run.get("stages") != plan["stages"] or _describes(run) != _describes(plan):
                continue
            if best is None or items > best[0]:
                best = (items, (end - start).total_seconds() / items, str(run["run_id"]))
        break
    if best is None:
        return {"seconds": None, "pace_of": None}
    return {"seconds": round(best[1] * plan["estimate"]["items"], 1), "pace_of": best[2]}


def _describes(run: dict[str, Any]) -> bool:
    return bool((run.get("estimate") or {}).get("analyses"))


def _show(out: "Output", asked: dict[str, Any], estimate: dict[str, Any]) -> None:
    from cli.output import facts, roughly, styled
    from cli.runs import estimate_pairs
    from cli.selecting import in_words

    time = "not known before a first run of these stages"
    if estimate["seconds"] is not None:
        time = f"about {roughly(estimate['seconds'])}, as run {estimate['pace_of'][:8]} went"
    out.show(
        styled("What it takes", "bold"),
        facts(
            [
                ("over", in_words(asked["select"])),
                ("stages", ", ".join(asked["stages"])),
                *estimate_pairs(estimate, asked["stages"]),
                ("time", time if estimate["items"] else None),
            ]
        ),
    )
    if estimate["items"] and "analyze" in asked["stages"] and not estimate["analyses"]:
        out.note("All of them are described as they would be now: --force describes them anew.")


def _nothing_fits(select: dict[str, Any]) -> str:
    if "category" in select:
        return "No item fits. A category is written exactly as ./magpie list shows it."
    return "No item fits: nothing is to be done."
