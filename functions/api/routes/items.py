"""The caller's items: made, listed, shown, changed, deleted."""

from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.openapi.params import Query

from functions.api import (
    answers,
    body,
    collection,
    corrections,
    creation,
    cursor,
    deletion,
    problems,
    request,
    upload,
)
from functions.api.listing import Listing
from functions.api.request import Env, caller
from shared import bus, items
from shared.events import EmbeddingRequested

logger = Logger(child=True)
router = request.router()

Limit = Annotated[int, Query(ge=1, le=100)]


@router.post("/items", status_code=HTTPStatus.CREATED)
def create_item() -> answers.NewItemAnswer | answers.NewItemsAnswer:
    """Mint an item and the form that uploads its original, or up to 100 of them: all, or none.

    A request that is sent again with its `Idempotency-Key` gets the same items, with new forms: the
    first ones may have expired, and a form is a secret that nothing should store.
    """
    caller()
    content = body.content(request.event())
    several = isinstance(content, dict) and "items" in content
    return _make_several() if several else _make_one()


def _make_one() -> answers.NewItemAnswer:
    new = body.read(request.event(), upload.NewItem)
    again = request.Retry("create_item", new.model_dump(mode="json"))
    return _make(again, [new], ["body."], [again.derived_id()])[0]


def _make_several() -> answers.NewItemsAnswer:
    new = body.read(request.event(), upload.NewItems).items
    again = request.Retry("create_items", {"items": [each.model_dump(mode="json") for each in new]})
    fields = [f"body.items.{number}." for number in range(len(new))]
    wished = [again.derived_id(str(number)) for number in range(len(new))]
    return answers.NewItemsAnswer(items=_make(again, new, fields, wished))


def _make(
    again: request.Retry, new: list[upload.NewItem], fields: list[str], wished: list[UUID]
) -> list[answers.NewItemAnswer]:
    """Make items, or find those of the same request, and return each with its form."""
    env, user_id = Env.load(), caller()
    upload.refuse_too_large(new, fields, env.max_upload_bytes)
    made: list[UUID] = []

    def create() -> dict[str, Any]:
        named = [
            creation.New(item_id, upload.clean_filename(each.filename), each.size or 0)
            for item_id, each in zip(wished, new, strict=True)
        ]
        made.extend(creation.create(user_id, named, request.request_id()))
        return {"item_ids": [str(item_id) for item_id in made]}

    item_ids = [UUID(item_id) for item_id in again.once(create)["item_ids"]]
    if not made:
        creation.refuse_deleted(user_id, item_ids)
    logger.info("upload forms made", item_ids=[str(item_id) for item_id in item_ids])
    return [
        answers.NewItemAnswer(
            item_id=item_id,
            upload=upload.form(
                env.uploads_bucket,
                items.uploads_key(user_id, item_id),
                upload.content_type(each),
                env.max_upload_bytes,
            ),
        )
        for item_id, each in zip(item_ids, new, strict=True)
    ]


@router.get("/items")
def list_items(asked: Annotated[Listing, Query()]) -> answers.Page:
    """List the caller's items, newest first or in another order.

    A cursor goes on in the list that it came from, with the same filters and the same order.
    """
    user_id = caller()
    # One more, to know whether there is more.
    rows = collection.page(user_id, asked, asked.limit + 1, asked.after())
    shown = rows[: asked.limit]
    media = Env.load().media_bucket
    return answers.Page(
        items=[answers.item(user_id, row, media) for row in shown],
        next_cursor=asked.next_cursor(shown[-1]) if len(rows) > asked.limit else None,
    )


@router.get("/items/<item_id>")
def get_item(item_id: str) -> answers.WholeItem:
    """Show one of the caller's items; anybody else's does not exist."""
    return _whole(caller(), request.item_id(item_id))


@router.patch("/items/<item_id>")
def change_item(item_id: str) -> answers.WholeItem:
    """Rename one of the caller's items, or correct what a model said of it.

    What is left out stays as it is; null takes a correction back. What the model said is kept beside it.
    """
    user_id, wanted = caller(), request.item_id(item_id)
    change = body.read(request.event(), corrections.Change)
    changed = corrections.apply(user_id, wanted, change)
    if changed is None:
        raise problems.item_not_found()
    if change.corrects() and changed.status in ("analyzed", "ready", "failed"):
        # Even where nothing is different: an earlier request may have failed just here.
        asked = EmbeddingRequested(user_id=user_id, item_id=wanted, object_version=changed.object_version)
        bus.publish([asked], request.request_id())
    logger.info("item changed", item_id=item_id, fields=sorted(change.model_fields_set))
    return _whole(user_id, wanted)


@router.delete("/items/<item_id>", status_code=HTTPStatus.NO_CONTENT)
def delete_item(item_id: str) -> Response[None]:
    """Delete one of the caller's items: its row, its objects, every version of them. There is no way back.

    Sent again after a failure it goes on where it stopped.
    """
    user_id, wanted = caller(), request.item_id(item_id)
    request.no_body()
    env = Env.load()
    if not deletion.delete(user_id, wanted, env.uploads_bucket, env.media_bucket):
        raise problems.item_not_found()
    return Response(HTTPStatus.NO_CONTENT)


@router.get("/items/<item_id>/timeline")
def list_timeline(
    item_id: str, limit: Limit = 20, cursor: Annotated[str | None, Query()] = None
) -> answers.Timeline:
    """List what happened to one of the caller's items, first things first."""
    user_id, wanted = caller(), request.item_id(item_id)
    after = max(_number(cursor, "timeline", wanted) or 0, 0)
    if collection.brief(user_id, wanted) is None:
        raise problems.item_not_found()
    rows = collection.timeline(user_id, wanted, limit + 1, after)
    shown = rows[:limit]
    more = len(rows) > limit
    return answers.Timeline(
        timeline=[answers.Step(**row) for row in shown],
        next_cursor=_next("timeline", wanted, after + limit) if more else None,
    )


@router.get("/items/<item_id>/analyses")
def list_analyses(
    item_id: str, limit: Limit = 20, cursor: Annotated[str | None, Query()] = None
) -> answers.Analyses:
    """List what models said of one of the caller's items, every version of it, newest first."""
    user_id, wanted = caller(), request.item_id(item_id)
    before = _number(cursor, "analyses", wanted)
    item = collection.brief(user_id, wanted)
    if item is None:
        raise problems.item_not_found()
    rows = collection.analyses(user_id, wanted, limit + 1, before)
    shown = rows[:limit]
    more = len(rows) > limit
    return answers.Analyses(
        analyses=[answers.analysis(row, item["analysis_version"]) for row in shown],
        next_cursor=_next("analyses", wanted, shown[-1]["version"]) if more else None,
    )


def _whole(user_id: str, item_id: UUID) -> answers.WholeItem:
    row = collection.one(user_id, item_id)
    if row is None:
        raise problems.item_not_found()
    env = Env.load()
    timeline = collection.latest_lines(user_id, item_id)
    return answers.whole_item(user_id, row, timeline, env.media_bucket, env.uploads_bucket)


def _number(text: str | None, history: str, item_id: UUID) -> int | None:
    """Return the entry of an item's history that a cursor names."""
    if text is None:
        return None
    (number,) = cursor.read(text, {"list": history, "item_id": item_id}, cursor.number)
    return int(number)


def _next(history: str, item_id: UUID, number: int) -> str:
    return cursor.write({"list": history, "item_id": item_id}, number)
