"""Vectors without a model: words and parts of words, hashed into 1024 signed dimensions.

The hashing trick (Weinberger et al., "Feature Hashing for Large Scale Multitask Learning", 2009):
every feature adds or subtracts its weight at the places that its hash names, so that no vocabulary
has to be kept and two texts are close when they share features. A word is one feature, and the
runs of three and four letters in it are others, as in fastText (Bojanowski et al., 2017): that is how
`photographer` comes near `photography`. It knows spellings, not meanings.

The same text gives the same vector in every process and on every machine: Python's own hash, which
does not, is not used. Whatever changes a vector needs a new name in `shared.embeddings`, because
vectors of two kinds cannot be compared.
"""

import math
import re
import unicodedata
from collections import Counter
from functools import lru_cache
from zlib import crc32

DIMENSIONS = 1024
_INDEX_BITS = 10

WORD_PLACES = 4
"""Places that share a word's weight of 1. With one place, a word meets some other word of every
fortieth description by accident and looks like a full match; with four it is a quarter of one."""
PARTS_WEIGHT = 0.6
"""Length of all parts of one word together: two words that share a third of their parts are about 0.1
alike, which is felt between a question and a short text, and drowned by one word that really matches."""

MAX_CHARACTERS = 100_000
MAX_WORDS = 4_000
"""What is read of a text; the rest could not move the vector of so long a text any more."""
MAX_LETTERS = 64
"""Letters read of a word: base64 in a picture is a "word" of thousands."""

_WORDS = re.compile(r"[^\W_]+")

# English function words, and the words that every question to a picture archive holds.
STOP_WORDS = frozenset(
    """
    a about above after again all also am an and any are as at be because been before being below
    between both but by can could did do does doing down during each else every few for from further
    had has have having he her here hers him his how i if in into is it its itself just me more most my
    near no nor not now of off on once only or other our ours out over own s same she should so some
    such t than that the their theirs them then there these they this those through to too under until
    up us very was we were what when where which while who whom why will with would you your yours
    anything contain contains containing depict depicted depicting depicts display displayed displays
    everything feature featured features featuring find found get give image images let like look
    looking looks one photo photograph photographs photos pic pics picture pictured pictures please
    search see seen shot shots show showed showing shown shows something taken
    """.split()  # noqa: SIM905 - a list literal would be 160 lines
)


def embed(text: str) -> list[float] | None:
    """Return the vector of a text: 1024 numbers of length 1 together, or None where it has no words.

    None is for a text of punctuation, symbols or nothing. A text of stop words alone is taken by
    its word, so that everything with a letter or a digit in it has a vector.
    """
    words = _read(text)
    kept = [word for word in words if word not in STOP_WORDS] or words
    vector = [0.0] * DIMENSIONS
    for word, count in Counter(map(stem, kept)).items():
        frequency = 1.0 + math.log(count)
        for place, weight in _features(word):
            vector[place] += frequency * weight
    length = math.sqrt(math.fsum([value * value for value in vector if value]))
    if length < 1e-6:
        # No words; or a few whose features cancel each other out, which no text but a hostile one has.
        return None
    return [value / length for value in vector]


def _read(text: str) -> list[str]:
    """Return the words of a text: lower case, without accents and the difference of compatible forms."""
    folded = unicodedata.normalize("NFKD", text[:MAX_CHARACTERS]).casefold()
    bare = "".join(letter for letter in folded if not unicodedata.combining(letter))
    return [word[:MAX_LETTERS] for word in _WORDS.findall(bare)[:MAX_WORDS]]


def stem(word: str) -> str:
    """Take off an English ending where that is safe; both sides of a comparison lose the same.

    After the first steps of Porter's stemmer ("An algorithm for suffix stripping", 1980).
    """
    if len(word) < 4 or not word.isascii() or not word.isalpha():
        return word
    if word.endswith(("sses", "shes", "ches", "xes", "zes")):
        word = word[:-2]
    elif word.endswith("ies"):
        word = word[:-3] + "y"
    elif word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    for ending in ("ing", "ed"):
        root = word.removesuffix(ending)
        if root != word and len(root) > 2 and re.search("[aeiouy]", root):
            # running, stopped: one of the doubled letters belonged to the ending
            word = root[:-1] if root[-1] == root[-2] and root[-1] not in "lsz" else root
            break
    # skate and skating, colour and color, centre and center come to the same
    if len(word) > 4 and word.endswith("our"):
        return word[:-2] + "r"
    if len(word) > 4 and word.endswith("tre"):
        return word[:-2] + "er"
    return word.removesuffix("e") if len(word) > 3 else word


@lru_cache(maxsize=20_000)
def _features(word: str) -> tuple[tuple[int, float], ...]:
    """Return the places of a word in the vector, each with its signed weight."""
    framed = f"<{word}>"
    parts = {framed[start : start + size] for size in (3, 4) for start in range(len(framed) - size + 1)}
    parts.discard(framed)
    each = PARTS_WEIGHT / math.sqrt(len(parts)) if parts else 0.0
    return (
        *(_place(f"{number}{word}", 1.0 / math.sqrt(WORD_PLACES)) for number in range(WORD_PLACES)),
        *(_place(f"p{part}", each) for part in sorted(parts)),
    )


def _place(feature: str, weight: float) -> tuple[int, float]:
    # CRC-32 is linear: similar words would meet in similar places. A multiplication spreads them
    # (Knuth's 2^32 divided by the golden ratio), and its upper bits are the well mixed ones.
    mixed = crc32(feature.encode()) * 0x9E3779B1 & 0xFFFFFFFF
    index = mixed >> (32 - _INDEX_BITS)
    return index, weight if mixed >> (31 - _INDEX_BITS) & 1 else -weight
