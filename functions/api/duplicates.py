"""What there is more than once: the same bytes, pictures that look alike, texts that say the same.

Groups come by their newest item, the newest first; a group of one reason has no item in common with
another of that reason. An item belongs to a group of look-alikes where it is like one of the group, not
necessarily like all.
"""

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, get_args
from uuid import UUID

from pydantic import Field

from functions.api import answers, cursor, likeness
from functions.api.answers import Status, WallClock
from functions.api.filters import SEARCHABLE, Kind
from shared import database
from shared.models import Model

if TYPE_CHECKING:
    from psycopg.rows import DictRow

Reason = Literal["exact", "perceptual", "embedding"]
REASONS: tuple[Reason, ...] = get_args(Reason)

SHOWN_ITEMS = 25
"""Of a group; how many there are is told besides."""
MOST_ITEMS = 100
"""Of a group by embedding, where each step costs a look at all vectors; it is cut off there."""
MOST_HASHES = 1000
"""Of a group by perceptual hash; it is cut off there."""
SAME_SIMILARITY = 0.95
"""Cosine from which two descriptions may be of the same picture. Of 39 photographs, described offline, 87 %
of copies saved at low quality and 82 % of those cut by 2 % all around are above it, half of those made
smaller, and one pair of different ones, grass and gravel. Not measured for Voyage."""
SECONDS = 2.0
"""After which a page ends with what was found so far: to compare 20,000 vectors each with all takes long."""
ANCHORS = 8
"""Compared by one statement: with 20,000 vectors each takes some 15 ms."""
NO_TIME = "not everything was looked at in time: the next page goes on"

EXACT = """
SELECT item_ids, newest, newest_id
  FROM (SELECT array_agg(item_id ORDER BY created_at, item_id) AS item_ids, max(created_at) AS newest,
               (array_agg(item_id ORDER BY created_at DESC, item_id DESC))[1] AS newest_id
          FROM items
         WHERE user_id = %(user_id)s AND sha256 IS NOT NULL AND status = ANY (%(searchable)s::text[])
         GROUP BY sha256
        HAVING count(*) > 1) AS copies
 WHERE %(newest)s::timestamptz IS NULL OR (newest, newest_id) < (%(newest)s::timestamptz, %(newest_id)s::uuid)
 ORDER BY newest DESC, newest_id DESC
 LIMIT %(limit)s
"""

HASHED = """
SELECT item_id, perceptual_hash, sha256, created_at
  FROM items
 WHERE user_id = %(user_id)s AND perceptual_hash IS NOT NULL AND status = ANY (%(searchable)s::text[])
 ORDER BY created_at DESC, item_id DESC
"""

EMBEDDED = """
SELECT items.item_id, items.created_at, items.sha256
  FROM items
  JOIN embeddings ON embeddings.user_id = items.user_id AND embeddings.item_id = items.item_id
 WHERE items.user_id = %(user_id)s
   AND items.status = ANY (%(searchable)s::text[])
   AND (%(newest)s::timestamptz IS NULL
        OR (items.created_at, items.item_id) < (%(newest)s::timestamptz, %(newest_id)s::uuid))
 ORDER BY items.created_at DESC, items.item_id DESC
 LIMIT %(limit)s
"""

# As exact as a search: each is compared with all of the user's vectors of its model. The newest come first,
# because it is the newest of a group that decides where the group is shown.
NEAR = """
SELECT anchors.item_id AS anchor, near.*
  FROM embeddings AS anchors
 CROSS JOIN LATERAL (
       SELECT items.item_id, items.created_at, items.sha256
         FROM (SELECT others.item_id
                 FROM embeddings AS others
                WHERE others.user_id = %(user_id)s
                  AND others.model = anchors.model
                  AND others.item_id <> anchors.item_id
                  AND 1 - (anchors.embedding <=> others.embedding) >= %(least)s::float8
               OFFSET 0) AS others
        CROSS JOIN LATERAL (
              SELECT items.item_id, items.created_at, items.sha256
                FROM items
               WHERE items.user_id = %(user_id)s
                 AND items.item_id = others.item_id
                 AND items.status = ANY (%(searchable)s::text[])
              OFFSET 0) AS items
        ORDER BY items.created_at DESC, items.item_id DESC
        LIMIT %(most)s) AS near
 WHERE anchors.user_id = %(user_id)s AND anchors.item_id = ANY (%(item_ids)s::uuid[])
"""

SHOWN = """
SELECT wanted.first_id, items.item_id, items.filename, items.kind, items.status, items.created_at,
       items.captured_at, items.format, items.width, items.height, items.file_size, items.category,
       items.thumbnail_width, items.perceptual_hash,
       coalesce(corrections.headline, analyses.headline) AS headline,
       1 - (own.embedding <=> firsts.embedding) AS similarity
  FROM unnest(%(item_ids)s::uuid[], %(first_ids)s::uuid[]) AS wanted (item_id, first_id)
  JOIN items ON items.user_id = %(user_id)s AND items.item_id = wanted.item_id
  LEFT JOIN analyses ON analyses.user_id = %(user_id)s
                    AND analyses.item_id = items.item_id
                    AND analyses.version = items.analysis_version
  LEFT JOIN corrections ON corrections.user_id = %(user_id)s AND corrections.item_id = items.item_id
  LEFT JOIN embeddings AS own ON own.user_id = %(user_id)s AND own.item_id = wanted.item_id
  LEFT JOIN embeddings AS firsts ON firsts.user_id = %(user_id)s
                                AND firsts.item_id = wanted.first_id
                                AND firsts.model = own.model
"""


class Copy(Model):
    """An item of a group. `distance` and `similarity` are those to the first item of the group."""

    item_id: UUID
    filename: str
    kind: Kind
    status: Status
    created_at: datetime
    captured_at: WallClock | None
    format: str | None
    width: int | None
    height: int | None
    file_size: int | None
    category: str | None
    headline: str | None
    thumbnail_url: str | None
    distance: int | None
    similarity: float | None


class Group(Model):
    """Items that are the same, or nearly, the oldest first.

    `distance`: in how many of 64 bits the hash of an item shown here differs from the first one's, at most.
    `similarity`: the least cosine of an item's vector shown here and the first one's. Each is null where the
    group was not made by it.
    """

    reason: Reason
    count: int = Field(description=f"how many items there are, of which at most {SHOWN_ITEMS} are shown")
    complete: bool = Field(description="false where it was cut off, because it is too great")
    distance: int | None
    similarity: float | None
    items: list[Copy]


class Groups(Model):
    """A page of groups. Where there is a `next_cursor` there is more to look at, however few are here."""

    groups: list[Group]
    next_cursor: str | None = Field(description="for the next page; null on the last one")
    notes: list[str]


@dataclass(frozen=True)
class Place:
    """How far was looked, for which reason: up to this item, the newest of its group if it has one.

    Behind it the next page begins; without it, with the first item.
    """

    reason: Reason
    newest: datetime | None = None
    newest_id: UUID | None = None

    def write(self, listing: Mapping[str, object]) -> str:
        """Return the cursor of this place in the groups of one user."""
        return cursor.write(listing, self.reason, self.newest, self.newest_id)


@dataclass(frozen=True)
class Found:
    """A group, before its items are read; their ids, the oldest first."""

    reason: Reason
    item_ids: Sequence[UUID]
    complete: bool = True


@dataclass(frozen=True)
class Page:
    """Groups, and the place where to go on; None where everything was looked at."""

    found: Sequence[Found]
    place: Place | None
    out_of_time: bool = False


@dataclass(frozen=True, order=True)
class Known:
    """An item, ordered by its age. Those of one content are copies of each other, byte by byte."""

    created_at: datetime
    item_id: UUID
    content: str = field(compare=False)


Steps = Iterator[tuple[Place, Found | None]]
"""How far was looked, step by step, and the group that was found there."""


def read_place(text: str, listing: Mapping[str, object]) -> Place:
    """Return the place that a client brought back.

    Raises:
        Problem: 400, we never gave it out, or for another listing.
    """

    def reason(value: Any) -> Reason:
        return REASONS[REASONS.index(value)]

    return Place(*cursor.read(text, listing, reason, cursor.moment, UUID))


def page(user_id: str, by: Reason | None, limit: int, after: Place | None = None) -> Page:
    """Find at most `limit` of a user's groups.

    Args:
        by: for one reason only; None for one after the other.
        after: where the page before ended.
    """
    deadline = time.monotonic() + SECONDS
    reasons = [by] if by else list(REASONS)
    place = after or Place(reasons[0])
    found: list[Found] = []
    for reason in reasons[reasons.index(place.reason) :]:
        steps = _STEPS[reason](user_id, place if place.reason == reason else Place(reason), limit + 1)
        for looked, group in steps:
            if group is not None and len(found) == limit:
                return Page(found, place)
            if group is not None:
                found.append(group)
            place = looked
            if time.monotonic() > deadline:
                return Page(found, place, out_of_time=True)
    return Page(found, None)


def _exact(user_id: str, after: Place, at_once: int) -> Steps:
    while True:
        rows = database.fetch_all(
            EXACT,
            {
                "user_id": user_id,
                "searchable": list(SEARCHABLE),
                "newest": after.newest,
                "newest_id": after.newest_id,
                "limit": at_once,
            },
        )
        for row in rows:
            after = Place("exact", row["newest"], row["newest_id"])
            yield after, Found("exact", row["item_ids"])
        if len(rows) < at_once:
            return


def _perceptual(user_id: str, after: Place, _: int) -> Steps:
    """Group by hashes: they are what is near each other, and each brings its items along."""
    items: dict[int, list[Known]] = {}
    for row in database.fetch_all(HASHED, {"user_id": user_id, "searchable": list(SEARCHABLE)}):
        if likeness.says_something(row["perceptual_hash"]):
            items.setdefault(likeness.unsigned(row["perceptual_hash"]), []).append(_known(row))
    newest = {value: known[0] for value, known in items.items()}  # read with the newest first
    hashes = likeness.Hashes(items)
    anchors = sorted(items, key=newest.__getitem__, reverse=True)
    if after.newest and after.newest_id:
        behind = Known(after.newest, after.newest_id, "")
        anchors = [value for value in anchors if newest[value] < behind]
    for anchor, members in likeness.groups(
        anchors, lambda edge: set().union(*map(hashes.near, edge)), newest.__getitem__, MOST_HASHES
    ):
        place = Place("perceptual", newest[anchor].created_at, newest[anchor].item_id)
        found = _of_several("perceptual", [item for value in members for item in items[value]])
        yield place, found and replace(found, complete=len(members) < MOST_HASHES)


def _embedding(user_id: str, after: Place, _: int) -> Steps:
    """Group by vectors, of which each is compared with all others when its turn has come."""
    seen: set[UUID] = set()
    while True:
        rows = database.fetch_all(
            EMBEDDED,
            {
                "user_id": user_id,
                "searchable": list(SEARCHABLE),
                "newest": after.newest,
                "newest_id": after.newest_id,
                "limit": ANCHORS,
            },
        )
        items = {row["item_id"]: _known(row) for row in rows}
        anchors = list(items)
        near = _Near(user_id, items)
        near.look([item_id for item_id in anchors if item_id not in seen])
        for anchor, members in likeness.groups(anchors, near, items.__getitem__, MOST_ITEMS, seen):
            after = Place("embedding", items[anchor].created_at, anchor)
            found = _of_several("embedding", [items[member] for member in members])
            yield after, found and replace(found, complete=len(members) < MOST_ITEMS)
        if len(rows) < ANCHORS:
            return


class _Near:
    """What is near to items by their vectors; what was looked up once is kept."""

    def __init__(self, user_id: str, items: dict[UUID, Known]) -> None:
        self._user_id = user_id
        self._items = items
        self._known: dict[UUID, set[UUID]] = {}

    def __call__(self, item_ids: Collection[UUID]) -> set[UUID]:
        self.look([item_id for item_id in item_ids if item_id not in self._known])
        return set().union(*(self._known[item_id] for item_id in item_ids))

    def look(self, item_ids: Sequence[UUID]) -> None:
        """Look up what is near to several items, all at once."""
        self._known |= {item_id: set() for item_id in item_ids}
        if not item_ids:
            return
        wanted = {
            "user_id": self._user_id,
            "searchable": list(SEARCHABLE),
            "item_ids": list(item_ids),
            "least": SAME_SIMILARITY,
            "most": MOST_ITEMS,
        }
        for row in database.fetch_all(NEAR, wanted):
            self._known[row["anchor"]].add(row["item_id"])
            self._items.setdefault(row["item_id"], _known(row))


_STEPS = {"exact": _exact, "perceptual": _perceptual, "embedding": _embedding}


def _known(row: "DictRow") -> Known:
    return Known(row["created_at"], row["item_id"], row["sha256"] or str(row["item_id"]))


def _of_several(reason: Reason, items: Sequence[Known]) -> Found | None:
    """Return a group of items, None where they are all the same bytes: that is another reason's."""
    if len({item.content for item in items}) < 2:
        return None
    return Found(reason, [item.item_id for item in sorted(items)])


def shown(user_id: str, found: Sequence[Found], media_bucket: str) -> list[Group]:
    """Return groups as they are answered."""
    wanted = [(item_id, group.item_ids[0]) for group in found for item_id in group.item_ids[:SHOWN_ITEMS]]
    rows = database.fetch_all(
        SHOWN,
        {
            "user_id": user_id,
            "item_ids": [item_id for item_id, _ in wanted],
            "first_ids": [first_id for _, first_id in wanted],
        },
    )
    by_ids = {(row["item_id"], row["first_id"]): row for row in rows}
    return [_group(user_id, group, by_ids, media_bucket) for group in found]


def _group(
    user_id: str, group: Found, rows: Mapping[tuple[UUID, UUID], "DictRow"], media_bucket: str
) -> Group:
    first_id = group.item_ids[0]
    first = rows.get((first_id, first_id))
    # One that was deleted in between is not there.
    there = [
        row for item_id in group.item_ids[:SHOWN_ITEMS] if (row := rows.get((item_id, first_id))) is not None
    ]
    copies = [_copy(user_id, row, first, media_bucket) for row in there]
    distances = [copy.distance for copy in copies if copy.distance is not None]
    similarities = [copy.similarity for copy in copies if copy.similarity is not None]
    return Group(
        reason=group.reason,
        count=len(group.item_ids),
        complete=group.complete,
        distance=None if group.reason == "embedding" else max(distances, default=None),
        similarity=min(similarities, default=None) if group.reason == "embedding" else None,
        items=copies,
    )


def _copy(user_id: str, row: "DictRow", first: "DictRow | None", media_bucket: str) -> Copy:
    one, other = row["perceptual_hash"], first["perceptual_hash"] if first is not None else None
    url = answers.thumbnail_url(user_id, row["item_id"], media_bucket) if row["thumbnail_width"] else None
    return Copy(
        **{name: row[name] for name in Copy.model_fields if name in row},
        thumbnail_url=url,
        distance=None if one is None or other is None else likeness.distance(one, other),
    )
