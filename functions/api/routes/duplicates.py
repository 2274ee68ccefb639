"""What there is more than once: the same bytes, pictures that look alike, descriptions that say the same."""

from typing import Annotated

from aws_lambda_powertools.event_handler.openapi.params import Query

from functions.api import duplicates, request
from functions.api.request import Env, caller
from functions.api.routes.items import Limit

router = request.router()


@router.get("/duplicates")
def list_duplicates(
    by: Annotated[
        duplicates.Reason | None,
        Query(description="only for this reason; left out, for one after the other"),
    ] = None,
    limit: Limit = 20,
    cursor: Annotated[str | None, Query()] = None,
) -> duplicates.Groups:
    """List what the caller has more than once, in groups.

    A page may hold fewer groups than asked for, or none, and still have a `next_cursor`: there is a time
    after which it ends, however far it has looked.
    """
    user_id = caller()
    listing = {"user": user_id, "by": by}
    after = duplicates.read_place(cursor, listing) if cursor is not None else None
    page = duplicates.page(user_id, by, limit, after)
    return duplicates.Groups(
        groups=duplicates.shown(user_id, page.found, Env.load().media_bucket),
        next_cursor=page.place and page.place.write(listing),
        notes=[duplicates.NO_TIME] if page.out_of_time else [],
    )
