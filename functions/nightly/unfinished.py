"""What was promised to be deleted, and is not yet: items whose objects are left, and whole accounts."""

from collections.abc import Callable
from itertools import chain, takewhile

from aws_lambda_powertools import Logger

from shared import bus, database, deletion
from shared.errors import TransientError
from shared.events import ErasureRequested

logger = Logger(child=True)

PAGE = 100
MOST_ERASURES = 1000
"""Of one night, each of which takes up to a quarter of an hour."""

# Younger ones are just being finished by whoever asked.
HALF_DONE_OF_ALL = """
SELECT user_id, item_id, deleted_at FROM deleted_items
 WHERE objects_removed_at IS NULL AND deleted_at < now() - interval '10 minutes'
   AND (%(after_deleted_at)s::timestamptz IS NULL
        OR (deleted_at, user_id, item_id)
           > (%(after_deleted_at)s::timestamptz, %(after_user_id)s, %(after_item_id)s))
 ORDER BY deleted_at, user_id, item_id
 LIMIT %(limit)s
"""

UNFINISHED_OF_ALL = """
SELECT user_id, erasure_id FROM erasures
 WHERE finished_at IS NULL AND requested_at < now() - interval '1 hour'
 ORDER BY requested_at
 LIMIT %(limit)s
"""


def deletions(uploads_bucket: str, media_bucket: str, go_on: Callable[[], bool]) -> int:
    """Remove the objects of items whose deletion stopped half-way; returns how many items that were.

    Raises:
        TransientError: of some, after all were tried; or the database did not answer.
    """
    done = left = 0
    pages = database.pages(HALF_DONE_OF_ALL, {}, ("deleted_at", "user_id", "item_id"), PAGE)
    for row in takewhile(lambda _: go_on(), chain.from_iterable(pages)):
        try:
            finished = deletion.finish(row["user_id"], row["item_id"], uploads_bucket, media_bucket)
            done += finished is not None
        except TransientError as error:
            logger.warning("a deletion was not finished", item_id=str(row["item_id"]), reason=str(error))
            left += 1
    if left:
        raise TransientError(f"the objects of {left} deleted items are still there")
    return done


def erasures() -> int:
    """Ask again for every erasure that is not finished; returns how many that were.

    Its message may be gone, or dead. One that is just being worked on is not disturbed by another.

    Raises:
        TransientError: the bus or the database did not answer.
    """
    found = database.fetch_all(UNFINISHED_OF_ALL, {"limit": MOST_ERASURES})
    bus.publish_each(
        [
            (ErasureRequested(user_id=row["user_id"], erasure_id=row["erasure_id"]), str(row["erasure_id"]))
            for row in found
        ]
    )
    return len(found)
