"""Whose an original is, which item it belongs to, and what is to be done about it."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, StringConstraints, model_validator

from shared import items
from shared.events import RunId, UserId
from shared.runs import EVERYBODY

SEQUENCER_CHARACTERS = 32
"""Sequencers of one key are ordered as text once the shorter is padded on the left; they have about 18
digits. https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html"""

MAX_NAME = 255
"""Characters of a file name that are kept; of a longer key the last, which hold its suffix."""

Text = Annotated[str, StringConstraints(min_length=1, max_length=1024, pattern=r"^[^\x00]+$")]
ToDo = Literal["render", "announce", "nothing"]


class Upload(BaseModel):
    """One original to process: an object that S3 speaks of, or the current one of an item that is named.

    Attributes:
        bucket, key, version, sequencer, size: of the object, where S3 speaks. Of an item that is named,
            the row knows them.
        filename: what to call an item that has no row yet.
        run_id: of a re-run, which renders again what is done already, once for each value.
        announce: whether the later stages are to be told of a picture; of a rejection everybody is.
    """

    model_config = ConfigDict(frozen=True)

    user_id: UserId
    item_id: UUID
    bucket: Text | None = None
    key: Text | None = None
    filename: Text | None = None
    version: Text | None = None
    sequencer: Text | None = None
    size: int | None = None
    run_id: RunId | None = None
    announce: bool = True

    @model_validator(mode="before")
    @classmethod
    def _of_either_shape(cls, data: Any) -> Any:
        """Read the detail of `Object Created`, or what a direct payload may say."""
        if not isinstance(data, dict):
            return data
        if "bucket" not in data:
            named = ("user_id", "item_id", "run_id", "announce")
            return {name: data[name] for name in named if name in data}
        bucket, stored = data["bucket"], data.get("object")
        if not isinstance(bucket, dict) or not isinstance(stored, dict):
            raise ValueError("neither an object nor an item")
        key = str(stored.get("key", ""))
        user_id, slash, rest = key.partition("/")
        if not slash:
            raise ValueError("an object at the bucket's root belongs to nobody")
        if user_id == EVERYBODY:
            raise ValueError("the folder * is nobody's: put originals into a person's folder")
        return {
            "user_id": user_id,
            "item_id": items.item_id(str(bucket.get("name")), key),
            "bucket": bucket.get("name"),
            "key": key,
            "filename": (rest.rstrip("/").rpartition("/")[2] or key)[-MAX_NAME:],
            "version": stored.get("version-id"),
            "sequencer": str(stored.get("sequencer", "")).rjust(SEQUENCER_CHARACTERS, "0"),
            "size": stored.get("size"),
        }

    @property
    def is_folder(self) -> bool:
        """Whether the object only marks a folder, as the console makes them."""
        return self.key is not None and self.key.endswith("/") and not self.size


def to_do(upload: Upload, row: Mapping[str, Any] | None) -> ToDo:
    """Decide what is to be done, from what is known of the item.

    Args:
        row: the item's, as `catalogue.find` returns it.

    Returns:
        `announce` for what is done already: whoever did it may have died before it said so.
    """
    if upload.sequencer is None:
        if row is None:
            return "nothing"
        if awaits_picture(row) or (upload.run_id and not row["rendered_by_run"]):
            return "render"
        return "announce"
    if row is None:
        return "render"
    if upload.sequencer < row["object_sequencer"]:
        return "nothing"
    return "announce" if is_same_object(upload, row) else "render"


def awaits_picture(row: Mapping[str, Any]) -> bool:
    """Say whether the original of an item is still to be looked at, or waits until there is room for it."""
    return "pending" in (row["status"], row["held_status"])


def is_same_object(upload: Upload, row: Mapping[str, Any]) -> bool:
    """Say whether the row speaks of this very object. It may have learnt of it without a sequencer."""
    return (
        not awaits_picture(row)
        and row["object_version"] == upload.version
        and row["object_sequencer"] in {"", upload.sequencer}
    )
