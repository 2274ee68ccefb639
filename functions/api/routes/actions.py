"""What can be asked of an item: other derivatives, another analysis, a new vector."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from uuid import UUID

from aws_lambda_powertools import Logger
from pydantic import ConfigDict, Field, model_validator

from functions.api import affordable, answers, body, collection, problems, request
from functions.api.problems import Problem
from functions.api.request import caller
from shared import bus
from shared.events import (
    AnalysisRequested,
    EmbeddingRequested,
    ItemEvent,
    ModelId,
    ProviderName,
    RenditionRequested,
)
from shared.models import Model

logger = Logger(child=True)
router = request.router()

Row = dict[str, Any]


class Analyze(Model):
    """Who is to be asked; left out, whoever this deployment asks."""

    model_config = ConfigDict(extra="forbid")

    provider: ProviderName | None = None
    model: ModelId | None = Field(None, description="a name of that provider's, in place of the deployment's")

    @model_validator(mode="after")
    def _is_told_apart(self) -> "Analyze":
        if self.model is not None and self.provider in (None, "offline"):
            raise ValueError("a model is one of anthropic's or bedrock's: say whose")
        return self


@router.post("/items/<item_id>/analyze", status_code=HTTPStatus.ACCEPTED)
def analyze_item(item_id: str) -> answers.Requested:
    """Have one of the caller's items described again, perhaps by somebody else.

    A new version of its analysis becomes the current one; the older ones stay.
    """
    user_id, wanted = caller(), request.item_id(item_id)
    whom = body.read(request.event(), Analyze) if body.is_there(request.event()) else Analyze()

    def event(row: Row, run_id: UUID) -> ItemEvent:
        refuse_without_picture(row)
        if whom.provider != "offline":
            affordable.refuse_spent(user_id)
        return AnalysisRequested(
            user_id=user_id,
            item_id=wanted,
            object_version=row["object_version"],
            run_id=str(run_id),
            providers=[whom.provider] if whom.provider else None,
            model=whom.model,
        )

    return ask("analyze_item", wanted, whom.model_dump(mode="json"), event)


@router.post("/items/<item_id>/resize-only", status_code=HTTPStatus.ACCEPTED)
def resize_item(item_id: str) -> answers.Requested:
    """Have web image and thumbnail of one of the caller's items made anew, and nothing else."""
    user_id, wanted = caller(), request.item_id(item_id)
    request.no_body()

    def event(row: Row, run_id: UUID) -> ItemEvent:
        refuse_without_picture(row)
        return RenditionRequested(
            user_id=user_id,
            item_id=wanted,
            object_version=row["object_version"],
            run_id=str(run_id),
            announce=False,
        )

    return ask("resize_item", wanted, {}, event)


@router.post("/items/<item_id>/embed", status_code=HTTPStatus.ACCEPTED)
def embed_item(item_id: str) -> answers.Requested:
    """Have the vector of one of the caller's items made, where it is not what it should be."""
    user_id, wanted = caller(), request.item_id(item_id)
    request.no_body()

    def event(row: Row, _: UUID) -> ItemEvent:
        refuse_unprocessed(row)
        if row["status"] not in ("analyzed", "ready"):
            raise Problem(
                HTTPStatus.CONFLICT,
                "item-not-fit",
                "Nothing that a vector could be made of has been said of this item yet.",
            )
        affordable.refuse_spent_on_vectors(user_id)
        return EmbeddingRequested(user_id=user_id, item_id=wanted, object_version=row["object_version"])

    return ask("embed_item", wanted, {}, event)


def ask(
    operation: str, item_id: UUID, said: Row, event: Callable[[Row, UUID], ItemEvent]
) -> answers.Requested:
    """Publish what is asked of one of the caller's items, once for each request.

    The event carries the id of the request: published twice it is done once.

    Args:
        said: what the request says besides.
        event: makes it of the item's row and the id of the request; raises where the item is not fit.

    Raises:
        Problem: 404, the caller has no such item; 409, it is not fit; or as `Retry`.
    """
    again = request.Retry(operation, {"item_id": str(item_id), **said})
    run_id = again.derived_id()
    row = collection.brief(caller(), item_id)
    if row is None:
        raise problems.item_not_found()

    def publish() -> dict[str, Any]:
        bus.publish([event(row, run_id)], request.request_id())
        logger.info("asked for", operation=operation, item_id=str(item_id), run_id=str(run_id))
        return {"run_id": str(run_id)}

    return answers.Requested(item_id=item_id, run_id=UUID(again.once(publish)["run_id"]))


def refuse_without_picture(row: Row) -> None:
    """Refuse what needs a picture where there is none.

    Raises:
        Problem: 409, nothing has been uploaded yet, it cannot be used, or it was imported without one.
    """
    refuse_unprocessed(row)
    if row["object_version"] is None:
        raise Problem(HTTPStatus.CONFLICT, "item-not-fit", "It was imported without its picture.")


def refuse_unprocessed(row: Row) -> None:
    """Refuse what needs an original that has been accepted, or an item that does without.

    Raises:
        Problem: 409, nothing has been uploaded yet, or it cannot be used.
    """
    if row["status"] == "pending":
        raise Problem(HTTPStatus.CONFLICT, "item-not-fit", "Its original has not been processed yet.")
    if row["status"] == "rejected":
        raise Problem(HTTPStatus.CONFLICT, "item-not-fit", "Its original was rejected: there is no picture.")
