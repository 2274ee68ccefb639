"""Say what happened, as a mail: a subject, a text, and the same as HTML that any mail program can show.

Names are from outside: they come as one line without control characters, and escaped where there is markup.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shared import database, quotas
from shared.events import QuotaReached, ScanComplete

if TYPE_CHECKING:
    from jinja2 import Environment

RUN = """
SELECT scans.name, runs.started_at, runs.finished_at, runs.error_message,
       coalesce(runs.request ->> 'reason', '') AS reason
  FROM scan_runs AS runs
  LEFT JOIN scans ON scans.user_id = runs.user_id AND scans.scan_id = runs.scan_id
 WHERE runs.user_id = %(user_id)s AND runs.run_id = %(run_id)s
"""

WORK: Mapping[str, str] = {
    "check": "Your check of files",
    "ingest": "Your folder's import",
    "replay": "Your second try",
    "reprocess": "Your reprocessing",
    "scan": "Your scan",
    "vector_index": "Your rebuilding of the search",
}
"""What a run is called, by its kind; any other is a run."""

NO_ROOM: Mapping[str, str] = {
    "items": "You have as many pictures as your plan holds",
    "storage_bytes": "Your storage is full",
    "model_usd": "This month's descriptions are used up",
    "deployment": "Descriptions wait for next month",
}
"""The subject, by the meter."""

SHOWN_NAME = 60
"""Characters of a name in a subject; a telephone shows fewer."""

SHOWN_ID = 8
"""Characters of an id: the command line finds a run by its beginning."""


@dataclass(frozen=True)
class Letter:
    """What is written."""

    subject: str
    text: str
    html: str


def account(page_url: str) -> str:
    """Return where people say what they are written about."""
    return f"{page_url}/#/account"


def write(event: ScanComplete | QuotaReached, page_url: str) -> Letter | None:
    """Return what to write; None where what it is about is gone.

    Raises:
        TransientError: the database gave up.
    """
    if isinstance(event, QuotaReached):
        return _letter("quota", _quota(event), page_url)
    row = database.fetch_one(RUN, {"user_id": event.user_id, "run_id": event.run_id})
    return None if row is None else _letter("scan_complete", _run(event, row), page_url)


def _letter(name: str, said: dict[str, Any], page_url: str) -> Letter:
    known = {**said, "page": page_url, "account": account(page_url)}
    return Letter(
        subject=known["subject"],
        text=_environment(markup=False).get_template(f"{name}.txt").render(known),
        html=_environment(markup=True).get_template(f"{name}.html").render(known),
    )


def _run(run: ScanComplete, row: Mapping[str, Any]) -> dict[str, Any]:
    name = line(row["name"] or "", SHOWN_NAME)
    called = f"Your scan “{name}”" if name else WORK.get(run.kind, "Your run")
    undone = run.rejected + run.failed
    match run.status:
        case "succeeded":
            came = f"is done: {_listed(run.done, 'picture')}" + (f", {undone:,} not" if undone else "")
            if run.findings and not run.done and not undone:
                came = f"is done: {_listed(run.findings, 'finding')}"
        case "timed_out":
            came = "took too long and was stopped"
        case _:
            came = "did not come to its end"
    figures = [
        ("Pictures", "" if run.planned is None else f"{run.planned:,}"),
        ("Done", f"{run.done:,}"),
        ("Nothing to do", f"{run.ignored:,}" if run.ignored else ""),
        ("Cannot be used", f"{run.rejected:,}" if run.rejected else ""),
        ("Failed", f"{run.failed:,}" if run.failed else ""),
        ("Findings", f"{run.findings:,}" if run.findings else ""),
        ("Cost", _money(run.cost_usd)),
        ("Took", _took(row["started_at"], row["finished_at"])),
    ]
    return {
        "subject": f"{called} {came}",
        "why": line(row["error_message"] or "", 500) if run.status != "succeeded" else "",
        "reason": line(row["reason"], 500),
        "figures": [(label, value) for label, value in figures if value],
        "failed": run.failed,
        "rejected": run.rejected,
        "run": str(run.run_id)[:SHOWN_ID],
    }


def _quota(reached: QuotaReached) -> dict[str, Any]:
    return {
        "subject": NO_ROOM[reached.meter],
        "sentence": _explained(reached),
        "resets_at": reached.resets_at,
        "shared": reached.meter == "deployment",
    }


def _explained(reached: QuotaReached) -> str:
    """Return what, how much, and when it is better, in the words of the API as far as it says the same."""
    limit, used = Decimal(str(reached.limit)), Decimal(str(reached.used))
    if reached.meter == "storage_bytes":
        have = f"You have {quotas.readable_size(used)} of {quotas.readable_size(limit)} of storage"
        return f"{have}, and what you sent last does not fit. Delete some items, or move to a larger plan."
    month = datetime.strptime(reached.period, "%Y-%m").replace(tzinfo=UTC) if reached.period else None
    owner, meter, wanted = reached.user_id, reached.meter, Decimal(reached.meter == "items")
    if meter == "deployment":
        owner, meter = quotas.DEPLOYMENT, "model_usd"
    return quotas.OverQuotaError(owner, meter, limit, used, wanted, month).sentence


def line(text: str, limit: int) -> str:
    """Return a text from outside as one line of what can be seen, and no longer than that."""
    seen = "".join(each if each.isprintable() else " " for each in text)
    whole = " ".join(seen.split())
    return whole if len(whole) <= limit else f"{whole[: limit - 1].rstrip()}…"


def _listed(number: int, one: str) -> str:
    return f"{number:,} {one}" if number == 1 else f"{number:,} {one}s"


def _money(usd: float) -> str:
    if usd == 0:
        return ""
    return f"${usd:,.2f}" if usd >= 0.01 else "less than a cent"


def _took(began: datetime | None, ended: datetime | None) -> str:
    if began is None or ended is None:
        return ""
    seconds = round(max(ended - began, timedelta(0)).total_seconds())
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


@cache
def _environment(*, markup: bool) -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=markup,  # noqa: S701 - a text has no markup that a name could become part of
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
