"""`magpie add`: send files and folders, and see each through to its end."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.errors import CommandError
from cli.options import ApiUrl, Data, Json

if TYPE_CHECKING:
    from cli.output import Output
    from cli.sending import Sent


def add(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH", help="Files and folders.", show_default=False)
    ],
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Return once everything is sent.")] = False,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="Stop waiting when nothing happens for so long.")
    ] = 600,
    parallel: Annotated[int, typer.Option(min=1, max=16, help="Files sent at once.")] = 4,
    json: Json = False,
    data: Data = None,
    api_url: ApiUrl = None,
) -> int:
    """Send pictures, and wait until each can be found.

    Folders are searched with all folders in them, but for hidden ones, for files that are pictures by
    their name or by their first bytes; a file that you name is sent whatever it is. Exits 1 when
    anything was rejected, failed or missing, or waits for room.
    """
    from cli.connect import connect
    from cli.output import Output
    from cli.pictures import find
    from cli.sending import Sending, failed

    out = Output(json)
    started = time.monotonic()
    with connect(data, api_url) as api:
        found = find(paths)
        sending = Sending(api, found.files, parallel=parallel, patience=timeout, wait=not no_wait)
        records = [failed(problem) for problem in found.troubles] + sending.sent
        try:
            sending.run(out)
        except KeyboardInterrupt:
            raise CommandError(
                "interrupted",
                "Interrupted. What was sent goes on without you: see ./magpie list",
                exit_code=130,
                more=_document(records, found.skipped, started),
            ) from None
    if json:
        out.document(_document(records, found.skipped, started))
    else:
        _show(out, records, found.skipped)
    return 0 if all(_went_well(record, no_wait) for record in records) else 1


def _went_well(sent: "Sent", no_wait: bool) -> bool:
    return sent.status == "ready" or (no_wait and sent.status == "pending")


def _document(records: "list[Sent]", skipped: int, started: float) -> dict[str, Any]:
    from cli.sending import counts

    return {
        "items": [record.record() for record in records],
        **counts(records),
        "skipped": skipped,
        "seconds": round(time.monotonic() - started, 2),
    }


def _show(out: "Output", records: "list[Sent]", skipped: int) -> None:
    from cli.output import listed, plain, readable, status_text, styled, table
    from cli.sending import counts

    listing = table("Status", "Item", "File", "What", whole=("Status", "Item"))
    for record in records:
        why = f"{record.code}: {record.message}" if record.code else record.item.get("headline")
        if record.item.get("duplicate_of"):
            why = f"{why or ''} (the same bytes as {record.item['duplicate_of']})"
        listing.add_row(
            status_text(record.status),
            styled(record.item_id or "–"),
            styled(readable(str(record.path))),
            styled(why or ""),
        )
    out.show(listing)
    ended = ", ".join(f"{count} {status}" for status, count in counts(records).items() if count)
    left_out = f"; {listed(skipped, 'file')} left out, not being pictures" if skipped else ""
    out.note(plain(f"{listed(len(records), 'file')}: {ended}{left_out}."))
