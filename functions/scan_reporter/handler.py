"""Close a run: count what became of its items, write the report, and say ScanComplete."""

from collections.abc import Mapping
from typing import Any, Self
from uuid import UUID

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import BaseModel, Field, model_validator

from functions.scan_reporter import closing, html
from functions.scan_reporter.closing import End
from shared import bus, database, erasures, objects, runs
from shared.envelopes import Message, respond
from shared.erasures import AccountDeletedError
from shared.settings import Settings

logger = Logger()


class Env(Settings):
    """What the template must give."""

    media_bucket: str = Field(alias="MEDIA_BUCKET")


class Ended(BaseModel):
    """A run that is through, as its state machine says; or how an execution ended, as EventBridge says."""

    owner: str | None = None
    run_id: UUID | None = None
    execution: str | None = Field(None, alias="executionArn")

    @model_validator(mode="after")
    def _says_which(self) -> Self:
        if self.execution is None and (self.owner is None or self.run_id is None):
            raise ValueError("neither a run nor an execution")
        return self


def process(message: Message[Ended]) -> Mapping[str, Any]:
    ended = message.body
    if ended.owner is not None and ended.run_id is not None:
        end = End(ended.owner, ended.run_id, "succeeded")
    else:
        found = closing.end_of(str(ended.execution))
        if found is None:
            logger.info("nothing to close", execution=ended.execution)
            return {"status": "ignored"}
        end = found
    logger.append_keys(run_id=str(end.run_id))
    row = closing.find(end)
    if row is None:
        return pass_over(end)
    report = closing.report(row, end)
    plain, drawn = closing.as_json(report), html.render(report)
    key = runs.report_key(end.owner, end.run_id)
    media = Env.load().media_bucket
    try:
        with database.transaction() as cursor:
            # Until both are written and the row says so, nobody begins to erase the owner.
            erasures.refuse_erased(cursor, end.owner)
            objects.write(media, f"{key}.json", plain, "application/json", closing.NO_ORIGINAL)
            objects.write(media, f"{key}.html", drawn, "text/html; charset=utf-8", closing.NO_ORIGINAL)
            status = closing.close(cursor, end, report, key)
    except AccountDeletedError:
        return pass_over(end)
    bus.publish([closing.event(row, report, status, key)], message.correlation_id)
    logger.info("run closed", status=status, cost_usd=report["cost_usd"], **report["items"])
    return {"status": status, "items": report["items"]}


def pass_over(end: End) -> Mapping[str, Any]:
    """Report nothing of a run that is unknown or not its execution's any more.

    Where its owner was erased, Step Functions may since have written what the items ended with: it goes too.
    """
    with database.transaction() as cursor:
        erased = erasures.is_erased(cursor, end.owner)
    if erased:
        objects.remove_versions(Env.load().media_bucket, f"{runs.folder(end.owner, end.run_id)}/")
    logger.warning("unknown run", erased=erased)
    return {"status": "ignored"}


@logger.inject_lambda_context(clear_state=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    return respond(event, context, Ended, process)
