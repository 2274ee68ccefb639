"""Text from outside, made fit for PostgreSQL and JSON."""

import math
from typing import Any


def clean(text: str) -> str:
    """Return the text without NUL and lone surrogates, which neither text nor jsonb take."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")


def storable(value: Any) -> Any:
    """Return a JSON value that jsonb accepts: texts cleaned, NaN and infinities made null."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {clean(str(key)): storable(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [storable(inner) for inner in value]
    return value
