"""How money and time grow with the number of pictures."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cli.costs import bill, data, database, memory, models, pictures
from cli.costs.database import Machine
from cli.costs.models import Described

BATCH = 128
"""Messages that the embedder takes at once when many wait: BatchSize in template.yaml."""
TRANSITIONS = 7
"""State transitions of an item that is analysed and embedded again (docs/operations.md)."""


@dataclass(frozen=True)
class Grown:
    """One size.

    Attributes:
        once_usd, once_offline_usd: to bring all of them in, with the model and without.
        again_usd: to analyse and embed all of them again, with the model.
        month_usd: to keep them: objects, database, and what is paid for anyway.
        bring_seconds, bring_offline_seconds, again_seconds: what these take.
        machine: None where the largest is too small.
    """

    items: int
    settings: Mapping[str, int]
    once_usd: float
    once_offline_usd: float
    again_usd: float
    month_usd: float
    bring_seconds: float
    bring_offline_seconds: float
    again_seconds: float
    database_bytes: float
    machine: Machine | None
    bites: str
    lifts: str
    sources: tuple[str, ...]


def rows(megapixels: float, described: Described, seconds: float) -> list[Grown]:
    """Return one row for each size that growth.json has settings for."""
    return [grown(row, megapixels, described, seconds) for row in data.read("growth")["rows"]]


def grown(row: Mapping[str, Any], megapixels: float, described: Described, seconds: float) -> Grown:
    """Return what one size costs and takes, with the settings of its row."""
    items = int(row["items"])
    machine = database.fitting(items, row["run"])
    month = (
        items * bill.kept(megapixels).usd
        + database.storage_usd(items)
        + (machine.usd_month if machine else 0.0)
        + bill.total(bill.idle(in_vpc=False))
    )
    allowed = allowed_a_second(described) * row["model_times"]
    return Grown(
        items=items,
        settings={
            name: row[name] for name in ("image_processor", "analyzer", "embedder", "run", "model_times")
        },
        once_usd=items * bill.total(bill.picture(megapixels, described, seconds)),
        once_offline_usd=items * bill.total(bill.picture(megapixels, None, seconds)),
        again_usd=items * again_usd(described, seconds),
        month_usd=month,
        bring_seconds=items / min(brought_a_second(row, megapixels, "model", seconds), allowed),
        bring_offline_seconds=items / brought_a_second(row, megapixels, "offline", 0.0),
        again_seconds=items / min(row["run"] / again_each_seconds(seconds), allowed),
        database_bytes=database.size_bytes(items),
        machine=machine,
        bites=row["bites"],
        lifts=row["lifts"],
        sources=tuple(row["sources"]),
    )


def allowed_a_second(described: Described) -> float:
    """Return how many descriptions a second the model's limits allow."""
    limits = data.read("growth")["model_limits"]
    return float(
        min(
            limits["requests_a_minute"],
            limits["input_tokens_a_minute"] / described.input_tokens,
            limits["output_tokens_a_minute"] / described.output_tokens,
        )
        / 60
    )


def seconds_of(name: str, took: Mapping[str, Any], model_seconds: float = 0.0) -> float:
    """Return how long a message takes with the memory that the template gives the function."""
    return memory.work(took, model_seconds).duration_ms(data.stack().functions[name].memory_mb) / 1000


def brought_a_second(settings: Mapping[str, int], megapixels: float, how: str, seconds: float) -> float:
    """Return how many pictures pass the slowest stage in a second, whatever the model allows."""
    vectors = data.assumed("vectors_seconds") if how == "model" else 0.0
    embedded = data.measured("embedder", f"{how}, {BATCH}")
    return min(
        settings["image_processor"] / seconds_of("ImageProcessor", pictures.processed(megapixels)),
        settings["analyzer"] / seconds_of("Analyzer", data.measured("analyzer", how), seconds),
        settings["embedder"] * BATCH / seconds_of("Embedder", embedded, vectors),
    )


def again_each_seconds(seconds: float) -> float:
    """Return how long an item of a run takes that is analysed and embedded, one after the other."""
    vectors = data.assumed("vectors_seconds")
    return seconds_of("Analyzer", data.measured("analyzer", "model"), seconds) + seconds_of(
        "Embedder", data.measured("embedder", "model, 1"), vectors
    )


def again_usd(described: Described, seconds: float) -> float:
    """Return what one item of such a run costs."""
    vectors = data.assumed("vectors_seconds")
    lines = [
        *bill.invocation("Analyzer", data.measured("analyzer", "model"), seconds, polled=False),
        *bill.invocation("Embedder", data.measured("embedder", "model, 1"), vectors, polled=False),
    ]
    steps = TRANSITIONS * data.price("state_transition")
    return bill.total(lines) + steps + described.usd + models.vector_usd()
