"""How the models that described a collection agree with its reviewed analyses."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

from rich.text import Text

from cli.client import Api, ApiError
from cli.evaluating.agreement import FIELDS, agreement
from cli.evaluating.answers import LOOKUPS
from cli.evaluating.report import Document
from cli.evaluating.reviewed import Review, Reviewed
from cli.evaluating.tables import number, print_packed
from cli.output import Output, listed, short_ids, styled, table

FURTHEST = 3
"""Items that are shown of each model."""
LEGEND = (
    "1 is the same, 0 nothing in common. Category and poster: exact; lists and extracted text: F1 of their "
    "words; sentences: share of their different words that are in both. All: mean of the fields."
)

Stored = dict[str, Any]
"""A version of an analysis, as the API tells of it."""


def stored_analyses(api: Api, items: Iterable[Reviewed]) -> dict[str, list[Stored] | None]:
    """Return all versions of the items' analyses, the newest first; None of items that are not there.

    Raises:
        CommandError: the API does not answer.
    """

    def one(item: Reviewed) -> list[Stored] | None:
        try:
            UUID(item.item_id)
        except ValueError:
            return None
        try:
            return list(api.analyses(item.item_id))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    reviewed = list(items)
    with ThreadPoolExecutor(LOOKUPS) as threads:
        return dict(zip((item.item_id for item in reviewed), threads.map(one, reviewed), strict=True))


def document(review: Review, stored: Mapping[str, list[Stored] | None]) -> Document:
    """Return the whole result: of each model its newest analysis of each item counts."""
    by_model: dict[tuple[str, str], list[Document]] = defaultdict(list)
    for item in review.items:
        newest: dict[tuple[str, str], Stored] = {}
        for version in stored[item.item_id] or ():
            newest.setdefault((version["provider"], version["model"]), version)
        for model, version in newest.items():
            fields = agreement(item.fields, version["analysis"])
            by_model[model].append(
                {
                    "item_id": item.item_id,
                    "version": version["version"],
                    "headline": version["headline"],
                    "score": _mean(list(fields.values())),
                    "fields": {name: round(value, 6) for name, value in fields.items()},
                }
            )
    models = [_model(model, compared) for model, compared in by_model.items()]
    return {
        "models": sorted(models, key=lambda model: -model["score"]),
        "reviewed": len(review.items),
        "missing_items": [item_id for item_id, versions in stored.items() if versions is None],
        "undescribed_items": [item_id for item_id, versions in stored.items() if versions == []],
        "unknown_fields": review.unknown,
    }


def _model(model: tuple[str, str], compared: Sequence[Document]) -> Document:
    fields = {}
    for name in FIELDS:
        values = [item["fields"][name] for item in compared if name in item["fields"]]
        if values:
            fields[name] = {"score": _mean(values), "count": len(values)}
    return {
        "provider": model[0],
        "model": model[1],
        "score": _mean([each["score"] for each in fields.values()]),
        "count": len(compared),
        "fields": fields,
        "items": sorted(compared, key=lambda item: item["score"]),
    }


def _mean(values: Sequence[float]) -> float:
    """Return the mean; 1 where neither the review nor the model says anything."""
    return round(sum(values) / len(values), 6) if values else 1.0


def show(out: Output, document: Document) -> None:
    """Print how the models agree: a row for each field, a column for each model."""
    models = document["models"]
    if models:
        columns = names(models)
        fields = [name for name in FIELDS if any(name in model["fields"] for model in models)]
        rows = [
            ("items", {each: str(model["count"]) for each, model in zip(columns, models, strict=True)}),
            ("all", {each: number(model["score"]) for each, model in zip(columns, models, strict=True)}),
        ]
        for name in fields:
            scores = [model["fields"].get(name, {"score": None})["score"] for model in models]
            rows.append((label(name), dict(zip(columns, map(number, scores), strict=True))))
        print_packed(out, "Field", rows, [[column] for column in columns])
        for column, model in zip(columns, models, strict=True):
            _show_furthest(out, column, model)
        out.note(LEGEND, "dim")
    for line in remarks(document):
        out.note(line, "yellow")


def names(models: Iterable[Document]) -> list[str]:
    """Return what models are called."""
    return [f"{model['provider']} {model['model']}" for model in models]


def label(name: str) -> str:
    """Return what a field is called: `extracted text`."""
    return name.rpartition(".")[2].replace("_", " ")


def _show_furthest(out: Output, name: str, model: Document) -> None:
    items = [item for item in model["items"] if item["score"] < 1][:FURTHEST]
    if not items:
        return
    out.show(Text(), styled(f"Furthest from its review: {name}", "bold"))
    listing = table("Score", "Item", "Least agreeing", "Headline", right=("Score",), whole=("Item",))
    for item, short in zip(items, short_ids([item["item_id"] for item in items]), strict=True):
        listing.add_row(
            styled(number(item["score"])),
            styled(short),
            styled(", ".join(least(item))),
            styled(item["headline"]),
        )
    out.show(listing)


def least(item: Document) -> list[str]:
    """Return the fields of an item that agree least, up to three."""
    ordered = sorted(item["fields"].items(), key=lambda pair: pair[1])
    return [f"{label(name)} {value:.2f}" for name, value in ordered[:3] if value < 1]


def remarks(document: Document) -> list[str]:
    """Return sentences on what a reader of the figures has to know."""
    lines = []
    missing, undescribed = document["missing_items"], document["undescribed_items"]
    if missing:
        lines.append(
            f"Not in this collection: {listed(len(missing), 'reviewed item')}, such as {missing[0]}."
        )
    if undescribed:
        items = listed(len(undescribed), "reviewed item")
        lines.append(f"Described by no model: {items}, such as {undescribed[0]}.")
    if len({model["count"] for model in document["models"]}) > 1:
        lines.append(
            "The models did not describe the same items, so their figures cannot simply be compared."
        )
    if document["unknown_fields"]:
        lines.append(f"No analysis has, so nothing was compared: {', '.join(document['unknown_fields'])}.")
    return lines
