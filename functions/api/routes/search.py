"""Search by words and by meaning, and for what is like an item."""

from typing import Annotated

from aws_lambda_powertools.event_handler.openapi.params import Query

from functions.api import body, hits, place, question, request, retry, scoring, search, similar
from functions.api.request import Env, caller
from functions.api.search import Asked, Search

router = request.router()


@router.get("/search")
def search_items(asked: Annotated[Asked, Query()]) -> hits.Found:
    """Search the caller's items by words and by meaning."""
    return answer(asked)


@router.post("/search")
def search_items_by_post() -> hits.Found:
    """Search the caller's items, as GET does: what is looked for stays out of addresses, and logs of them."""
    retry.read_key(request.event().headers.get("idempotency-key"))
    return answer(body.read(request.event(), Asked))


def answer(asked: Asked) -> hits.Found:
    """Return a page of what is found.

    Raises:
        Problem: 400, the cursor is not one of this question's; 503, the first page was searched by meaning,
            and this one cannot be.
    """
    user_id = caller()
    listing = {"user": user_id, **asked.model_dump(mode="json", exclude={"limit", "cursor", "explain"})}
    after = None if asked.cursor is None else place.read(asked.cursor, listing)
    read = question.read(user_id, asked.q, asked.mode, after.spellings if after else None)
    if after is not None:
        read = place.as_before(read, after)
    least = asked.min_score
    if least is None:
        least = scoring.enough(bool(read.terms), read.vector is not None, read.model)
    wanted = Search(read, asked, asked.limit, least, asked.sort, asked.explain, after)
    rows = search.run(user_id, wanted)
    end = search.end(rows, wanted)
    media = Env.load().media_bucket
    return hits.Found(
        query=read.text,
        mode=read.mode,
        hits=hits.shown(user_id, rows[: asked.limit], read, media, explain=asked.explain),
        next_cursor=end and end.write(listing),
        notes=list(read.notes),
    )


@router.get("/items/<item_id>/similar")
def find_similar(item_id: str, wanted: Annotated[similar.Wanted, Query()]) -> hits.Similar:
    """Find the caller's items that are nearest in meaning to one of them."""
    user_id = caller()
    near = request.item_id(item_id)
    model = similar.model_of(user_id, near)
    if model is None:
        return hits.Similar(item_id=near, hits=[], notes=[similar.NO_VECTOR])
    asked = similar.question(model)
    rows = search.run(user_id, Search(asked, wanted, wanted.limit, wanted.min_score, near=near))
    media = Env.load().media_bucket
    return hits.Similar(item_id=near, hits=hits.shown(user_id, rows[: wanted.limit], asked, media), notes=[])
