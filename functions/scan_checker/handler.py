"""Compare the objects of both buckets with the rows. What does not fit is reported, and never deleted."""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import BaseModel, Field

from functions.scan_checker import compare, store
from functions.scan_checker.compare import Difference, Stored
from shared import database, erasures, items, runs
from shared.errors import MagpieError, TransientError
from shared.runs import EVERYBODY, RunInput
from shared.settings import Settings

logger = Logger()

SETTLED_SECONDS = 3600
"""What was written since may be half of something."""
BATCH = 1000
"""Keys between two looks at the clock, and findings that are written together."""
RESERVE_SECONDS = 45.0
SECTIONS = ("originals", "images", "thumbnails")


class Env(Settings):
    """What the template must give."""

    media_bucket: str = Field(alias="MEDIA_BUCKET")
    uploads_bucket: str = Field(alias="UPLOADS_BUCKET")


class ToCheck(BaseModel):
    """What the state machine says; `after` is where the call before this one ran out of time."""

    input: RunInput
    execution: str
    after: dict[str, str] | None = None


BEGIN = """
UPDATE scan_runs
   SET status = 'running', execution_arn = %(arn)s, started_at = now(), finished_at = NULL,
       error_code = NULL, error_message = NULL, summary = NULL, report_key = NULL
 WHERE user_id = %(user_id)s AND run_id = %(run_id)s AND status <> 'cancelled'
"""


def process(event: ToCheck, seconds_left: Callable[[], float]) -> dict[str, Any]:
    env, asked = Env.load(), event.input
    run_id = runs.id_of(event.execution, asked)
    logger.append_keys(run_id=str(run_id))
    if event.after is None:
        begin(asked.model_copy(update={"run_id": run_id}), event.execution)
    answer: dict[str, Any] = {"run": {"owner": asked.owner, "run_id": str(run_id)}}
    settled = datetime.now(UTC) - timedelta(seconds=SETTLED_SECONDS)
    after = event.after or {"user_id": "", "section": "", "key": ""}
    for user_id in whose(asked.owner, after["user_id"], env):
        for section in SECTIONS:
            if user_id == after["user_id"] and SECTIONS.index(section) < SECTIONS.index(after["section"]):
                continue
            start = after["key"] if (user_id, section) == (after["user_id"], after["section"]) else ""
            stopped = check(asked.owner, run_id, user_id, section, start, settled, env, seconds_left)
            if stopped is not None:
                logger.info("check goes on in another call", section=section)
                return answer | {"next": {"user_id": user_id, "section": section, "key": stopped}}
    logger.info("check ended")
    return answer


def begin(asked: RunInput, execution: str) -> None:
    """Say that the run is at work."""
    with database.transaction() as cursor:
        erasures.refuse_erased(cursor, asked.owner)
        cursor.execute(runs.CREATE, runs.row(asked))
        cursor.execute(BEGIN, {"user_id": asked.owner, "run_id": asked.run_id, "arn": execution})


def whose(owner: str, after: str, env: Env) -> list[str]:
    """Return whose objects are looked at, in order: also those of whom no row is left."""
    found = set(store.users(owner))
    if owner == EVERYBODY:
        found |= store.owners(env.uploads_bucket) | store.owners(env.media_bucket)
        found.discard(EVERYBODY)
    return sorted(user_id for user_id in found if user_id >= after)


def check(
    owner: str,
    run_id: UUID,
    user_id: str,
    section: str,
    after: str,
    settled: datetime,
    env: Env,
    seconds_left: Callable[[], float],
) -> str | None:
    """Compare one section of a user's objects with the rows; returns where it stopped for want of time."""
    bucket = env.uploads_bucket if section == "originals" else env.media_bucket
    prefix = f"{user_id}/" if section == "originals" else f"{user_id}/{section}/"
    waiting: list[Difference] = []

    def keep() -> None:
        waiting_items = {each.key: item_of(bucket, section, each) for each in waiting}
        unknown = [waiting_items[each.key] for each in waiting if each.kind == "unknown"]
        fine = store.excused(user_id, [each for each in unknown if each is not None], settled)
        found = [
            Difference(each.kind, each.key, waiting_items[each.key])
            for each in waiting
            if each.kind == "missing" or waiting_items[each.key] not in fine
        ]
        if found:
            store.keep(owner, run_id, user_id, section, found)
            logger.info("findings kept", section=section, found=len(found))
        waiting.clear()

    try:
        pairs = compare.differences(
            store.named(section, user_id, after, settled),
            while_there_is_time(store.stored(bucket, prefix, after, settled), seconds_left),
        )
        for each in pairs:
            waiting.append(each)
            if len(waiting) >= BATCH:
                keep()
    except OutOfTimeError as error:
        keep()
        return error.key
    keep()
    return None


class OutOfTimeError(MagpieError):
    """Everything up to a key is compared, and the next call has to go on behind it."""

    def __init__(self, key: str) -> None:
        super().__init__("out of time")
        self.key = key


def while_there_is_time(found: Iterable[Stored], seconds_left: Callable[[], float]) -> Iterator[Stored]:
    """Yield objects, with a look at the clock between.

    Raises:
        OutOfTimeError: little is left; whoever asks for another object is through with the one before.
    """
    for number, each in enumerate(found, 1):
        yield each
        if number % BATCH == 0 and seconds_left() < RESERVE_SECONDS:
            raise OutOfTimeError(each.key)


def item_of(bucket: str, section: str, each: Difference) -> UUID | None:
    """Return the item that an object belongs to by its key, None where the key names none."""
    if each.item_id is not None:
        return each.item_id
    if section == "originals":
        return items.item_id(bucket, each.key)
    try:
        return UUID(each.key.rpartition("/")[2].partition(".")[0])
    except ValueError:
        return None


@logger.inject_lambda_context(clear_state=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    try:
        return process(ToCheck.model_validate(event), lambda: context.get_remaining_time_in_millis() / 1000)
    except TransientError as error:
        # The state machine tries again what has exactly this name.
        raise TransientError(str(error)) from error
