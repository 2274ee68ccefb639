"""What a person says of an item in place of the model: kept apart from it, and shown before it."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any
from uuid import UUID, uuid4

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from functions.api import upload, wording
from shared import database, items
from shared.models import Model
from shared.text import clean

FIELDS = ("category", "headline", "summary", "tags")
"""What can be corrected."""
MAX_CATEGORY, MAX_HEADLINE, MAX_SUMMARY, MAX_TAG = 80, 200, 2000, 80
"""Characters: as many as a model may write."""
MAX_TAGS = 50
WAIT_SECONDS = 5
"""How long a change waits for a stage that is just writing the item."""

LOCK = """
SELECT filename, status, object_version
  FROM items
 WHERE user_id = %(user_id)s AND item_id = %(item_id)s
   FOR UPDATE
"""

# A statement of its own: it has to see what was committed while the row was waited for.
KNOWN = """
SELECT category, headline, summary, tags
  FROM corrections
 WHERE user_id = %(user_id)s AND item_id = %(item_id)s
"""

KEEP = """
INSERT INTO corrections (user_id, item_id, category, headline, summary, tags)
VALUES (%(user_id)s, %(item_id)s, %(category)s, %(headline)s, %(summary)s, %(tags)s::text[])
    ON CONFLICT (user_id, item_id) DO UPDATE
   SET category = excluded.category, headline = excluded.headline, summary = excluded.summary,
       tags = excluded.tags, corrected_at = now()
"""

WITHDRAW = "DELETE FROM corrections WHERE user_id = %(user_id)s AND item_id = %(item_id)s"

RENAME = """
UPDATE items SET filename = %(filename)s, updated_at = now()
 WHERE user_id = %(user_id)s AND item_id = %(item_id)s
"""

REFRESH = "SELECT refresh_search_document(%(user_id)s, %(item_id)s)"


def _storable(value: object) -> object:
    # What is no Unicode arrives with lone surrogates, which str refuses.
    return clean(value) if isinstance(value, str) else value


def _line(most: int, text: str) -> str:
    line = wording.one_line(text)
    if not line:
        raise ValueError("says nothing; null takes a correction back")
    if len(line) > most:
        raise ValueError(f"has {len(line)} characters; {most} is the most that is taken")
    return line


def _distinct(tags: list[str]) -> list[str]:
    """Return the different ones, compared without regard to case, without a hash before them."""
    kept: dict[str, str] = {}
    for tag in tags:
        if bare := tag.lstrip("# "):
            kept.setdefault(bare.casefold(), bare)
    return list(kept.values())


_Typed = Annotated[str, Field(max_length=4096), BeforeValidator(_storable)]
_Typed_long = Annotated[str, Field(max_length=40_000), BeforeValidator(_storable)]

Category = Annotated[_Typed, AfterValidator(partial(_line, MAX_CATEGORY))]
Headline = Annotated[_Typed, AfterValidator(partial(_line, MAX_HEADLINE))]
Summary = Annotated[_Typed_long, AfterValidator(partial(_line, MAX_SUMMARY))]
Tag = Annotated[_Typed, AfterValidator(partial(_line, MAX_TAG))]
Tags = Annotated[list[Tag], Field(max_length=MAX_TAGS), AfterValidator(_distinct)]


class Change(Model):
    """What is to be different about an item. What is left out stays; null takes a correction back."""

    model_config = ConfigDict(extra="forbid")

    filename: Annotated[_Typed, Field(min_length=1)] | None = None
    category: Category | None = None
    headline: Headline | None = None
    summary: Summary | None = None
    tags: Tags | None = None

    @field_validator("filename", mode="before")
    @classmethod
    def _is_a_name(cls, value: object) -> object:
        if value is None:
            raise ValueError("a name can be changed, and not taken back")
        return value

    @model_validator(mode="after")
    def _says_something(self) -> "Change":
        if not self.model_fields_set:
            raise ValueError("there is nothing in it to change")
        return self

    def corrects(self) -> dict[str, Any]:
        """Return the corrections in it, by field; None takes one back."""
        return {name: getattr(self, name) for name in FIELDS if name in self.model_fields_set}


@dataclass(frozen=True)
class Changed:
    """How far an item had come when it was changed."""

    status: str
    object_version: str | None


def apply(user_id: str, item_id: UUID, change: Change) -> Changed | None:
    """Change one of a user's items, what is searched of it and its timeline, at once or not at all.

    Returns:
        None where the user has no such item.

    Raises:
        TransientError: a stage has been writing it for too long, or the database gave up.
    """
    names: dict[str, Any] = {"user_id": user_id, "item_id": item_id}
    with database.transaction() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %(wait)s, true)", {"wait": f"{WAIT_SECONDS}s"})
        row = cursor.execute(LOCK, names).fetchone()
        if row is None:
            return None
        known = cursor.execute(KNOWN, names).fetchone() or dict.fromkeys(FIELDS)
        new = {**known, **change.corrects()}
        filename = upload.clean_filename(change.filename) if change.filename else row["filename"]
        changed = [name for name in FIELDS if new[name] != known[name]]
        if changed:
            withdrawn = [name for name in changed if new[name] is None]
            corrected = [name for name in changed if new[name] is not None]
            statement = WITHDRAW if all(value is None for value in new.values()) else KEEP
            cursor.execute(statement, names | new)
            detail = {"corrected": corrected, "withdrawn": withdrawn}
            _tell(cursor, user_id, item_id, "corrected", detail)
        if filename != row["filename"]:
            _tell(cursor, user_id, item_id, "renamed", {"from": row["filename"], "to": filename})
        if changed or filename != row["filename"]:
            cursor.execute(RENAME, {**names, "filename": filename})
            cursor.execute(REFRESH, names)
    return Changed(row["status"], row["object_version"])


def _tell(cursor: Any, user_id: str, item_id: UUID, event: str, detail: dict[str, Any]) -> None:
    # It may rightly happen again and again.
    items.record(cursor, user_id, item_id, "api", event, occurrence=str(uuid4()), detail=detail)
