"""Reviewed analyses: what people say that a model should have said of some items."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.errors import CommandError
from cli.evaluating.agreement import FIELDS, LISTS, NOTHING, value_at
from cli.measures import item_key, read_json, told

PARTS = ("media_metadata", "image_details")
"""Fields of an analysis that hold fields."""


@dataclass(frozen=True)
class Reviewed:
    """What an analysis of an item should say: any of its fields, by their dotted names."""

    item_id: str
    fields: dict[str, Any]


@dataclass(frozen=True)
class Review:
    """A file of reviewed analyses.

    Attributes:
        unknown: names in it that no analysis has, which are not compared.
    """

    items: list[Reviewed]
    unknown: list[str]


def read(path: Path) -> Review:
    """Read reviewed analyses: `{"items": [{"item_id", "analysis"}]}`, or a plain export.

    Raises:
        CommandError: `bad_review`; says of every fault where it is, up to ten of them.
        OSError: there is no such file, or it cannot be read.
    """
    document = read_json(path, "bad_review")
    faults: list[str] = []
    items: dict[str, Reviewed] = {}
    unknown: set[str] = set()
    for place, item_id, analysis in _entries(document, path, faults):
        fields = _fields(analysis, place, faults, unknown)
        if item_id in items:
            faults.append(f"{place}: item_id {item_id} is there twice")
        elif not fields:
            faults.append(f"{place} holds no field of an analysis")
        items[item_id] = Reviewed(item_id, fields)
    if faults:
        raise CommandError("bad_review", told(path, faults))
    if not items:
        raise CommandError("bad_review", f"{path}: there is no reviewed analysis in it.")
    return Review(list(items.values()), sorted(unknown))


def _entries(document: Any, path: Path, faults: list[str]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield where each analysis is, of which item, and what it says."""
    if isinstance(document, dict) and isinstance(document.get("items"), list):
        rows = [(f"items[{place}]", row) for place, row in enumerate(document["items"])]
        name = "analysis"
    else:
        tables = document.get("tables") if isinstance(document, dict) else None
        exported = tables.get("analyses") if isinstance(tables, dict) else None
        if not isinstance(exported, list):
            raise CommandError(
                "bad_review",
                f'{path}: reviewed analyses are an object {{"items": [{{"item_id", "analysis"}}]}}, or an '
                'export {"tables": {"analyses": [...]}}.',
            )
        rows = _newest(exported)
        name = "raw_response"
    for place, row in rows:
        if not isinstance(row, dict) or not isinstance(row.get("item_id"), str):
            faults.append(f"{place} is no object with an item_id")
            continue
        analysis = _object(row.get(name))
        if analysis is None:
            faults.append(f"{place}: {name} is no analysis; it must be an object")
            continue
        yield place, item_key(row["item_id"].strip()), analysis


def _newest(exported: list[Any]) -> list[tuple[str, Any]]:
    """Return the rows of an export of which none has a later version of the same item."""
    newest: dict[Any, tuple[str, Any]] = {}
    for position, row in enumerate(exported):
        place = f"tables.analyses[{position}]"
        item_id = row.get("item_id") if isinstance(row, dict) else None
        key = item_id if isinstance(item_id, str) else place
        if key not in newest or _version(row) > _version(newest[key][1]):
            newest[key] = place, row
    return list(newest.values())


def _version(row: Any) -> float:
    version = row.get("version") if isinstance(row, dict) else None
    return version if isinstance(version, int | float) else 0


def _object(value: Any) -> Mapping[str, Any] | None:
    """Return an analysis, which exports hold as a text of JSON."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, dict) else None


def _fields(analysis: Mapping[str, Any], place: str, faults: list[str], unknown: set[str]) -> dict[str, Any]:
    """Return the fields that somebody filled in; null says that there is nothing."""
    names = set(analysis) - set(PARTS)
    for part in PARTS:
        inner = analysis.get(part)
        if isinstance(inner, dict):
            names |= {f"{part}.{name}" for name in inner}
        elif inner is not None:
            faults.append(f"{place}: {part} must be an object")
    unknown |= names - set(FIELDS)
    fields = {}
    for name in FIELDS:
        if name not in names:
            continue
        value = value_at(analysis, name)
        wanted = "a list of texts" if FIELDS[name] in LISTS else "a text"
        sound = (
            isinstance(value, list) and all(isinstance(entry, str) for entry in value)
            if FIELDS[name] in LISTS
            else isinstance(value, str)
        )
        if value is not None and not sound:
            faults.append(f"{place}: {name} must be {wanted}, or null where there is nothing")
        fields[name] = NOTHING if value is None else value
    return fields
