"""Scans: work that comes again by itself."""

from http import HTTPStatus
from typing import Annotated, Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.openapi.params import Query

from functions.api import body, request, run_answers, scan_answers, scans
from functions.api.cursor import page_by_age
from functions.api.problems import Problem
from functions.api.request import caller
from functions.api.routes import runs as run_routes
from functions.api.routes.items import Limit

logger = Logger(child=True)
router = request.router()


@router.post("/scans", status_code=HTTPStatus.CREATED)
def create_scan() -> scan_answers.Scan:
    """Make a scan, which runs at its next time."""
    user_id = caller()
    new = body.read(request.event(), scan_answers.NewScan)
    values = new.model_dump(mode="json", exclude_none=True)
    again = request.Retry("create_scan", values)
    scan_id = again.derived_id()

    def create() -> dict[str, Any]:
        scans.create(user_id, scan_id, values)
        logger.info("scan made", scan_id=scan_id)
        return {"scan_id": str(scan_id)}

    return scan_answers.scan(one(again.once(create)["scan_id"]))


@router.get("/scans")
def list_scans(limit: Limit = 20, cursor: Annotated[str | None, Query()] = None) -> scan_answers.Scans:
    """List the caller's scans, newest first."""
    user_id = caller()
    rows, next_cursor = page_by_age(
        cursor, limit, lambda count, after: scans.page(user_id, count, after), "scan_id"
    )
    return scan_answers.Scans(scans=[scan_answers.scan(row) for row in rows], next_cursor=next_cursor)


@router.get("/scans/<scan_id>")
def get_scan(scan_id: str) -> scan_answers.Scan:
    """Show one of the caller's scans."""
    return scan_answers.scan(one(scan_id))


@router.patch("/scans/<scan_id>")
def change_scan(scan_id: str) -> scan_answers.Scan:
    """Change one of the caller's scans: its name, work, schedule or zone, or pause it and let it go on."""
    row = one(scan_id)
    changed = body.read(request.event(), scan_answers.ScanChange).model_dump(mode="json", exclude_none=True)
    scans.change(row["user_id"], row["scan_id"], changed)
    return scan_answers.scan(one(scan_id))


@router.delete("/scans/<scan_id>", status_code=HTTPStatus.NO_CONTENT)
def delete_scan(scan_id: str) -> Response[None]:
    """Delete one of the caller's scans. Its runs stay."""
    row = one(scan_id)
    scans.remove(row["user_id"], row["scan_id"])
    return Response(HTTPStatus.NO_CONTENT)


@router.post("/scans/<scan_id>/run", status_code=HTTPStatus.ACCEPTED)
def run_scan(scan_id: str) -> run_answers.Run:
    """Run one of the caller's scans now, besides its schedule. Poll the run."""
    request.no_body()
    row = one(scan_id)
    run = run_routes.begin("scan", row["work"], None, scan_id=str(row["scan_id"]))
    scans.ran(row["user_id"], row["scan_id"], run.run_id)
    return run


@router.get("/scans/<scan_id>/runs")
def list_scan_runs(
    scan_id: str, limit: Limit = 20, cursor: Annotated[str | None, Query()] = None
) -> scan_answers.ScanRuns:
    """List the runs of one of the caller's scans, newest first, with how the latest went."""
    row = one(scan_id)
    listed = run_routes.listed(row["user_id"], limit, cursor, row["scan_id"])
    return scan_answers.scan_runs(listed, scans.trend(row["user_id"], row["scan_id"]))


def one(scan_id: str) -> Any:
    """Return the row of one of the caller's scans.

    Raises:
        Problem: 404, the caller has no such scan.
    """
    user_id, wanted = caller(), request.path_id(scan_id)
    row = scans.one(user_id, wanted) if wanted else None
    if row is None:
        raise scan_not_found()
    return row


def scan_not_found() -> Problem:
    return Problem(HTTPStatus.NOT_FOUND, "scan-not-found", "You have no scan with this id.")
