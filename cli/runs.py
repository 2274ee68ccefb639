"""`magpie runs`: what was started over many items, how it stands, what went wrong, and how to end it."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.errors import CommandError
from cli.groups import group
from cli.options import ApiUrl, Data, Json

if TYPE_CHECKING:
    from cli.client import Api
    from cli.output import Output
    from cli.watching import Again

Run = dict[str, Any]

RunId = Annotated[str, typer.Argument(metavar="ID", help="A run's id, or its first 6 characters or more.")]

OUTCOMES = ("done", "ignored", "rejected", "failed")

app = group("Work over many items: what is going on, and what came of it.")


@app.command("list")
def list_runs(
    limit: Annotated[int, typer.Option(min=1, help="How many, the newest first.")] = 20,
    everything: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    json: Json = False,
    data: Data = None,
    api_url: ApiUrl = None,
) -> int:
    """List runs, the newest first."""
    from cli.client import PAGE
    from cli.connect import connect
    from cli.output import Output

    out = Output(json)
    runs: list[Run] = []
    more = False
    with connect(data, api_url) as api:
        for page in api.run_pages(size=PAGE if everything else min(PAGE, limit + 1)):
            runs += page
            if not everything and len(runs) > limit:
                runs, more = runs[:limit], True
                break
    if json:
        out.document({"runs": runs, "more": more})
        return 0
    if not runs:
        out.note("No run yet: ./magpie reprocess starts one.")
        return 0
    show_list(out, runs)
    if more:
        out.note("There are more: --limit N or --all shows them.")
    return 0


@app.command()
def show(run_id: RunId, json: Json = False, data: Data = None, api_url: ApiUrl = None) -> int:
    """Show all of one run: counts by stage, failures and their causes, cost, history, and its report."""
    from cli.connect import connect
    from cli.output import Output

    out = Output(json)
    with connect(data, api_url) as api:
        whole = resolve(api, run_id)
        run = api.run(whole)
        history = api.run_history(whole)
    if json:
        out.document({**run, "history": history})
        return 0
    _show_run(out, run)
    _show_history(out, history)
    if run.get("report"):
        out.line("")
        show_report(out, run)
    return 0


@app.command()
def cancel(run_id: RunId, json: Json = False, data: Data = None, api_url: ApiUrl = None) -> int:
    """Stop a run. What it is just doing ends by itself, and what it has done stays.

    Exits 1 when it had ended before.
    """
    from cli.connect import connect
    from cli.output import Output

    out = Output(json)
    with connect(data, api_url) as api:
        run = api.cancel_run(resolve(api, run_id))
    if run["status"] != "cancelled":
        raise CommandError(
            "ended", f"Run {run['run_id'][:8]} had ended before: it {_ended(run)}.", more={"run": run}
        )
    if json:
        out.document(run)
    else:
        out.note(f"Run {run['run_id'][:8]} is cancelled. {_counts(run)}")
    return 0


@app.command()
def wait(run_id: RunId, json: Json = False, data: Data = None, api_url: ApiUrl = None) -> int:
    """Watch a run until it has ended. Ctrl-C leaves it going.

    Exits 1 when it did not succeed, or when any of its items failed.
    """
    from cli.connect import connect
    from cli.output import Output
    from cli.watching import Again

    out = Output(json)
    again = Again(data, api_url)
    with connect(data, api_url) as api:
        whole = resolve(api, run_id)
        return conclude(api, out, api.run(whole), again)


def conclude(api: "Api", out: "Output", run: Run, again: "Again", **more: Any) -> int:
    """Follow a run to its end, say what came of it, and return the exit code.

    Args:
        more: further keys of the document.
    """
    from cli.watching import follow

    run = follow(api, out, run, again)
    code = 0 if went_well(run) else 1
    if out.as_json:
        out.document({**more, "run": run})
        return code
    took = _took(run)
    out.line(
        f"Run {run['run_id'][:8]} {_ended(run)}{f' after {took}' if took else ''}. {_counts(run)}",
        "green" if code == 0 else "red",
    )
    _show_causes(out, run)
    show_report(out, run)
    if (run.get("items") or {}).get("failed"):
        retry = again(f"reprocess --select failed-in={run['run_id'][:8]} --force")
        out.note(f"To try again what failed: {retry}")
    return code


def went_well(run: Run) -> bool:
    """Whether a run that has ended did everything; what was rejected is an item's own fault."""
    return run["status"] in ("succeeded", "planned") and not (run.get("items") or {}).get("failed")


def resolve(api: "Api", wanted: str) -> str:
    """Return the id of the run that begins as given.

    Raises:
        UsageError, CommandError: as `ids.resolve`.
    """
    return resolve_all(api, [wanted])[0]


def resolve_all(api: "Api", wanted: "list[str]") -> list[str]:
    """Return the ids of the runs that begin as given."""
    from cli import ids

    return ids.resolve(wanted, ([str(run["run_id"]) for run in page] for page in api.run_pages()), "run")


def show_list(out: "Output", runs: list[Run]) -> None:
    """Print runs as a table."""
    from cli.output import age, duration, money, short_ids, status_text, styled, table

    now = datetime.now(UTC)
    columns = ["Run", "Status", "What", "Items", "Cost", "Age"]
    if out.console.width >= 100:
        columns = ["Run", "Status", "What", "Items", "Cost", "Took", "Age", "Why"]
    listing = table(*columns, right=("Items", "Cost", "Took", "Age"), whole=("Run", "Status"))
    for run, short in zip(runs, short_ids([str(run["run_id"]) for run in runs]), strict=True):
        seconds = _seconds(run)
        cells = {
            "Run": styled(short),
            "Status": status_text(str(run["status"])),
            "What": styled(what(run)),
            "Items": styled("" if run.get("planned_items") is None else f"{run['planned_items']:,}"),
            "Cost": styled(money(run.get("cost_usd"))),
            "Took": styled(duration(None if seconds is None else seconds * 1000)),
            "Age": styled(age(run.get("created_at"), now)),
            "Why": styled((run.get("error") or {}).get("message") or run.get("reason") or ""),
        }
        listing.add_row(*(cells[column] for column in columns))
    out.show(listing)


def what(run: Run) -> str:
    """Return what a run does, in few words: `scan: analyze, embed`, `check of objects`."""
    done = f"check of {run['check']}" if run.get("check") else ", ".join(run.get("stages") or [])
    kind = {"reprocess": "", "check": "", "vector_index": "vector index: ", "nightly": "nightly: "}.get(
        str(run.get("kind")), f"{run.get('kind')}: "
    )
    return f"{'dry run: ' if run.get('dry_run') else ''}{kind}{done}"


def estimate_pairs(estimate: dict[str, Any], stages: list[str]) -> list[tuple[str, object]]:
    """Return an estimate as names and values: items, calls, tokens and money."""
    from cli.output import listed, money

    calls = []
    if "analyze" in stages:
        calls.append(listed(estimate["analyses"], "description"))
    if "embed" in stages:
        calls.append(listed(estimate["embeddings"], "vector"))
    tokens = f"{estimate['input_tokens']:,} in, {estimate['output_tokens']:,} out"
    return [
        ("items", f"{estimate['items']:,}"),
        ("new results", ", ".join(calls)),
        ("tokens", tokens if estimate["input_tokens"] or estimate["output_tokens"] else "none"),
        ("cost", f"about {money(estimate['usd'])}, by {estimate['basis']}" if estimate["usd"] else "nothing"),
    ]


def _show_run(out: "Output", run: Run) -> None:
    from rich.text import Text

    from cli.output import facts, money, roughly, status_text, styled
    from cli.selecting import in_words
    from cli.watching import ENDED

    heading = styled(f"Run {run['run_id'][:8]}  ", "bold")
    heading.append_text(status_text(str(run["status"])))
    out.show(heading)
    error = run.get("error") or {}
    if error:
        out.show(styled(f"{error.get('code')}: {error.get('message')}", "red"))
    items = run.get("items") or {}
    left = run.get("seconds_left")
    estimate = run.get("estimate")
    running = run["status"] not in ENDED
    out.show(
        Text(),
        facts(
            [
                ("run", run["run_id"]),
                ("does", what(run)),
                ("over", in_words(run["select"]) if run.get("select") else None),
                ("because", run.get("reason")),
                ("of scan", run.get("scan_id")),
                ("force", "yes: new descriptions of what had them" if run.get("force") else None),
                ("began", _when(run.get("started_at") or run.get("created_at"))),
                ("took", _took(run)),
                ("items", None if items.get("planned") is None else f"{items['planned']:,}"),
                ("left", f"{items.get('left'):,}" if items.get("left") else None),
                ("time left", f"about {roughly(left)}" if running and left is not None else None),
                ("cost", "nothing" if run.get("cost_usd") == 0 else money(run.get("cost_usd"))),
                ("may cost", money(run.get("max_cost_usd"))),
            ]
        ),
    )
    if estimate:
        out.show(Text(), styled("Estimate", "bold"))
        out.show(facts(estimate_pairs(estimate, run.get("stages") or [])))
    _show_stages(out, run)
    _show_causes(out, run)
    _show_failures(out, run)
    if run.get("findings"):
        out.show(Text(), styled("Found", "bold"))
        out.show(facts([(name.replace("_", " "), count) for name, count in run["findings"].items()]))


def _show_stages(out: "Output", run: Run) -> None:
    from rich.text import Text

    from cli.output import styled, table
    from cli.selecting import STAGES

    stages = run.get("by_stage") or {}
    if not stages:
        return
    heads = [name.capitalize() for name in OUTCOMES]
    listing = table("Stage", *heads, right=heads, whole=("Stage",))
    for stage in sorted(stages, key=STAGES.index):
        listing.add_row(styled(stage), *(styled(f"{stages[stage].get(name, 0):,}") for name in OUTCOMES))
    if run.get("items"):
        listing.add_row(
            styled("items", "bold"), *(styled(f"{run['items'].get(n) or 0:,}", "bold") for n in OUTCOMES)
        )
    out.show(Text(), listing)


def _show_causes(out: "Output", run: Run) -> None:
    from rich.text import Text

    from cli.output import status_text, styled, table

    causes = run.get("causes") or []
    if not causes:
        return
    listing = table("Items", "Outcome", "Stage", "Cause", right=("Items",), whole=("Outcome", "Stage"))
    for cause in causes:
        listing.add_row(
            styled(f"{cause['items']:,}"),
            status_text(cause["outcome"]),
            styled(cause.get("stage") or ""),
            styled(": ".join(filter(None, (cause.get("code"), cause.get("message"))))),
        )
    out.show(Text(), styled("Causes", "bold"), listing)


def _show_failures(out: "Output", run: Run) -> None:
    from rich.text import Text

    from cli.output import short_ids, status_text, styled, table

    failures = run.get("failures") or []
    if not failures:
        return
    listing = table("Item", "Outcome", "Stage", "Cause", whole=("Item", "Outcome", "Stage"))
    shorts = short_ids([str(each["item_id"]) for each in failures])
    for each, short in zip(failures, shorts, strict=True):
        listing.add_row(
            styled(short),
            status_text(each["outcome"]),
            styled(each.get("stage") or ""),
            styled(": ".join(filter(None, (each.get("code"), each.get("message"))))),
        )
    out.show(Text(), styled("The latest of them", "bold"), listing)


def _show_history(out: "Output", history: dict[str, Any]) -> None:
    from rich.text import Text

    from cli.output import moment, styled, table

    events = history.get("events") or []
    if not events:
        return
    listing = table("Time (UTC)", "State", "Event", "Detail", whole=("Time (UTC)", "Event"))
    for event in events:
        then = moment(event.get("at"))
        listing.add_row(
            styled(then.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] if then else ""),
            styled(event.get("state") or ""),
            styled(event.get("event") or ""),
            styled(event.get("detail") or ""),
        )
    out.show(Text(), styled("History", "bold"), listing)
    if history.get("more"):
        out.note("It is longer: the console of Step Functions shows all of it.")


def show_report(out: "Output", run: Run) -> None:
    """Print where the report of a run is, for an hour."""
    if run.get("report"):
        out.line(f"Report, for an hour: {run['report']['html']}")


def _ended(run: Run) -> str:
    """Return how a run ended: `succeeded`, `failed (It would cost …)`."""
    error = run.get("error") or {}
    status = str(run["status"])
    said = {"planned": "was only a dry run", "timed_out": "timed out", "cancelled": "was cancelled"}.get(
        status, status
    )
    told = error.get("message") if status == "failed" else None
    return f"{said} ({str(told).rstrip('.')})" if told else said


def _counts(run: Run) -> str:
    """Return what became of a run's items in a sentence."""
    from cli.output import listed, money

    items = run.get("items") or {}
    said = [f"{items[name]:,} {name}" for name in OUTCOMES if items.get(name)]
    if items.get("left") and run["status"] != "planned":
        said.append(f"{items['left']:,} not begun")
    cost = f", for {money(run['cost_usd'])}" if run.get("cost_usd") else ""
    findings = sum((run.get("findings") or {}).values())
    if run.get("check"):
        said.append(listed(findings, "finding"))
    return f"{', '.join(said) or 'No item was touched'}{cost}."


def _seconds(run: Run) -> float | None:
    """Seconds that a run took, or has taken by now."""
    from cli.output import moment

    start, end = moment(run.get("started_at")), moment(run.get("finished_at"))
    if start is None:
        return None
    return max(((end or datetime.now(UTC)) - start).total_seconds(), 0)


def _took(run: Run) -> str:
    from cli.output import duration

    seconds = _seconds(run)
    return "" if seconds is None else duration(seconds * 1000)


def _when(text: str | None) -> str:
    from cli.output import moment

    then = moment(text)
    return then.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if then else ""
