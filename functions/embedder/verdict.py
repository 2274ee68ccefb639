"""Decide what an event asks for: a vector, the same event once more, or nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import Field

from functions.embedder.text import embedded_text, source_hash
from shared.embeddings import DIMENSIONS, VectorModel
from shared.events import Contract, EmbeddingComplete, ItemRejected, UserId
from shared.quotas import OverQuotaError

Key = tuple[str, UUID]
"""Whose, and which: the key of an item."""


class ToEmbed(Contract):
    """What is to be embedded: the data of `AnalysisComplete`, or what a state machine or an operator says.

    Left out, the versions are whatever is current.
    """

    user_id: UserId
    item_id: UUID
    object_version: str | None = None
    analysis_version: int | None = Field(None, ge=1)
    announce: bool = Field(True, description="whether `EmbeddingComplete` is to be published")

    @property
    def key(self) -> Key:
        return self.user_id, self.item_id


@dataclass(frozen=True)
class Task:
    """One item whose current analysis needs its vector.

    Attributes:
        corrected_at: when a person last said something in the analysis's place; None where nobody did.
    """

    user_id: str
    item_id: UUID
    object_version: str | None
    analysis_version: int
    text: str
    source_hash: str
    corrected_at: datetime | None = None

    @property
    def key(self) -> Key:
        return self.user_id, self.item_id


@dataclass(frozen=True)
class Ignored:
    """Nothing is to be done, and the message may go."""

    reason: str


@dataclass(frozen=True)
class Waiting:
    """The item waits until its owner, or everybody, may spend money again."""

    user_id: str
    error: OverQuotaError


Outcome = EmbeddingComplete | ItemRejected | Waiting | Ignored | Exception
"""What became of a message; an event is to be published."""


def judge(
    asked: ToEmbed, row: Mapping[str, Any] | None, model: VectorModel
) -> Task | EmbeddingComplete | ItemRejected | Ignored:
    """Return what has to be done.

    Nothing later than this stage records progress, so a second delivery cannot know whether the first
    one's event went out. It is published again: whoever hears it treats a copy as nothing new.

    Args:
        row: the item with its current analysis, its corrections and the origin of its vector, as
            `store.read` gives it.
    """
    if row is None:
        return Ignored("unknown item")
    if row["analysis_version"] is None or asked.analysis_version not in (None, row["analysis_version"]):
        return Ignored("not the current analysis")
    if asked.object_version not in (None, row["object_version"]):
        return Ignored("not the current version of the object")
    refused = row["status"] == "failed" and row["error_code"] == "not_embeddable"
    if refused and row["corrected_at"] is None:
        return rejected(asked, row["object_version"], row["error_message"])
    if row["status"] not in ("analyzed", "ready") and not refused:
        return Ignored(f"item is {row['status']}")
    corrections = {name: row[name] for name in ("category", "headline", "summary", "tags")}
    text = embedded_text(row["raw_response"] or {}, corrections)
    task = Task(
        user_id=asked.user_id,
        item_id=asked.item_id,
        object_version=row["object_version"],
        analysis_version=row["analysis_version"],
        text=text,
        source_hash=source_hash(text),
        corrected_at=row["corrected_at"],
    )
    wanted = ("ready", model.name, task.analysis_version, task.source_hash)
    if (row["status"], row["embedded_by"], row["embedded_version"], row["embedded_hash"]) == wanted:
        return embedded(task, model)
    return task


def embedded(task: Task, model: VectorModel) -> EmbeddingComplete:
    """Return the event that says a task is done."""
    return EmbeddingComplete(
        user_id=task.user_id,
        item_id=task.item_id,
        object_version=task.object_version,
        analysis_version=task.analysis_version,
        model=model.name,
        dimensions=DIMENSIONS,
    )


def rejected(asked: ToEmbed, object_version: str | None, sentence: str) -> ItemRejected:
    """Return the event that says an item has ended here."""
    return ItemRejected(
        user_id=asked.user_id,
        item_id=asked.item_id,
        object_version=object_version,
        stage="embedder",
        code="not_embeddable",
        message=sentence,
    )
