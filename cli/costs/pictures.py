"""What a picture of a given size takes: between the sizes that were measured, in proportion to its pixels."""

from collections.abc import Mapping
from typing import Any

from cli.costs import data

LEAST_MEGAPIXELS, MOST_MEGAPIXELS = 0.1, 200.0


def between(points: Mapping[float, float], at: float) -> float:
    """Return the value at a place, on the line through the two nearest points or the outermost ones."""
    known = sorted(points)
    above = next((index for index, place in enumerate(known) if place >= at and index), len(known) - 1)
    low, high = known[above - 1], known[above]
    share = (at - low) / (high - low)
    return points[low] + share * (points[high] - points[low])


def _megapixels(name: str) -> float:
    return float(name.removesuffix(" MP"))


def processed(megapixels: float) -> Mapping[str, Any]:
    """Return what image_processor takes for a JPEG."""
    cases: Mapping[str, Mapping[str, Any]] = data.read("measured")["messages"]["image_processor"]
    nearest = min(cases, key=lambda name: abs(_megapixels(name) - megapixels))
    cpu = between({_megapixels(name): each["cpu_ms"] for name, each in cases.items()}, megapixels)
    return {**cases[nearest], "cpu_ms": max(cpu, 0.0)}


def object_bytes(megapixels: float) -> dict[str, float]:
    """Return the bytes of original, web image and thumbnail."""
    cases: Mapping[str, Mapping[str, float]] = data.read("measured")["object_bytes"]
    kinds = next(iter(cases.values()))
    return {
        kind: max(
            between({_megapixels(name): sizes[kind] for name, sizes in cases.items()}, megapixels)
            if kind == "original"
            # These do not grow with a picture that is larger than they are.
            else cases[min(cases, key=lambda name: abs(_megapixels(name) - megapixels))][kind],
            0.0,
        )
        for kind in kinds
    }
