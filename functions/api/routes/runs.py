"""Work over many items, and what became of it."""

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler.openapi.params import Query

from functions.api import affordable, body, request, retry, run_answers, run_history, runs
from functions.api.cursor import page_by_age
from functions.api.problems import Problem
from functions.api.request import Env, caller
from functions.api.routes.items import Limit
from shared import launching, progress
from shared.runs import Kind, RunInput, Selection

logger = Logger(child=True)
router = request.router()


@router.post("/items/reprocess", status_code=HTTPStatus.ACCEPTED)
def reprocess() -> run_answers.Run:
    """Run stages again over the caller's items. Poll the run; a dry run ends with its estimate."""
    new = body.read(request.event(), run_answers.Reprocess)
    return begin("reprocess", new.model_dump(mode="json"), new.select)


@router.post("/failed/replay", status_code=HTTPStatus.ACCEPTED)
def replay() -> run_answers.Run:
    """Try again what failed: every item that ended as failed, or what failed in one run."""
    new = body.read(request.event(), run_answers.Replay)
    if new.run_id is not None and runs.one(caller(), new.run_id) is None:
        raise run_not_found()
    select = Selection(failed_in=new.run_id) if new.run_id else Selection(status="failed")
    asked = new.model_dump(mode="json")
    return begin("replay", {name: value for name, value in asked.items() if name != "run_id"}, select)


@router.post("/vector-index/rebuild", status_code=HTTPStatus.ACCEPTED)
def rebuild() -> run_answers.Run:
    """Make the vectors anew that are of another model or text than now. Poll the run."""
    new = body.read(request.event(), run_answers.Rebuild) if has_body() else run_answers.Rebuild()
    return begin("vector_index", {**new.model_dump(mode="json"), "stages": ["embed"]}, Selection(all=True))


@router.get("/runs")
def list_runs(limit: Limit = 20, cursor: Annotated[str | None, Query()] = None) -> run_answers.Runs:
    """List the caller's runs, newest first."""
    return listed(caller(), limit, cursor)


@router.get("/runs/<run_id>")
def get_run(run_id: str) -> run_answers.WholeRun:
    """Show how one of the caller's runs stands: counts, causes, cost so far and time left."""
    return whole(one(run_id))


@router.get("/runs/<run_id>/history")
def get_history(run_id: str) -> run_answers.History:
    """Show what the state machine did in one of the caller's runs."""
    row = one(run_id)
    return run_history.read(row["run_id"], row["execution_arn"])


@router.post("/runs/<run_id>/cancel")
def cancel_run(run_id: str) -> run_answers.WholeRun:
    """Stop one of the caller's runs. One that has ended stays as it ended."""
    retry.read_key(request.event().headers.get("idempotency-key"))
    request.no_body()
    row = one(run_id)
    runs.cancel(row["user_id"], row["run_id"])
    logger.info("run cancelled", run_id=row["run_id"])
    return whole(one(run_id))


def begin(kind: Kind, asked: dict[str, Any], select: Selection | None, **more: Any) -> run_answers.Run:
    """Start a run of the caller's, or find the one that the same request has started.

    Args:
        asked: fields of `RunInput`, as the request says them.
        select: in place of what `asked` selects.

    Raises:
        OverQuotaError: models are asked in it, and the month's money is used up.
        Problem: 409, too many are going; or as `Retry`.
    """
    user_id = caller()
    said = dict(asked)
    if select is not None:
        said["select"] = select.model_dump(mode="json", exclude_defaults=True)
    again = request.Retry(kind, {**said, **more})
    run_id = again.derived_id()
    run = RunInput.model_validate({**said, "user_id": user_id, "run_id": run_id, "kind": kind, **more})

    def start() -> dict[str, Any]:
        if runs.too_many(user_id, run_id):
            raise Problem(
                HTTPStatus.CONFLICT,
                "too-many-runs",
                f"{runs.MAX_OPEN} of your runs are still going: wait for one, or cancel it.",
            )
        if "analyze" in run.stages and run.select is not None and not run.dry_run:
            affordable.refuse_spent(user_id)
        elif "embed" in run.stages and run.select is not None and not run.dry_run:
            affordable.refuse_spent_on_vectors(user_id)
        launching.start(run)
        logger.info("run started", run_id=run_id, kind=kind)
        return {"run_id": str(run_id)}

    row = runs.one(user_id, UUID(again.once(start)["run_id"]))
    if row is None:
        raise run_not_found()
    return run_answers.run(row)


def listed(user_id: str, limit: int, cursor: str | None, scan_id: UUID | None = None) -> run_answers.Runs:
    """Return a page of somebody's runs, of one scan where it is given."""
    rows, next_cursor = page_by_age(
        cursor, limit, lambda count, after: runs.page(user_id, count, after, scan_id), "run_id"
    )
    return run_answers.Runs(runs=[run_answers.run(row) for row in rows], next_cursor=next_cursor)


def one(run_id: str) -> Any:
    """Return the row of one of the caller's runs.

    Raises:
        Problem: 404, the caller has no such run.
    """
    user_id, wanted = caller(), request.path_id(run_id)
    row = runs.one(user_id, wanted) if wanted else None
    if row is None:
        raise run_not_found()
    return row


def whole(row: Any) -> run_answers.WholeRun:
    standing = runs.standing(row, datetime.now(UTC))
    failures = progress.failures(row["user_id"], row["run_id"], runs.SHOWN_FAILURES)
    return run_answers.whole_run(row, standing, failures, Env.load().media_bucket)


def has_body() -> bool:
    """Say whether the request has a body; where none is needed, none need be sent."""
    return bool((request.event().body or "").strip())


def run_not_found() -> Problem:
    return Problem(HTTPStatus.NOT_FOUND, "run-not-found", "You have no run with this id.")
