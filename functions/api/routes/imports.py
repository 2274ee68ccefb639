"""Imports: collections that come from elsewhere, taken row by row, and given back."""

import hashlib
import json
import time
from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler.openapi.params import Query

from functions.api import (
    body,
    cursor,
    import_answers,
    import_drafts,
    import_rows,
    imports,
    problems,
    request,
    upload,
)
from functions.api.cursor import page_by_age
from functions.api.import_answers import ComingItem, ComingItems, Taken
from functions.api.import_drafts import Draft
from functions.api.import_rows import RowError
from functions.api.imports import Outcome
from functions.api.request import Env, caller
from functions.api.routes.items import Limit
from shared import bus, embeddings, items
from shared.events import EmbeddingRequested

logger = Logger(child=True)
router = request.router()

UNDO_SECONDS = 8.0
"""After which no further item is deleted by the same request: the gateway ends it after 30."""


@router.post("/imports", status_code=HTTPStatus.CREATED)
def create_import() -> import_answers.Import:
    """Begin an import, or find the one that was begun for the same source.

    What it brought, it does not bring twice. One that was undone can be begun again.
    """
    user_id = caller()
    new = body.read(request.event(), import_answers.NewImport)
    again = request.Retry("create_import", new.model_dump(mode="json"))

    def begin() -> dict[str, Any]:
        import_id = imports.begin(user_id, new.fingerprint, new.name)
        logger.info("import begun", import_id=str(import_id))
        return {"import_id": str(import_id)}

    return _whole(user_id, UUID(again.once(begin)["import_id"]))


@router.get("/imports")
def list_imports(limit: Limit = 20, cursor: Annotated[str | None, Query()] = None) -> import_answers.Imports:
    """List the caller's imports, newest first."""
    user_id = caller()
    rows, next_cursor = page_by_age(
        cursor, limit, lambda count, after: imports.page(user_id, count, after), "import_id"
    )
    return import_answers.Imports(
        imports=[import_answers.brief(row) for row in rows], next_cursor=next_cursor
    )


@router.get("/imports/<import_id>")
def get_import(import_id: str) -> import_answers.Import:
    """Show one of the caller's imports: how far its items are, and whether their images are right."""
    return _whole(caller(), _id(import_id))


@router.get("/imports/<import_id>/items")
def list_import_items(
    import_id: str, limit: Limit = 100, cursor: Annotated[str | None, Query()] = None
) -> import_answers.BroughtItems:
    """List what one of the caller's imports brought, in the order of the items' ids."""
    user_id, wanted = caller(), _id(import_id)
    after = _place(cursor, wanted)
    imports.one(user_id, wanted)
    rows = imports.brought(user_id, wanted, limit + 1, after)
    shown = rows[:limit]
    more = len(rows) > limit
    return import_answers.BroughtItems(
        items=[import_answers.brought(row) for row in shown],
        next_cursor=_next(wanted, shown[-1]["item_id"]) if more else None,
    )


@router.post("/imports/<import_id>/items")
def add_import_items(import_id: str) -> import_answers.TakenItems:
    """Bring up to 100 items into an import, each with its analyses, its vector and the promise of an image.

    Each is taken or refused for itself. An item that is there already stays as it is; one that this import
    brought before is answered as it was then, with a new form as long as its image has not come.
    """
    user_id, wanted = caller(), _id(import_id)
    coming = body.read(request.event(), ComingItems).items
    env, model = Env.load(), _model()
    # The rows as they were sent: what reads bodies puts a mark in the place of half a character.
    sent = body.content(request.event())["items"]
    told: dict[int, Taken] = {}
    drafts: dict[int, Draft] = {}
    seen: set[UUID] = set()
    for place, each in enumerate(coming):
        whole = ComingItem.model_construct(
            item=sent[place]["item"],
            analyses=sent[place].get("analyses", []),
            embedding=sent[place].get("embedding"),
            image=each.image,
        )
        try:
            read = import_drafts.draft(whole, model, env.max_upload_bytes)
            if read.item.item_id in seen:
                raise RowError("duplicate_id", "Another item of this request has this id.")
        except RowError as error:
            told[place] = imports.refused(_known_id(whole), error.code, error.sentence)
            continue
        seen.add(read.item.item_id)
        drafts[place] = read
    outcomes = _taken(user_id, wanted, list(drafts.values()), sent)
    told |= {
        place: _with_form(user_id, outcome, env) for place, outcome in zip(drafts, outcomes, strict=True)
    }
    logger.info("rows taken", import_id=import_id, rows=len(coming), refused=len(coming) - len(drafts))
    return import_answers.TakenItems(items=[told[place] for place in range(len(coming))])


@router.post("/imports/<import_id>/undo")
def undo_import(import_id: str) -> import_answers.Undone:
    """Delete what one of the caller's imports brought, for as long as a request may take.

    Items go as `DELETE /items/{item_id}` takes them, with all that has come to them since. Sent again until
    nothing is left; from the first time on, nothing more is taken for the import.
    """
    user_id, wanted = caller(), _id(import_id)
    request.no_body()
    env, end = Env.load(), time.monotonic() + UNDO_SECONDS
    again = request.Retry("undo_import", {"import_id": str(wanted)})

    def undo() -> dict[str, Any]:
        removed, left = imports.undo(
            user_id, wanted, env.uploads_bucket, env.media_bucket, lambda: time.monotonic() < end
        )
        logger.info("import undone", import_id=import_id, removed=removed, left=left)
        return {"removed": removed, "left": left}

    return import_answers.Undone(**again.once(undo))


def _taken(user_id: str, import_id: UUID, drafts: list[Draft], sent: Any) -> list[Outcome]:
    """Take what came. The second time it is there, and needs no key to be found; forms are always new."""
    told = hashlib.sha256(json.dumps(sent, sort_keys=True).encode()).hexdigest()
    again = request.Retry("add_import_items", {"import_id": str(import_id), "rows": told})
    outcomes: list[Outcome] = []

    def take() -> dict[str, Any]:
        outcomes.extend(imports.take(user_id, import_id, drafts, request.request_id()))
        _announce(user_id, outcomes)
        return {"rows": len(drafts)}

    again.once(take)
    return outcomes or imports.take(user_id, import_id, drafts, request.request_id())


def _whole(user_id: str, import_id: UUID) -> import_answers.Import:
    row = imports.one(user_id, import_id)
    return import_answers.whole(row, imports.counts(user_id, import_id), _model())


def _id(text: str) -> UUID:
    """Return the import id of a path.

    Raises:
        Problem: 404, it is none.
    """
    found = request.path_id(text)
    if found is None:
        raise problems.import_not_found()
    return found


def _known_id(coming: ComingItem) -> UUID | None:
    try:
        return import_rows.item_id(coming.item)
    except RowError:
        return None


def _model() -> str:
    """Return the model whose vectors are compared here: those of any other are made anew."""
    return (embeddings.VOYAGE if embeddings.voyage_key() else embeddings.OFFLINE).name


def _announce(user_id: str, outcomes: list[Outcome]) -> None:
    """Tell the embedder of what no image will come for. Where this fails, the sweeper does."""
    events = [
        EmbeddingRequested(user_id=user_id, item_id=outcome.draft.item.item_id)
        for outcome in outcomes
        if outcome.awaits_vector
    ]
    if events:
        bus.publish(events, request.request_id())


def _with_form(user_id: str, outcome: Outcome, env: Env) -> Taken:
    """Return what is told of a row, with the form for exactly its image where that has not come."""
    draft, image = outcome.draft, outcome.draft.image
    if not outcome.awaits_image or image is None:
        return outcome.taken
    item_id = draft.item.item_id
    kind = upload.content_type(
        upload.NewItem(
            filename=draft.item.filename,
            content_type=draft.item.mime_type if draft.item.mime_type in upload.CONTENT_TYPES else None,
        )
    )
    form = upload.form(
        env.uploads_bucket,
        items.uploads_key(user_id, item_id),
        kind,
        image.size,
        min_bytes=image.size,
        sha256=image.sha256,
    )
    return outcome.taken.model_copy(update={"upload": form})


def _place(text: str | None, import_id: UUID) -> UUID | None:
    if text is None:
        return None
    (item_id,) = cursor.read(text, {"import": import_id}, UUID)
    return UUID(str(item_id))


def _next(import_id: UUID, item_id: Any) -> str:
    return cursor.write({"import": import_id}, item_id)
