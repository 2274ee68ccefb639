"""How well an item answers a question: numbers from 0 to 1, as expressions of SQL.

Words. Each different word of the question has a weight, the rarer it is among the user's items the greater:
`ln(1 + (N - n + 0.5) / (n + 0.5))` for a word that stands in `n` of `N` documents, as in BM25 (Robertson and
Zaragoza, "The Probabilistic Relevance Framework", 2009). Each has a worth in each item, from 0 to 1, for
where and how often it stands there. The score of words is the mean of the worths by the weights: the share
of the question that the item's text holds. A word that nothing holds has the greatest weight of all, so that
an item which misses it cannot score high.

Meaning. The cosine of both vectors, from what strangers have (0) to the very same text (1).

Both. `1 - (1 - words) * (1 - meaning)`: evidence adds up, what one half finds well needs no other, and what
both find stands above what either finds as well alone.

A score depends on the question, the item and how frequent the words are among the user's items: on no other
item, no filter and no page. So ranking and cut-off agree.
"""

from shared.embeddings import VectorModel

WEIGHTS = "{0.1, 0.2, 0.4, 1.0}"
"""Of a word read in the picture (D), said of it (C), in its name or tags (B), in headline or category (A)."""
HALF_WORTH = 0.25
"""What ts_rank says of a word that is worth a half, in a document of usual length. Once in the headline it
says 0.61, worth 0.71; in the name 0.24, worth 0.49; in the summary 0.12, worth 0.33; read in it 0.06, 0.2."""
LENGTH_SHARE = 0.3
"""How much a document's length counts: 0 not at all, 1 in full, as b of BM25."""
USUAL_LENGTH = 60
"""Different words of a document of usual length."""

STILLNESS = (
    f"({HALF_WORTH} * ({1 - LENGTH_SHARE} + {LENGTH_SHARE / USUAL_LENGTH} * length(document)))::float8"  # noqa: S608
)
"""What a word's rank is measured against, by the length of the document."""


def rank(number: int) -> str:
    """Return ts_rank of one word: the weights of its places, the best in full, the others less and less."""
    return f"ts_rank('{WEIGHTS}', document, %(term_{number})s::tsquery)::float8"


def weight(number: int) -> str:
    """Return a word's weight, from the counts `documents` and `holding_0`, `holding_1`, ..."""
    return f"ln(1 + (documents - holding_{number} + 0.5) / (holding_{number} + 0.5))"


def words(count: int) -> str:
    """Return the score of words, from `rank_0` ..., `weight_0` ... and `stillness`."""
    worths = " + ".join(f"weight_{n} * rank_{n} / (rank_{n} + stillness)" for n in range(count))
    weights = " + ".join(f"weight_{n}" for n in range(count))
    return f"({worths}) / ({weights})"


def meaning(similarity: str, model: VectorModel) -> str:
    """Return the score of meaning of a cosine, which is null where there is no vector."""
    least = model.minimum_similarity
    return f"least(1, greatest(0, ({similarity} - {least}) / {1 - least}))"


def both(words: str, meaning: str) -> str:
    """Return the score of an item, where each half may be null."""
    return f"1 - (1 - coalesce({words}, 0)) * (1 - coalesce({meaning}, 0))"
