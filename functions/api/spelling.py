"""What a word that no document of the user holds may have been meant for: a slip of the pen, a word that was
not ended, two words written as one.

Compared is with the words that the user's own documents hold, of which the database gives those that begin or
end like it: one slip leaves the one or the other.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from shared import database

SHORTEST = 4
"""Letters of a word that may be misspelt: of three, every second one is a slip away from another word."""
LONGEST = 32
"""Letters of a word that is kept to be compared with; see `search_words`."""
LONG = 8
"""Letters of a word in which two slips are taken for slips."""
MOST_WORDS = 8
"""Words of a question that are looked after; whoever asks with more knows what they are called."""
CANDIDATES = 2_000
"""Words that begin, and that end, like a word. The 60,000 words of 20,000 pictures have some hundreds."""
LONG_ENOUGH = 5
"""Letters of a word that may be the beginning of another."""
MEANT = 3
"""Words that one may have been meant for, of those that are equally near."""
ENDINGS = 4
"""Words that one may be the beginning of, the shortest first."""

# Of words of the kind that are kept; see `search_words`.
HELD = """
SELECT lexeme
  FROM unnest(%(lexemes)s::text[]) AS asked (lexeme)
 WHERE EXISTS (SELECT FROM search_words
                WHERE search_words.user_id = %(user_id)s AND search_words.lexeme = asked.lexeme)
"""

# A word begins as its lexeme does, but for the last letter of short ones.
ALIKE = """
SELECT asked.word AS asked, begins.word, begins.lexeme
  FROM unnest(%(words)s::text[], %(firsts)s::text[]) AS asked (word, first)
  CROSS JOIN LATERAL (SELECT word, lexeme
                        FROM search_words
                       WHERE user_id = %(user_id)s AND lexeme >= asked.first
                         AND lexeme < asked.first || %(above)s
                       LIMIT %(limit)s) AS begins
UNION
SELECT asked.word AS asked, ends.word, ends.lexeme
  FROM unnest(%(words)s::text[], %(lasts)s::text[]) AS asked (word, last)
  CROSS JOIN LATERAL (SELECT word, lexeme
                        FROM search_words
                       WHERE user_id = %(user_id)s AND reverse(word) >= asked.last
                         AND reverse(word) < asked.last || %(above)s
                       LIMIT %(limit)s) AS ends
"""
_ABOVE = "\U0010ffff"
"""The greatest character: what begins like a text is not before the text and before it with this one."""


@dataclass(frozen=True)
class Meant:
    """What a word may have been meant for.

    Attributes:
        lexemes: one, or several that stand side by side.
        slips: letters that differ; with none it was only not ended, or not taken apart.
    """

    lexemes: tuple[str, ...]
    slips: int = 0


def may_be_kept(word: str) -> bool:
    """Return whether a word is of the kind that is kept: of letters only, neither short nor endless."""
    return SHORTEST <= len(word) <= LONGEST and word.isalpha()


def held(user_id: str, lexemes: Iterable[str]) -> set[str]:
    """Return those of some lexemes that a document of the user may hold: only of long words it is known."""
    asked = set(lexemes)
    kept = [lexeme for lexeme in asked if may_be_kept(lexeme)]
    if not kept:
        return asked
    rows = database.fetch_all(HELD, {"user_id": user_id, "lexemes": kept})
    return asked - set(kept) | {row["lexeme"] for row in rows}


def alike(user_id: str, words: Iterable[str]) -> dict[str, list[Meant]]:
    """Return what words may have been meant for that no document of the user holds.

    Args:
        words: folded and in lower case.
    """
    asked = [word for word in words if may_be_kept(word)][:MOST_WORDS]
    if not asked:
        return {}
    heads = [2 if len(word) < 6 else 3 for word in asked]
    rows = database.fetch_all(
        ALIKE,
        {
            "user_id": user_id,
            "words": asked,
            "firsts": [word[:head] for word, head in zip(asked, heads, strict=True)],
            "lasts": [word[: -head - 1 : -1] for word, head in zip(asked, heads, strict=True)],
            "above": _ABOVE,
            "limit": CANDIDATES,
        },
    )
    found: dict[str, dict[str, str]] = {}
    for row in rows:
        found.setdefault(row["asked"], {})[row["word"]] = row["lexeme"]
    return {word: meant for word, known in found.items() if (meant := meant_for(word, known))}


def meant_for(asked: str, known: dict[str, str]) -> list[Meant]:
    """Return what a word may have been meant for.

    Args:
        known: words that begin or end like it, with their lexemes.
    """
    halves = [
        (known[asked[:place]], known[asked[place:]])
        for place in range(3, len(asked) - 2)
        if asked[:place] in known and asked[place:] in known
    ]
    longer = sorted(
        (word for word in known if len(asked) >= LONG_ENOUGH and word.startswith(asked)),
        key=lambda word: (len(word), word),
    )
    if halves or longer:
        ended = list(dict.fromkeys((known[word],) for word in longer))[:ENDINGS]
        return [Meant(lexemes) for lexemes in [*halves[:MEANT], *ended]]
    allowed = 2 if len(asked) >= LONG else 1
    near: dict[int, list[str]] = {}
    for word in known:
        # Hardly anybody slips on the first letter, and too many words are told apart by it alone.
        if word[0] == asked[0] and (slips := distance(asked, word, allowed)) is not None:
            near.setdefault(slips, []).append(word)
    if not near:
        return []
    fewest = min(near)
    lexemes = dict.fromkeys(known[word] for word in sorted(near[fewest]))
    return [Meant((lexeme,), max(1, fewest)) for lexeme in list(lexemes)[:MEANT]]


def distance(one: str, other: str, most: int) -> int | None:
    """Return how many letters differ, are missing or too many, or changed places; None for more than `most`.

    Optimal string alignment (Damerau, "A technique for computer detection and correction of spelling errors",
    1964). A sound that is written in two ways is one slip, whatever number of letters it is.
    """
    one, other = _sounds(one), _sounds(other)
    if abs(len(one) - len(other)) > most:
        return None
    # What both begin and end with makes no difference, and is most of them.
    start, shorter = 0, min(len(one), len(other))
    while start < shorter and one[start] == other[start]:
        start += 1
    end = 0
    while end < shorter - start and one[-1 - end] == other[-1 - end]:
        end += 1
    one, other = one[start : len(one) - end], other[start : len(other) - end]
    before: list[int] = []
    row = list(range(len(other) + 1))
    for place, letter in enumerate(one, start=1):
        following = [place]
        for at, another in enumerate(other, start=1):
            least = min(row[at] + 1, following[at - 1] + 1, row[at - 1] + (letter != another))
            if place > 1 and at > 1 and letter == other[at - 2] and one[place - 2] == another:
                least = min(least, before[at - 2] + 1)
            following.append(least)
        if min(following) > most:
            return None
        before, row = row, following
    return row[-1] if row[-1] <= most else None


def _sounds(word: str) -> str:
    """Return a word with one sign for sounds that English writes with two."""
    for letters, sign in (("ph", "f"), ("ck", "k"), ("sch", "sh"), ("qu", "kw")):
        word = word.replace(letters, sign)
    return word
