"""`magpie scans`: work that comes again by itself, by the hour or by the month."""

import uuid
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.asking import Yes
from cli.errors import CommandError, UsageError
from cli.groups import group
from cli.options import ApiUrl, Data, Json
from cli.scheduling import At, Cron, Every, On, Zone
from cli.selecting import Select, Stages

if TYPE_CHECKING:
    from cli.client import Api
    from cli.output import Output

Scan = dict[str, Any]

BARS = "▁▂▃▄▅▆▇█"


class Checked(StrEnum):
    """What a scan may check."""

    objects = "objects"


ScanId = Annotated[
    str,
    typer.Argument(metavar="SCAN", help="A scan's name, its id, or its first 6 characters or more."),
]
Check = Annotated[
    Checked | None,
    typer.Option(
        help="In place of --select: compare stored objects with what should be there. Changes nothing.",
        show_default=False,
    ),
]
MaxCost = Annotated[
    float | None,
    typer.Option("--max-cost", min=0, metavar="USD", help="Of each run, at most.", show_default=False),
]
Force = Annotated[
    bool | None,
    typer.Option(
        "--force/--no-force",
        help="Describe anew also what was described the same way already.",
        show_default=False,
    ),
]

app = group("Work that comes again by itself, at its time.")


@app.command("list")
def list_scans(json: Json = False, data: Data = None, api_url: ApiUrl = None) -> int:
    """List scans, the newest first."""
    from cli.connect import connect
    from cli.output import Output

    out = Output(json)
    with connect(data, api_url) as api:
        scans = [scan for page in api.scan_pages() for scan in page]
    if json:
        out.document({"scans": scans})
    elif scans:
        _show_list(out, scans)
    else:
        out.note("No scan yet: ./magpie scans create NAME --every daily --at 03:00 --select … makes one.")
    return 0


@app.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What you call it.")],
    every: Every = None,
    at: At = None,
    on: On = None,
    zone: Zone = None,
    cron: Cron = None,
    select: Select = None,
    stages: Stages = None,
    check: Check = None,
    force: Force = None,
    max_cost: MaxCost = None,
    paused: Annotated[bool, typer.Option("--paused", help="Not before it is resumed.")] = False,
    json: Json = False,
    data: Data = None,
    api_url: ApiUrl = None,
) -> int:
    """Make a scan, which runs at its next time.

    For example: magpie scans create "What failed" --every daily --at 03:00 --select status=failed
    """
    from cli import scheduling
    from cli.connect import connect
    from cli.output import Output

    out = Output(json)
    schedule = scheduling.schedule(every, at, on, cron)
    if schedule is None:
        raise UsageError("Say when: --every daily --at 03:00, or --cron '0 3 * * ? *'.")
    with connect(data, api_url) as api:
        scan = api.create_scan(
            {
                "name": name,
                "work": _work(api, None, select, stages, check, force, max_cost),
                "schedule": schedule,
                "zone": zone or scheduling.zone_here(),
                "enabled": not paused,
            },
            str(uuid.uuid4()),
        )
    _told(out, scan, "is made")
    return 0


@app.command()
def show(scan_id: ScanId, json: Json = False, data: Data = None, api_url: ApiUrl = None) -> int:
    """Show a scan: what it does, when it comes, and when it last ran."""
    from cli.connect import connect
    from cli.output import Output

    out = Output(json)
    with connect(data, api_url) as api:
        scan = api.scan(resolve(api, scan_id))
    if json:
        out.document(scan)
    else:
        _show_scan(out, scan)
    return 0


@app.command()
def change(
    scan_id: ScanId,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Another name.", show_default=False)
    ] = None,
    every: Every = None,
    at: At = None,
    on: On = None,
    zone: Zone = None,
    cron: Cron = None,
    select: Select = None,
    stages: Stages = None,
    check: Check = None,
    force: Force = None,
    max_cost: MaxCost = None,
    no_max_cost: Annotated[
        bool, typer.Option("--no-max-cost", help="Let it cost whatever it costs.")
    ] = False,
    json: Json = False,
    data: Data = None,
    api_url: ApiUrl = None,
) -> int:
    """Change what is said, and leave the rest of a scan as it is."""
    from cli import scheduling
    from cli.connect import connect
    from cli.output import Output

    if max_cost is not None and no_max_cost:
        raise UsageError("--max-cost and --no-max-cost contradict each other.")
    out = Output(json)
    with connect(data, api_url) as api:
        before = api.scan(resolve(api, scan_id))
        changes: dict[str, Any] = {}
        if name is not None:
            changes["name"] = name
        if zone is not None:
            changes["zone"] = zone
        if schedule := scheduling.schedule(every, at, on, cron, before["schedule"]):
            changes["schedule"] = schedule
        if select or stages or check or no_max_cost or force is not None or max_cost is not None:
            work = _work(api, before["work"], select, stages, check, force, max_cost)
            changes["work"] = {
                each: value for each, value in work.items() if not (no_max_cost and each == "max_cost_usd")
            }
        if not changes:
            raise UsageError("Say what is to be different: magpie scans change --help lists the options.")
        scan = api.change_scan(before["scan_id"], changes)
    _told(out, scan, "is changed")
    return 0


@app.command()
def pause(scan_id: ScanId, json: Json = False, data: Data = None, api_url: ApiUrl = None) -> int:
    """Let a scan rest until it is resumed. A run that is going on goes on."""
    return _enable(scan_id, False, "is paused", json, data, api_url)


@app.command()
def resume(scan_id: ScanId, json: Json = False, data: Data = None, api_url: ApiUrl = None) -> int:
    """Let a scan come again, from its next time on: what it missed is not made up for."""
    return _enable(scan_id, True, "goes on", json, data, api_url)


@app.command()
def delete(
    scan_id: ScanId, yes: Yes = False, json: Json = False, data: Data = None, api_url: ApiUrl = None
) -> int:
    """Delete a scan, after asking. Its runs stay."""
    from cli.asking import ask, refuse_unasked
    from cli.connect import connect
    from cli.output import Output, plain

    out = Output(json)
    refuse_unasked(yes, "--yes deletes it without asking.")
    with connect(data, api_url) as api:
        scan = api.scan(resolve(api, scan_id))
        if not yes:
            ask(f"Delete the scan {plain(scan['name'])}?")
        api.delete_scan(scan["scan_id"])
    if json:
        out.document({"deleted": scan})
    else:
        out.note(f"{scan['name']} is deleted. Its runs stay: ./magpie runs list")
    return 0


@app.command()
def run(
    scan_id: ScanId,
    wait: Annotated[bool, typer.Option("--wait", help="Watch it until it has ended.")] = False,
    json: Json = False,
    data: Data = None,
    api_url: ApiUrl = None,
) -> int:
    """Run a scan now, besides its times.

    With --wait it exits 1 when the run did not succeed, or when any of its items failed.
    """
    from cli.connect import connect
    from cli.output import Output
    from cli.runs import conclude
    from cli.watching import Again

    out = Output(json)
    again = Again(data, api_url)
    with connect(data, api_url) as api:
        started = api.run_scan(resolve(api, scan_id), str(uuid.uuid4()))
        if wait:
            return conclude(api, out, started, again)
    if json:
        out.document({"run": started})
        return 0
    short = started["run_id"][:8]
    out.line(f"Run {short} is started.", "green")
    out.note(f"  {again(f'runs wait {short}')}  watch it", "dim")
    return 0


@app.command()
def runs(
    scan_id: ScanId,
    limit: Annotated[int, typer.Option(min=1, help="How many, the newest first.")] = 20,
    json: Json = False,
    data: Data = None,
    api_url: ApiUrl = None,
) -> int:
    """List the runs of a scan, and how they went from one to the next."""
    from cli.client import PAGE
    from cli.connect import connect
    from cli.output import Output
    from cli.runs import show_list

    out = Output(json)
    found: list[dict[str, Any]] = []
    trend: list[dict[str, Any]] = []
    with connect(data, api_url) as api:
        for page in api.scan_runs(resolve(api, scan_id), size=min(PAGE, limit)):
            found += page["runs"]
            trend = trend or page.get("trend") or []
            if len(found) >= limit:
                break
    found = found[:limit]
    if json:
        out.document({"runs": found, "trend": trend})
        return 0
    if not found:
        out.note("It has not run yet: ./magpie scans run starts it now.")
        return 0
    show_list(out, found)
    _show_trend(out, trend)
    return 0


def resolve(api: "Api", wanted: str) -> str:
    """Return the id of the scan with this name, or whose id begins so.

    Raises:
        CommandError: `not_found`, or `ambiguous` when several do.
    """
    from cli import ids

    wanted = wanted.strip()
    if len(wanted) == 36 and ids.is_beginning(wanted):
        return wanted.lower()
    scans = [scan for page in api.scan_pages() for scan in page]
    named = [str(scan["scan_id"]) for scan in scans if str(scan["name"]).lower() == wanted.lower()]
    if len(named) > 1:
        raise CommandError(
            "ambiguous",
            f"{len(named)} scans are called {wanted}. Say which by its id: "
            f"{', '.join(each[:8] for each in named)}.",
        )
    if named:
        return named[0]
    if not ids.is_beginning(wanted):
        known = ", ".join(sorted(str(scan["name"]) for scan in scans)[:10])
        there = f"There are: {known}." if known else "There is none yet."
        raise CommandError("not_found", f"No scan is called {wanted}. {there}")
    return ids.resolve([wanted], [[str(scan["scan_id"]) for scan in scans]], "scan")[0]


def sparkline(values: list[float]) -> str:
    """Return values as bars of a line, the largest the tallest; nothing is the lowest bar."""
    most = max(values, default=0)
    if most <= 0:
        return BARS[0] * len(values)
    return "".join(BARS[round(value / most * (len(BARS) - 1))] for value in values)


def _enable(scan_id: str, enabled: bool, does: str, json: bool, data: Any, api_url: Any) -> int:
    from cli.connect import connect
    from cli.output import Output

    out = Output(json)
    with connect(data, api_url) as api:
        scan = api.change_scan(resolve(api, scan_id), {"enabled": enabled})
    _told(out, scan, does)
    return 0


def _work(
    api: "Api",
    before: dict[str, Any] | None,
    select: list[str] | None,
    stages: str | None,
    check: Checked | None,
    force: bool | None,
    max_cost: float | None,
) -> dict[str, Any]:
    """Return what a scan does, as the API is told it: what is not said is as before."""
    from cli import reprocess, selecting

    work = {
        name: value
        for name, value in (before or {}).items()
        if value is not None and name in ("select", "stages", "check", "force", "max_cost_usd")
    }
    if check and select:
        raise UsageError("Say either --select or --check: a scan does one of the two.")
    if check:
        if stages or force:
            raise UsageError("--stages and --force are for --select: a check runs no stage.")
        for name in ("select", "stages", "force"):
            work.pop(name, None)
        work["check"] = check.value
    elif select or "check" not in work:
        if select or "select" not in work:
            work["select"] = reprocess.read(api, select)
        work.pop("check", None)
        if stages or "stages" not in work:
            work["stages"] = selecting.stages(stages)
    elif stages or force:
        raise UsageError("--stages and --force are for --select: this scan checks objects.")
    if force is not None:
        work["force"] = force
    if max_cost is not None:
        work["max_cost_usd"] = max_cost
    return work


def _told(out: "Output", scan: Scan, does: str) -> None:
    """Say what a scan is like now, in the document or in a line with its next time."""
    if out.as_json:
        out.document(scan)
        return
    out.line(f"{scan['name']} {does}: scan {scan['scan_id'][:8]}.", "green")
    _show_scan(out, scan, heading=False)


def _show_scan(out: "Output", scan: Scan, *, heading: bool = True) -> None:
    from cli import scheduling
    from cli.output import facts, money, status_text, styled

    work = scan["work"]
    if heading:
        line = styled(f"{scan['name']}  ", "bold")
        line.append_text(status_text("ready") if scan["enabled"] else styled("paused", "yellow"))
        out.show(line)
    out.show(
        facts(
            [
                ("scan", scan["scan_id"]),
                ("does", _does(work)),
                ("over", _over(work)),
                ("force", "yes: new descriptions of what had them" if work.get("force") else None),
                ("may cost", f"{money(work['max_cost_usd'])} a run" if "max_cost_usd" in work else None),
                ("when", scheduling.in_words(scan["schedule"], scan["zone"])),
                ("next", _next(scan)),
                ("last run", _last(scan)),
            ]
        )
    )


def _show_list(out: "Output", scans: list[Scan]) -> None:
    from cli import scheduling
    from cli.output import age, short_ids, styled, table

    now = datetime.now(UTC)
    columns = ["Scan", "Name", "When", "Next"]
    if out.console.width >= 100:
        columns = ["Scan", "Name", "Does", "Over", "When", "Next", "Last run"]
    listing = table(*columns, whole=("Scan", "Next"))
    for scan, short in zip(scans, short_ids([str(scan["scan_id"]) for scan in scans]), strict=True):
        last = age(scan.get("last_run_at"), now)
        cells = {
            "Scan": styled(short),
            "Name": styled(scan["name"]),
            "Does": styled(_does(scan["work"])),
            "Over": styled(_over(scan["work"])),
            "When": styled(scheduling.in_words(scan["schedule"], scan["zone"])),
            "Next": styled(_next(scan), "" if scan["enabled"] else "yellow"),
            "Last run": styled(last and (last if last == "now" else f"{last} ago")),
        }
        listing.add_row(*(cells[column] for column in columns))
    out.show(listing)


def _show_trend(out: "Output", trend: list[dict[str, Any]]) -> None:
    """Print how the latest reported runs went, the oldest at the left."""
    from rich.text import Text

    from cli.output import duration, money, styled, table

    if len(trend) < 2:
        return
    rows = (
        ("done", [point["done"] for point in trend], "{:,}".format),
        ("rejected", [point["rejected"] for point in trend], "{:,}".format),
        ("failed", [point["failed"] for point in trend], "{:,}".format),
        ("findings", [point["findings"] for point in trend], "{:,}".format),
        ("cost", [point["cost_usd"] for point in trend], money),
        ("time", [point["seconds"] or 0 for point in trend], lambda seconds: duration(seconds * 1000)),
    )
    listing = table("Trend", f"The latest {len(trend)} runs", "First", "Last", right=("First", "Last"))
    for name, values, said in rows:
        if any(values):
            cells = (name, sparkline(values), said(values[0]), said(values[-1]))
            listing.add_row(*(styled(cell) for cell in cells))
    out.show(Text(), listing)


def _does(work: dict[str, Any]) -> str:
    return f"check of {work['check']}" if work.get("check") else ", ".join(work.get("stages") or [])


def _over(work: dict[str, Any]) -> str:
    from cli.selecting import in_words

    return in_words(work["select"]) if work.get("select") else ""


def _next(scan: Scan) -> str:
    """Return when a scan comes next, by the clock of its own zone."""
    from zoneinfo import ZoneInfo

    from cli.output import moment

    then = moment(scan.get("next_run_at"))
    if not scan["enabled"]:
        return "paused"
    if then is None:
        return "never again"
    try:
        here = then.astimezone(ZoneInfo(scan["zone"]))
    except (ValueError, OSError, LookupError):
        here = then.astimezone(UTC)
    return here.strftime("%a %Y-%m-%d %H:%M %Z").rstrip()


def _last(scan: Scan) -> str | None:
    from cli.output import moment

    then = moment(scan.get("last_run_at"))
    if then is None:
        return None
    run = f", run {scan['last_run_id'][:8]}" if scan.get("last_run_id") else ""
    return f"{then.astimezone(UTC):%Y-%m-%d %H:%M UTC}{run}"
