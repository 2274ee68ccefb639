"""What makes a list of numbers a vector of ours, and who makes them."""

import math

import pytest

from shared import embeddings
from shared.embeddings import DIMENSIONS, InvalidVectorError

UNIT = [1.0] + [0.0] * (DIMENSIONS - 1)


def test_a_vector_is_written_as_pgvector_reads_it_and_in_half_precision() -> None:
    written = embeddings.halfvec([0.1, -2.5] + [0.0] * (DIMENSIONS - 2))
    assert written.startswith("[0.099976,-2.5,0,0,")
    assert written.endswith(",0]")
    assert written.count(",") == DIMENSIONS - 1


@pytest.mark.parametrize(
    "vector",
    [
        [],
        UNIT[:-1],
        [*UNIT, 0.0],
        [0.0] * DIMENSIONS,
        [1e-9] * DIMENSIONS,
        [math.nan, *UNIT[1:]],
        [math.inf, *UNIT[1:]],
        [-math.inf, *UNIT[1:]],
        [70_000.0, *UNIT[1:]],
        [None, *UNIT[1:]],
        ["1", *UNIT[1:]],
    ],
    ids=[
        "empty",
        "one too few",
        "one too many",
        "zeros",
        "zeros at half precision",
        "NaN",
        "infinity",
        "minus infinity",
        "beyond half precision",
        "null",
        "text",
    ],
)
def test_what_is_no_direction_in_our_space_is_refused(vector: list[float]) -> None:
    with pytest.raises(InvalidVectorError):
        embeddings.halfvec(vector)


def test_a_million_tokens_cost_the_list_price() -> None:
    assert embeddings.cost_usd(embeddings.VOYAGE, 1_000_000) == pytest.approx(0.02)
    assert embeddings.cost_usd(embeddings.OFFLINE, 1_000_000) == 0
