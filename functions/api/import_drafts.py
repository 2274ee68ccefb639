"""Decide what is taken of an item that comes with its analyses and its vector, before anything is stored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from functions.api import import_rows
from functions.api.import_answers import ComingImage, ComingItem, Part
from functions.api.import_rows import Analysis, Embedding, Item, RowError

Row = Mapping[str, Any]


@dataclass
class Draft:
    """An item that is to be taken.

    Attributes:
        analyses: by version, those that can be taken.
        embedding: where it fits this deployment.
        places: of each analysis that can be taken, its place among those that came.
        parts: what becomes of every analysis, in the order in which they came.
        embedding_part: None where no vector came.
    """

    item: Item
    image: ComingImage | None
    analyses: dict[int, Analysis] = field(default_factory=dict)
    places: dict[int, int] = field(default_factory=dict)
    parts: list[Part] = field(default_factory=list)
    embedding: Embedding | None = None
    embedding_part: Part | None = None

    @property
    def newest(self) -> int | None:
        return max(self.analyses, default=None)


def draft(coming: ComingItem, model: str, max_bytes: int) -> Draft:
    """Read an item and what belongs to it.

    Args:
        model: that makes this deployment's vectors.
        max_bytes: of an image.

    Raises:
        RowError: the item cannot be taken, and nothing that belongs to it.
    """
    made = Draft(import_rows.read_item(coming.item), coming.image)
    if coming.image is not None and coming.image.size > max_bytes:
        raise RowError("too_large", f"The image has more than {max_bytes} bytes.")
    read_analyses(made, coming.analyses)
    refuse_nothing(made)
    if coming.embedding is not None:
        made.embedding_part = read_embedding(made, coming.embedding, model)
    return made


def refuse_nothing(made: Draft) -> None:
    """Refuse an item that nothing could be known of.

    Raises:
        RowError: it is one.
    """
    if made.image is None and not made.analyses:
        raise RowError("nothing_to_import", "It has neither an image nor an analysis that can be taken.")


def read_analyses(made: Draft, rows: Sequence[Row]) -> None:
    """Read analyses into the draft, and say what becomes of each."""
    read: list[tuple[int, Analysis]] = []
    ids: set[UUID] = set()
    for place, row in enumerate(rows):
        made.parts.append(Part(status="imported"))
        try:
            if row.get("item_id") is not None and import_rows.item_id(row, "item_id") != made.item.item_id:
                raise RowError("bad_id", "item_id names another item.")
            analysis = import_rows.read_analysis(row)
            if analysis.analysis_id in ids:
                raise RowError("duplicate_id", "Another analysis has this id.")
            ids.add(analysis.analysis_id)
            read.append((place, analysis))
        except RowError as error:
            made.parts[place] = refused(error)
    for (place, analysis), version in zip(
        read, import_rows.numbered([each for _, each in read]), strict=True
    ):
        if version in made.analyses:
            made.parts[place] = refused(
                RowError("duplicate_version", "Another analysis of the item has this version.")
            )
        else:
            made.analyses[version] = analysis
            made.places[version] = place


def read_embedding(made: Draft, row: Row, model: str | None) -> Part:
    """Read a vector into the draft where it fits, and say what becomes of it.

    Args:
        model: that makes this deployment's vectors; None where nobody knows yet.
    """
    try:
        embedding = import_rows.read_embedding(row)
    except RowError as error:
        return refused(error)
    newest = made.newest
    ids = {analysis.analysis_id for analysis in made.analyses.values()}
    if newest is None or (embedding.analysis_id is not None and embedding.analysis_id not in ids):
        return Part(status="refused", code="orphan", message="Its analysis is not among those of the item.")
    if embedding.analysis_id not in (None, made.analyses[newest].analysis_id):
        return Part(
            status="skipped", code="not_current", message="It speaks of an analysis that is not the newest."
        )
    if embedding.vector is None:
        return Part(
            status="skipped",
            code="other_dimensions",
            message=f"It has {embedding.dimensions} dimensions: a new one is made.",
        )
    if model is not None and embedding.model != model:
        return Part(status="skipped", code="other_model", message=f"{model} makes a new one.")
    made.embedding = embedding
    return Part(status="imported")


def refused(error: RowError) -> Part:
    return Part(status="refused", code=error.code, message=error.sentence)
