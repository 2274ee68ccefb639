"""How well an item answers a question: numbers from 0 to 1, as expressions of SQL.

Words. Each different word of the question has a weight, the rarer it is among the user's items the greater:
`ln(1 + (N - n + 0.5) / (n + 0.5))` for a word that stands in `n` of `N` documents, as in BM25 (Robertson and
Zaragoza, "The Probabilistic Relevance Framework", 2009). Each has a worth in each item, from 0 to 1, for
where and how often it stands there, and in which form: itself, another spelling, another word for the same.
The score of words is the mean of the worths by the weights: the share of the question that the item's text
holds. A word that nothing holds has the greatest weight of all, so that an item which misses it cannot score
high.

Meaning. The cosine of both vectors, from what strangers have (0) to the very same text (1).

Both. `1 - (1 - words) * (1 - meaning)`: evidence adds up, what one half finds well needs no other, and what
both find stands above what either finds as well alone. Vectors that know no meanings only read the same words
once more: there the greater of both counts.

A score depends on the question, the item and how frequent the words are among the user's items: on no other
item, no filter and no page. So ranking and cut-off agree. How the constants were chosen is told in
docs/decisions/0018-ranking-by-measurement.md.
"""

import math
from collections.abc import Sequence

from functions.api.terms import Way
from shared.embeddings import OFFLINE, VectorModel

WEIGHTS = "{0.2, 0.4, 0.6, 1.0}"
"""Of a word read in the picture (D), said of it (C), in its name or tags (B), in headline or category (A)."""
NUMBER_WEIGHTS = "{0.6, 0.6, 0.6, 1.0}"
"""Of a number: nearly all are read in the picture, and mean no less for it."""
HALF_WORTH = 0.12
"""What ts_rank says of a word that is worth a half, in a document of usual length. Once in the headline it
says 0.61, worth 0.84; in the name 0.36, worth 0.75; in the summary 0.24, worth 0.67; read in it 0.12, 0.5."""
LENGTH_SHARE = 0.3
"""How much a document's length counts: 0 not at all, 1 in full, as b of BM25."""
USUAL_LENGTH = 60
"""Different words of a document of usual length."""

STILLNESS = (
    f"{HALF_WORTH * (1 - LENGTH_SHARE)}::float8"
    f" + {HALF_WORTH * LENGTH_SHARE / USUAL_LENGTH}::float8 * length(document)"
)
"""What a word's rank is measured against, by the length of the document. In float8 throughout: numeric, which
a bare constant is, would cost as much as all that is ranked."""
FOREIGN = 1000
"""Documents of nobody in which no word of a question stands, as if they were the user's too: among ten
pictures, a word that one of them holds is as telling as among a thousand."""
UNHEARD_OF = 1.75
"""How much more a word weighs that nothing holds: the question is about something that is not there. Of
several each weighs less, by the root of their number: a long question says the same more than once."""


def worth(number: int, ways: Sequence[Way]) -> str:
    """Return what a word is worth in a document: that of the best way in which it says it.

    Each is measured by ts_rank, the weights of its places, the best in full, the others less and less,
    against `stillness`.
    """
    each = [_worth(f"%({parameter(number, place)})s::tsquery", way) for place, way in enumerate(ways)]
    return each[0] if len(each) == 1 else f"greatest({', '.join(each)})"


def _worth(query: str, way: Way) -> str:
    weights = NUMBER_WEIGHTS if way.is_number else WEIGHTS
    rank = f"ts_rank('{weights}', document, {query})"
    if way.is_one_of and len(way.lexemes) > 1:  # among which it shares the rank
        rank = f"{len(way.lexemes)} * {rank}"
    worth = f"1 - stillness / ({rank} + stillness)"
    if way.worth != 1:
        worth = f"{way.worth} * ({worth})"
    # It does not ask whether they stand side by side.
    return worth if way.is_one_of else f"CASE WHEN document @@ {query} THEN {worth} ELSE 0 END"


def parameter(number: int, place: int) -> str:
    """Return the name of the parameter that holds a way to say a word."""
    return f"term_{number}_{place}"


def unheard_of(count: int) -> str:
    """Return the weight of a word that nothing holds, from the counts `documents`, `holding_0`, ..."""
    missing = " + ".join(f"(holding_{number} = 0)::int" for number in range(count))
    return f"{UNHEARD_OF} / sqrt(greatest(1, {missing})) * ln(2 + 2 * (documents + {FOREIGN}))"


def weight(number: int) -> str:
    """Return a word's weight, from `unheard_of` and the counts `documents`, `holding_0`, ..."""
    rarity = f"ln(1 + (documents + {FOREIGN + 0.5} - holding_{number}) / (holding_{number} + 0.5))"
    return f"CASE holding_{number} WHEN 0 THEN unheard_of ELSE {rarity} END"


def weights(documents: float, holding: Sequence[float]) -> list[float]:
    """Return the weights of all words, in numbers."""
    unheard_of = UNHEARD_OF / math.sqrt(max(1, sum(count == 0 for count in holding)))
    return [
        (1 if count > 0 else unheard_of) * math.log(1 + (documents + FOREIGN - count + 0.5) / (count + 0.5))
        for count in holding
    ]


def words(count: int) -> str:
    """Return the score of words, from `worth_0` ... and `weight_0` ..."""
    worths = " + ".join(f"weight_{n} * worth_{n}" for n in range(count))
    weights = " + ".join(f"weight_{n}" for n in range(count))
    return f"({worths}) / ({weights})"


def meaning(similarity: str, model: VectorModel) -> str:
    """Return the score of meaning of a cosine, which is null where there is no vector."""
    least = model.minimum_similarity
    return f"least(1, greatest(0, ({similarity} - {least}) / {1 - least}))"


def both(words: str, meaning: str, model: VectorModel) -> str:
    """Return the score of an item, where each half may be null."""
    if model.knows_meanings:
        return f"1 - (1 - coalesce({words}, 0)) * (1 - coalesce({meaning}, 0))"
    return f"greatest({words}, {meaning}, 0)"


def enough(by_words: bool, by_meaning: bool, model: VectorModel) -> float | None:
    """Return the least score of a hit where nobody says one; None for all above 0."""
    if not by_words:
        return None
    return model.enough if by_meaning else OFFLINE.enough
