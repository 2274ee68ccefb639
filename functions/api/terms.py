"""What full text looks for: the words of a question, and the other ways in which a text may say them."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from functions.api import folding, spelling, thesaurus
from shared import database, hashed_words

JOINED = 1.0
"""Worth of a word that the text writes in one and the question in two, or in another form."""
BEGUN = 0.6
"""Worth of a word that the question's word is only the beginning of."""
MEANT = {1: 0.8, 2: 0.6}
"""Worth of what a word that nothing holds may have been meant for, by the letters that differ."""
SAME = 0.7
"""Worth of another word for the same."""
NARROWER = 0.5
"""Worth of a word for one of what was asked for: a terrier where dogs were looked for."""
APART = 0.2
"""Worth of the parts of a number that stand anywhere, instead of side by side."""

SIGNS = {"€": "euro", "$": "dollar", "£": "pound", "¥": "yen", "%": "percent"}
"""Signs that stand for words; as the database's function `spelt_out` has them."""

MOST_WORDS = 100
"""Words of a question that are read: whoever sends a letter has said what it is about by then."""

_WORD = re.compile(r"[^\W_]+")
_SHORT = 3
"""Letters of a part that may belong to a number, as in 9931-AB or 2024-Q3."""

# What full text makes of a word: nothing of a stop word, several of a word that it takes apart.
TERMS = """
SELECT word, lexeme
  FROM unnest(%(words)s::text[]) WITH ORDINALITY AS asked (word, place)
 CROSS JOIN unnest(tsvector_to_array(to_tsvector('english', plain_words(word)))) AS lexeme
 ORDER BY place, lexeme
"""

Spellings = Mapping[str, Sequence[tuple[Sequence[str], int]]]
"""What words were taken to be meant for; see `spelling.Meant`."""


@dataclass(frozen=True)
class Way:
    """One way in which a text may say a word: lexemes of which one is enough, or that stand side by side.

    Attributes:
        query: for `@@` and ts_rank.
        lexemes: all that are in it.
        worth: of the word found in this way, from 0 to 1.
        is_one_of: one of the lexemes is enough: ts_rank then shares a rank among them, and says more than 0
            only of texts that match.
    """

    query: str
    lexemes: tuple[str, ...]
    worth: float
    is_one_of: bool

    @property
    def is_number(self) -> bool:
        return all(any(letter.isdigit() for letter in lexeme) for lexeme in self.lexemes)

    @classmethod
    def one_of(cls, lexemes: Iterable[str], worth: float) -> "Way":
        kept = tuple(dict.fromkeys(lexemes))
        return cls(" | ".join(map(_quoted, kept)), kept, worth, is_one_of=True)

    @classmethod
    def side_by_side(cls, lexemes: Sequence[str], worth: float) -> "Way":
        return cls(" <-> ".join(map(_quoted, lexemes)), tuple(lexemes), worth, is_one_of=False)

    @classmethod
    def all_of(cls, lexemes: Iterable[str], worth: float) -> "Way":
        kept = tuple(dict.fromkeys(lexemes))
        return cls(" & ".join(map(_quoted, kept)), kept, worth, is_one_of=False)


@dataclass(frozen=True)
class Term:
    """A word as full text knows it.

    Attributes:
        words: of the question that come to it.
        others: ways to say it beside its lexeme.
        number: whether it is a number of several parts, and its lexeme nothing that full text knows.
    """

    lexeme: str
    words: tuple[str, ...]
    others: tuple[Way, ...] = ()
    number: bool = False

    @property
    def ways(self) -> tuple[Way, ...]:
        return self.others if self.number else (Way.one_of([self.lexeme], 1.0), *self.others)

    @property
    def lexemes(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(lexeme for way in self.ways for lexeme in way.lexemes))


@dataclass
class _Found:
    """A term as it is put together: what a text may say instead, each with its worth."""

    words: list[str] = field(default_factory=list)
    ways: dict[tuple[str, ...], float] = field(default_factory=dict)

    def others(self, lexeme: str) -> tuple[Way, ...]:
        """Return the ways, those of one worth together as far as they can be."""
        self.ways.pop((lexeme,), None)
        single: dict[float, list[str]] = {}
        for lexemes, worth in self.ways.items():
            if len(lexemes) == 1:
                single.setdefault(worth, []).append(lexemes[0])
        return (
            *(Way.one_of(lexemes, worth) for worth, lexemes in single.items()),
            *(Way.side_by_side(each, worth) for each, worth in self.ways.items() if len(each) > 1),
        )


@dataclass(frozen=True)
class Word:
    """A word of a question.

    Attributes:
        glued: whether no more than one sign, which is no space, stands between it and the word before.
        touching: whether no more than one sign or space does.
    """

    text: str
    glued: bool
    touching: bool


def split(text: str) -> list[Word]:
    """Return the words of a question, in their order."""
    for sign, word in SIGNS.items():
        text = text.replace(sign, f"  {word}  ")
    words = []
    last = None
    for found in _WORD.finditer(text):
        between = "  " if last is None else text[last : found.start()]
        words.append(Word(found[0], len(between) == 1 and not between.isspace(), len(between) == 1))
        last = found.end()
    return words


def numbers(words: Sequence[Word]) -> list[tuple[int, int]]:
    """Return which words are one number of several parts: a price, a date, a time, the number of an invoice.

    Each as its first word, and the first one behind it.
    """
    found = []
    start = 0
    while start < len(words):
        end = start + 1
        while end < len(words) and (words[end].glued or _goes_on(words[end - 1], words[end])):
            end += 1
        parts = [word.text for word in words[start:end]]
        digits = [any(letter.isdigit() for letter in part) for part in parts]
        if len(parts) > 1 and any(digits) and all(
            has or len(part) <= _SHORT for part, has in zip(parts, digits, strict=True)
        ):  # fmt: skip
            found.append((start, end))
        start = end
    return found


def _goes_on(word: Word, following: Word) -> bool:
    """Return whether two words are the thousands and the rest of one number: 21 900."""
    digits = word.text.isdecimal() and following.text.isdecimal()
    return digits and following.touching and len(word.text) <= 3 and len(following.text) == 3


def read(
    user_id: str, text: str, spellings: Spellings | None = None
) -> tuple[tuple[Term, ...], dict[str, list[spelling.Meant]]]:
    """Return what full text looks for, and what words were taken to be meant for.

    Args:
        spellings: what they were taken for when the first page was found; None for the first one.
    """
    words = split(text)[:MOST_WORDS]
    spans = numbers(words)
    compounds = list(_compounds(words))
    known = list(thesaurus.entries([word.text for word in words]))
    lexemes = lexemes_of(
        [
            *(word.text for word in words),
            *(compound for compound, _ in compounds),
            *("".join(word.text for word in words[start:end]) for start, end in spans),
            *(other for entry in known for other in entry.others.all),
        ]
    )
    held = spelling.held(user_id, {lexeme for each in lexemes.values() for lexeme in each})
    # What else a text may say is looked for where some text does.
    others = {name: each for name, each in lexemes.items() if held.issuperset(each)}

    content = telling(words, spans)
    terms = _Terms(words, content, lexemes)
    for compound, places in compounds:
        terms.add(places, others.get(compound, ())[:1], JOINED)
    for entry in known:
        for worth, names in entry.others.by_worth(NARROWER, SAME, JOINED):
            for name in names:
                terms.add(range(entry.start, entry.end), others.get(name, ()), worth)
    if spellings is None:
        named = {place for entry in known for place in range(entry.start, entry.end)}
        meant = _meant(user_id, [words[place].text for place in terms.strange(held) if place not in named])
    else:
        meant = _as_before(spellings)
    for place in content:
        for each in meant.get(words[place].text, ()):
            terms.add([place], each.lexemes, _worth(each))
    as_numbers = [_number([word.text for word in words[start:end]], lexemes) for start, end in spans]
    return tuple(term for term in (*terms.made(), *as_numbers) if term.ways), meant


class _Terms:
    """The terms of a question as they are put together.

    Args:
        content: the places of the words that count.
        lexemes: what full text makes of each word.
    """

    def __init__(
        self, words: Sequence[Word], content: Sequence[int], lexemes: Mapping[str, Sequence[str]]
    ) -> None:
        self._found: dict[str, _Found] = {}
        self._at: dict[int, list[str]] = {}
        for place in content:
            word = words[place].text
            self._at[place] = list(lexemes.get(word, ()))
            for lexeme in self._at[place]:
                found = self._found.setdefault(lexeme, _Found())
                if word not in found.words:
                    found.words.append(word)

    def add(self, places: Iterable[int], lexemes: Sequence[str], worth: float) -> None:
        """Say what a text may say in place of words: one lexeme, or several side by side."""
        if lexemes:
            for lexeme in (lexeme for place in places for lexeme in self._at.get(place, ())):
                found = self._found[lexeme]
                found.ways[tuple(lexemes)] = max(worth, found.ways.get(tuple(lexemes), 0.0))

    def strange(self, held: Collection[str]) -> list[int]:
        """Return the places of words that come to nothing that is held."""
        return [place for place, lexemes in self._at.items() if not any(each in held for each in lexemes)]

    def made(self) -> list[Term]:
        """Return the terms, in the order of the question."""
        return [
            Term(lexeme, tuple(found.words), found.others(lexeme)) for lexeme, found in self._found.items()
        ]


def _worth(meant: spelling.Meant) -> float:
    if meant.slips:
        return MEANT[min(meant.slips, max(MEANT))]
    return JOINED if len(meant.lexemes) > 1 else BEGUN


def _meant(user_id: str, words: Iterable[str]) -> dict[str, list[spelling.Meant]]:
    folded = {word: folding.folded(word) for word in words}
    meant = spelling.alike(user_id, dict.fromkeys(folded.values())) if folded else {}
    return {word: meant[bare] for word, bare in folded.items() if bare in meant}


def _as_before(spellings: Spellings) -> dict[str, list[spelling.Meant]]:
    return {
        word: [spelling.Meant(tuple(lexemes), slips) for lexemes, slips in meant]
        for word, meant in spellings.items()
    }


def telling(words: Sequence[Word], spans: Iterable[tuple[int, int]]) -> list[int]:
    """Return the places of the words that say what is looked for; those of numbers are seen to elsewhere.

    `show me photos of cats` looks for cats: a picture whose description says "photo" and "shows" must
    not come before one that says "cat". Where nothing else is left, every word counts.
    """
    in_numbers = {place for start, end in spans for place in range(start, end)}
    others = [place for place in range(len(words)) if place not in in_numbers]
    content = [place for place in others if words[place].text.casefold() not in hashed_words.STOP_WORDS]
    return content or ([] if in_numbers else others)


def lexemes_of(texts: Iterable[str]) -> dict[str, list[str]]:
    """Return what full text makes of words, or of several that stand side by side."""
    different = list(dict.fromkeys(texts))
    parts = {text: _WORD.findall(text) for text in different}
    every = list(dict.fromkeys(part for each in parts.values() for part in each))
    found: dict[str, list[str]] = {}
    for row in database.fetch_all(TERMS, {"words": every}) if every else ():
        found.setdefault(row["word"], []).append(row["lexeme"])
    return {text: [lexeme for part in each for lexeme in found.get(part, ())] for text, each in parts.items()}


def same_words(words: Iterable[str], terms: Sequence[Term]) -> set[str]:
    """Return which of some words come to what is looked for, in whatever case they are."""
    wanted = {lexeme for term in terms for lexeme in term.lexemes}
    asked = {word.lower() for term in terms for word in term.words}
    same = {word for word in words if word.lower() in asked}
    others = lexemes_of(set(words) - same)
    return same | {word for word, lexemes in others.items() if wanted.intersection(lexemes)}


def _compounds(words: Sequence[Word]) -> Iterator[tuple[str, range]]:
    """Yield what two or three words that stand side by side are as one, with their places."""
    for end in range(2, len(words) + 1):
        for size in (2, 3):
            places = range(end - size, end)
            if size <= end and all(words[place].touching for place in places[1:]):
                yield "".join(words[place].text for place in places), places


def _number(parts: Sequence[str], lexemes: Mapping[str, Sequence[str]]) -> Term:
    """Return the term of a number of several parts: as they are, as one, or all of them somewhere."""
    each = [lexeme for part in parts for lexeme in lexemes.get(part, ())]
    ways = [Way.side_by_side(each, 1.0), Way.all_of(each, APART)] if each else []
    ways += [Way.one_of([lexeme], JOINED) for lexeme in lexemes.get("".join(parts), ())[:1]]
    if parts[-1] in ("00", "0") and len(each) > 1:  # 129.00 is 129 too
        whole = "".join(parts[:-1])
        ways.append(Way.one_of([whole], JOINED))
    return Term(" ".join(parts), (" ".join(parts),), tuple(ways), number=True)


def _quoted(lexeme: str) -> str:
    """Return a tsquery of one word. Lexemes are letters and digits, but who knows every dictionary."""
    return "'" + lexeme.replace("\\", "\\\\").replace("'", "''") + "'"
