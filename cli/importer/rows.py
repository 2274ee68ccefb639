"""Make of each item of the source what is sent, and note of every row that is not sent why."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cli.importer import images
from cli.importer.images import Image, ImageError
from cli.importer.scratch import BLOB, IMAGES, Kept, Scratch, image_names
from functions.api import import_drafts, import_rows
from functions.api.import_answers import MOST_ANALYSES, ComingImage
from functions.api.import_rows import RowError

MAX_BODY_BYTES = 3_000_000
"""Of one request: Lambda takes 6 MB."""
MAX_ITEM_BYTES = 5_000_000

COLUMNS = {
    "items": import_rows.ITEM_COLUMNS,
    "analyses": import_rows.ANALYSIS_COLUMNS,
    "embeddings": import_rows.EMBEDDING_COLUMNS,
}


@dataclass
class Coming:
    """An item that can be sent, and where its parts stand in the source.

    Attributes:
        body: as the API takes it.
        image: None where it is sent without one.
        analyses, embedding: places of what is sent of them.
        size: characters of the body.
    """

    place: int
    item_id: str
    body: dict[str, Any]
    image: Image | None
    analyses: list[int] = field(default_factory=list)
    embedding: int | None = None
    size: int = 0


@dataclass
class Reader:
    """Reads the copy of a source.

    Args:
        folder: of the images, resolved; None where there is none.
        manifest: whether images are to be in one.
        without_images: whether an item may come without its image.
        model: that makes the deployment's vectors; None where nobody asked it.
    """

    scratch: Scratch
    folder: Path | None
    manifest: bool
    without_images: bool
    model: str | None

    def orphans(self) -> None:
        """Note what belongs to no item."""
        for table in ("analyses", "embeddings"):
            for place in self.scratch.orphans(table):
                self.scratch.note(table, place, "failed", "orphan", "It belongs to no item of the source.")

    def read(self, kept: Kept) -> Coming | None:
        """Return what is sent of an item; None where nothing is, which is noted by then."""
        try:
            row = _row(kept)
            item = import_rows.read_item(row)
            if self.scratch.first_of_item(str(item.item_id)) != kept.place:
                # What belongs to it came with the first.
                self.scratch.note("items", kept.place, "failed", "duplicate_id", "Another item has this id.")
                self._note_image(row, kept.place, "failed", "item_failed", "Its item is not imported.")
                return None
        except RowError as error:
            self._fail(kept, error.code, error.sentence)
            return None
        try:
            image = self._image(kept, row)
        except ImageError as error:
            self._fail(kept, error.code, error.sentence)
            return None
        return self._with_belongings(kept, row, str(item.item_id), image)

    def _image(self, kept: Kept, row: dict[str, Any]) -> Image | None:
        """Return an item's image, None where it may come without.

        Raises:
            ImageError: it may not.
        """
        try:
            if self.folder is None:
                raise ImageError("missing_image", "There is no folder of images.")
            known = self.scratch.brought(kept.item_id or "")
            path = images.find(self.folder, row)
            image = _there_already(known, path) or images.read(path)
            if self.manifest:
                images.check(self.scratch, row, image)
        except ImageError as error:
            if not self.without_images:
                raise
            status = "skipped" if error.code in ("missing_image", "no_image") else "failed"
            self._note_image(row, kept.place, status, error.code, error.sentence)  # type: ignore[arg-type]
            return None
        self.scratch.note(IMAGES, kept.place, "imported", size=image.size, sha256=image.sha256)
        return image

    def _with_belongings(
        self, kept: Kept, row: dict[str, Any], item_id: str, image: Image | None
    ) -> Coming | None:
        announced = ComingImage(size=image.size, sha256=image.sha256) if image else None
        analyses = [each for each in self.scratch.belonging("analyses", item_id) if self._may_come(each)]
        rows = [_row(each) for each in analyses]
        made = import_drafts.Draft(import_rows.read_item(row), announced)
        import_drafts.read_analyses(made, rows)
        coming = Coming(kept.place, item_id, {"item": row}, image)
        if announced is not None:
            coming.body["image"] = announced.model_dump()
        sent = []
        for each, said, part in zip(analyses, rows, made.parts, strict=True):
            if part.status == "refused":
                self.scratch.note("analyses", each.place, "failed", part.code, part.message)
            else:
                coming.analyses.append(each.place)
                sent.append(said)
                self.scratch.note("analyses", each.place, "imported")
        coming.body["analyses"] = sent
        self._add_embedding(coming, made)
        try:
            import_drafts.refuse_nothing(made)
            coming.size = len(json.dumps(coming.body))
            if len(sent) > MOST_ANALYSES or coming.size > MAX_ITEM_BYTES:
                raise RowError("too_long", "What belongs to it is more than one request takes.")
        except RowError as error:
            self._fail(kept, error.code, error.sentence)
            return None
        self.scratch.note("items", kept.place, "imported")
        return coming

    def _add_embedding(self, coming: Coming, made: import_drafts.Draft) -> None:
        """Send the first vector that fits; of the others it is noted why not."""
        for each in self.scratch.belonging("embeddings", coming.item_id):
            if not self._may_come(each):
                continue
            row = _row(each)
            part = import_drafts.read_embedding(made, row, self.model)
            if part.status == "imported" and coming.embedding is not None:
                message = "Another vector of the item is taken."
                self.scratch.note("embeddings", each.place, "skipped", "not_current", message)
            elif part.status == "imported":
                coming.embedding = each.place
                coming.body["embedding"] = row
                self.scratch.note("embeddings", each.place, "imported")
            else:
                status = "skipped" if part.status == "skipped" else "failed"
                self.scratch.note("embeddings", each.place, status, part.code, part.message)  # type: ignore[arg-type]

    def _may_come(self, each: Kept) -> bool:
        """Say whether no other row has its id, and note it where one has."""
        if each.own_id is None or self.scratch.first_with_id(each.table, each.own_id) == each.place:
            return True
        message = "Another row of the table has this id."
        self.scratch.note(each.table, each.place, "failed", "duplicate_id", message)
        return False

    def _fail(self, kept: Kept, code: str, message: str) -> None:
        """Note that an item is not imported, nor what belongs to it."""
        fail_item(self.scratch, kept.place, kept.item_id, code, message)
        if isinstance(kept.row, dict) and self.scratch.outcome(IMAGES, kept.place) is None:
            images_own = code in ImageError.CODES
            self._note_image(
                kept.row,
                kept.place,
                "failed",
                code if images_own else "item_failed",
                message if images_own else "Its item is not imported.",
            )

    def _note_image(self, row: dict[str, Any], place: int, status: Any, code: str, message: str) -> None:
        """Note what became of an image that is not sent: of the size that its row tells."""
        if image_names(row):
            size = row.get("file_size")
            told = size if type(size) is int and 0 <= size < 2**63 else 0
            self.scratch.note(IMAGES, place, status, code, message, size=told)


def fail_item(scratch: Scratch, place: int, item_id: str | None, code: str, message: str) -> None:
    """Note that an item failed, and with it what belongs to it and was not found wanting itself."""
    scratch.note("items", place, "failed", code, message)
    if scratch.outcome(IMAGES, place) == "imported":
        scratch.fail(IMAGES, place, "item_failed", "Its item is not imported.")
    if item_id is None or scratch.first_of_item(item_id) != place:
        return
    for table in ("analyses", "embeddings"):
        for each in scratch.belonging(table, item_id):
            if scratch.outcome(table, each.place) != "failed":
                scratch.note(table, each.place, "failed", "item_failed", "Its item is not imported.")


def _row(kept: Kept) -> dict[str, Any]:
    """Return the columns of a row that are known, a vector's blob as the API takes it.

    Raises:
        RowError: it is no row.
    """
    if not isinstance(kept.row, dict):
        raise RowError("wrong_type", "The row is not an object.")
    row = {name: kept.row[name] for name in COLUMNS[kept.table] if kept.row.get(name) is not None}
    vector = row.get("embedding")
    if kept.table == "embeddings" and isinstance(vector, dict) and BLOB in vector:
        row["embedding"] = vector[BLOB]
    return row


def _there_already(known: dict[str, Any] | None, path: Path) -> Image | None:
    """Return the image that the server has of an item, by what it says itself; None to read the file."""
    if known is None or known["stored"] is None or known["stored"] != known["announced"]:
        return None
    return Image(path, known["stored"]["size"], known["stored"]["sha256"])


def batches(found: Iterator[Coming], most: int) -> Iterator[list[Coming]]:
    """Put items together, so many at the most, and not more than one request may hold."""
    batch: list[Coming] = []
    size = 0
    for each in found:
        if batch and (len(batch) == most or size + each.size > MAX_BODY_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(each)
        size += each.size
    if batch:
        yield batch
