"""Plan a run: estimate what it takes, and write the ids of its items to a manifest, a part at a time."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import BaseModel, Field, ValidationError

from functions.scan_planner import manifest, plan, prefix, record, selection
from functions.scan_planner.plan import Estimate, RunRefusedError
from shared import embeddings, runs
from shared.embeddings import OFFLINE, VOYAGE, VectorModel
from shared.errors import InvalidEventError, TransientError
from shared.runs import RunInput
from shared.settings import Settings

logger = Logger()

PART_ITEMS = 1_000_000
"""Items of one manifest and one Map Run: planned within a minute, and far below what a Map takes."""


class Env(Settings):
    """What the template must give."""

    media_bucket: str = Field(alias="MEDIA_BUCKET")
    uploads_bucket: str = Field(alias="UPLOADS_BUCKET")
    concurrency: int = Field(alias="RUN_CONCURRENCY", ge=1, le=10_000)
    tolerated_percent: int = Field(alias="RUN_TOLERATED_PERCENT", ge=0, le=100)


class ToPlan(BaseModel):
    """What the state machine says.

    Attributes:
        input: of the execution.
        execution: its ARN.
        question: the prompt and models of now, where the run analyses.
        part: 1 for the first.
        after: where the part before ended.
    """

    input: dict[str, Any]
    execution: str
    question: dict[str, Any] | None = None
    part: int = Field(1, ge=1)
    after: dict[str, Any] | None = None


def process(event: ToPlan, most: int = PART_ITEMS) -> dict[str, Any]:
    env = Env.load()
    asked = read(event)
    run_id = runs.id_of(event.execution, asked)
    logger.append_keys(run_id=str(run_id), part=event.part)
    if event.part == 1:
        record.begin(asked.model_copy(update={"run_id": run_id}), event.execution)
    # A run that is started again goes on with the items that it had: some would not be selected any more.
    key = f"{runs.folder(asked.owner, run_id)}/plan-{event.part:04}.json"
    planned = manifest.read_plan(env.media_bucket, key)
    if planned is not None:
        logger.info("planned before", items=planned["items"])
        return planned
    try:
        found, limit = estimated(asked, event) if asked.select and event.part == 1 else (None, None)
    except RunRefusedError as error:
        record.refuse(asked.owner, run_id, error)
        raise
    if found is not None:
        record.estimated(asked.owner, run_id, found, limit)
        logger.info("run estimated", items=found.items, usd=found.usd, basis=found.basis)
    answer: dict[str, Any] = {
        "run": {
            "owner": asked.owner,
            "run_id": str(run_id),
            "stages": list(asked.stages),
            "force": asked.force,
            "uploads": env.uploads_bucket,
        },
        "part": event.part,
        "dry_run": asked.dry_run,
        "items": 0,
    }
    if asked.dry_run:
        record.end_dry_run(asked.owner, run_id)
        return answer
    answer |= write(asked, run_id, event, env, limit, most)
    manifest.keep_plan(env.media_bucket, key, answer, record.writing(asked.owner))
    return answer


def read(event: ToPlan) -> RunInput:
    """Return what the execution was started with.

    Raises:
        InvalidEventError: it is no run's input, and which field is wrong.
    """
    try:
        return RunInput.model_validate(event.input)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'input'}: {e['msg']}" for e in error.errors())
        raise InvalidEventError(f"not the input of a run: {wrong}") from None


def estimated(asked: RunInput, event: ToPlan) -> tuple[Estimate, int | None]:
    """Return what the run takes, and how many items it may take where it is trimmed.

    Raises:
        OverBudgetError: more than it may.
        TransientError: the database or Parameter Store did not answer.
    """
    model = vector_model()
    providers = (event.question or {}).get("providers", [])
    counted = selection.count(selection.names(asked, event.question, model.name))
    first = providers[0] if providers else {"provider": "", "model": ""}
    per_analysis = plan.analysis_average(
        selection.average(asked.owner, "analyzer", first["provider"], first["model"]), providers
    )
    per_vector = plan.embedding_average(
        selection.average(asked.owner, "embedder", model.provider, model.name), model
    )
    # A new analysis has a new text, and so needs a new vector.
    vectors = max(counted["embeddings"], counted["analyses"]) if "embed" in asked.stages else 0
    found = plan.estimate(counted["items"], counted["analyses"], vectors, per_analysis, per_vector)
    left = selection.left(asked.owner)
    plan.refuse_too_dear(asked, found, per_analysis, left)
    return found, plan.affordable(asked, found, left)


def vector_model() -> VectorModel:
    """Return the model that makes vectors now."""
    return OFFLINE if embeddings.voyage_key() is None else VOYAGE


def write(
    asked: RunInput, run_id: UUID, event: ToPlan, env: Env, limit: int | None, most: int
) -> dict[str, Any]:
    """Write one part of the manifest and return where it is, and where the next one begins."""
    left = (event.after or {}).get("left", limit)
    room = most if left is None else min(most, left)
    folder = runs.folder(asked.owner, run_id)
    key = f"{folder}/manifest-{event.part:04}.csv"
    lines: Iterator[tuple[str, Any]]
    if asked.prefix is not None:
        lines = prefix.lines(env.uploads_bucket, asked.prefix, event.after, room)
    else:
        lines = selected(asked, event, room)
    last: Any = None

    def written() -> Iterator[str]:
        nonlocal last
        for text, last in lines:  # noqa: B007 - the last one is where the next part begins
            yield text

    count = manifest.write(env.media_bucket, key, written(), record.writing(asked.owner))
    before = (event.after or {}).get("before", 0)
    logger.info("manifest written", items=count, key=key)
    answer: dict[str, Any] = {
        "items": count,
        "bucket": env.media_bucket,
        "manifest": key,
        "results": f"{folder}/results",
        "concurrency": env.concurrency,
        "tolerated_percent": env.tolerated_percent,
    }
    if count == room and count and left != count:
        answer["next"] = {
            **last,
            "before": before + count,
            "left": None if left is None else left - count,
        }
    if asked.prefix is not None or "next" not in answer:
        # Counted by now, where it was estimated before: items come and go meanwhile.
        record.planned(asked.owner, run_id, before + count)
    return answer


def selected(asked: RunInput, event: ToPlan, most: int) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the line of each item, and the key that a next part would begin behind."""
    after = event.after
    start = (str(after["user_id"]), str(after["item_id"])) if after else selection.FIRST
    for user_id, item_id in selection.keys(selection.names(asked, event.question, ""), start, most):
        yield manifest.line(user_id, item_id), {"user_id": user_id, "item_id": item_id}


@logger.inject_lambda_context(clear_state=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    try:
        return process(ToPlan.model_validate(event))
    except TransientError as error:
        # The state machine tries again what has exactly this name.
        raise TransientError(str(error)) from error
