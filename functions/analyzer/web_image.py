"""The picture that is shown to a model: the web image of exactly the version that is analyzed."""

from collections.abc import Callable
from functools import cache

from functions.analyzer import versions
from functions.analyzer.providers import Picture
from functions.analyzer.versions import Item, SupersededError
from shared import database, items, objects
from shared.errors import TransientError


def once(item: Item, bucket: str) -> Callable[[], Picture]:
    """Return a function that fetches the picture when it is first called.

    It raises:
        SupersededError: the item is of another version by now.
        TransientError: S3 or the database did not answer, or another version is just being written.
    """

    @cache
    def fetch() -> Picture:
        with database.transaction() as cursor:
            if not versions.unchanged(item, cursor):
                raise SupersededError
            jpeg, sha256 = objects.read(bucket, items.image_key(item.user_id, item.item_id))
        if sha256 != item.sha256:
            # A worker that wrote a newer version and died before it said so. It will be done again; to
            # store an analysis of that picture as one of this would be wrong for ever.
            raise TransientError("the web image is of another version than the row")
        return Picture(jpeg, item.camera, item.captured_at)

    return fetch
