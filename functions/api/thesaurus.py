"""Which other words say the same as those of a question: irregular forms, synonyms, the countries of regions.

Read from `forms.txt`, `synonyms.txt` and `regions.txt`, which say how they are written.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from functions.api import folding
from shared import hashed_words

FOLDER = Path(__file__).resolve().parent
LONGEST = 4
"""Words of an entry."""

Key = tuple[str, ...]


@dataclass(frozen=True)
class Others:
    """What else an entry can be called.

    Attributes:
        forms: of the very same word.
        same: for the same thing.
        narrower: for one of them.
    """

    forms: tuple[str, ...] = ()
    same: tuple[str, ...] = ()
    narrower: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        return (*self.forms, *self.same, *self.narrower)

    def by_worth(
        self, narrower: float, same: float, forms: float
    ) -> tuple[tuple[float, tuple[str, ...]], ...]:
        """Return what it can be called, with what that is worth."""
        return (narrower, self.narrower), (same, self.same), (forms, self.forms)


@dataclass(frozen=True)
class Entry:
    """An entry that a question holds.

    Attributes:
        start, end: its words, by their places among those of the question; the end is the first one behind.
    """

    start: int
    end: int
    others: Others


def entries(words: Sequence[str]) -> Iterator[Entry]:
    """Yield the entries among words that stand side by side. Of those within others, only the longest."""
    known = _thesaurus()
    stems = key(words)
    end = 0
    for start in range(len(stems)):
        for size in range(min(LONGEST, len(stems) - start), 0, -1):
            others = known.get(stems[start : start + size])
            if others is not None and start + size > end:
                end = start + size
                yield Entry(start, end, others)
                break


def key(words: Iterable[str]) -> Key:
    """Return what the forms of words have in common."""
    return tuple(hashed_words.stem(folding.folded(word)) for word in words)


@cache
def _thesaurus() -> Mapping[Key, Others]:
    made: dict[Key, Others] = {}

    def add(
        entry: str, forms: Iterable[str] = (), same: Iterable[str] = (), narrower: Iterable[str] = ()
    ) -> None:
        place = key(folding.words_of(entry))
        before = made.get(place, Others())
        made[place] = Others(
            tuple(dict.fromkeys((*before.forms, *(other for other in forms if other != entry)))),
            tuple(dict.fromkeys((*before.same, *(other for other in same if other != entry)))),
            tuple(dict.fromkeys((*before.narrower, *narrower))),
        )

    for forms, _ in _lines("forms.txt"):
        for entry in forms:
            add(entry, forms=forms)
    for same, narrower in (*_lines("synonyms.txt"), *_regions()):
        for entry in same:
            add(entry, same=same, narrower=narrower)
    return made


def _regions() -> Iterator[tuple[list[str], list[str]]]:
    """Yield regions with all that is in them, also in the regions within."""
    lines = list(_lines("regions.txt"))
    same = {name: names for names, _ in lines for name in names}
    within = {name: narrower for names, narrower in lines for name in names if narrower}

    def everything(name: str) -> Iterator[str]:
        for part in within.get(name, ()):
            yield from same.get(part, [part])
            yield from everything(part)

    for names, _ in lines:
        yield names, list(dict.fromkeys(everything(names[0])))


def _lines(name: str) -> Iterator[tuple[list[str], list[str]]]:
    for line in (FOLDER / name).read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            same, _, narrower = line.partition(">")
            yield _list(same), _list(narrower)


def _list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
