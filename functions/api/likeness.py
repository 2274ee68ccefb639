"""Decide which pictures look alike, by their difference hashes, and what belongs to one group."""

from collections.abc import Callable, Collection, Iterable, Iterator, Set
from itertools import chain, combinations, product
from typing import Any, TypeVar

T = TypeVar("T")

MOST_BITS = 8
"""In which the hashes of pictures that look alike may differ. Of copies of 39 photographs, these differ in at
most 8: all that were made smaller, to a half or a quarter, or saved again as JPEG of quality 85, 60 or 30;
97 % of those made lighter or darker by a fifth; of those cut by 2 % 92 % (all around) and 90 % (at a corner).
Different photographs differ in 12 or more."""
FEWEST_BITS = 6
"""That a hash must have set, and not set. With fewer, the picture is one plain area or one gradient, and so
are many others."""

AT_ONCE = 12_000_000
"""Comparisons that are made all at once, in a second: some 2.5 million of 20,000 different photographs."""

_BITS = 64
_BANDS = 5
_MASK = (1 << _BITS) - 1
# Bits of one band lie far apart in the picture: those of a sky, side by side, would be alike in thousands.
_BAND_BITS = [[1 << bit for bit in range(band, _BITS, _BANDS)] for band in range(_BANDS)]
_BAND_MASKS = [sum(bits) for bits in _BAND_BITS]


def says_something(perceptual_hash: int) -> bool:
    """Say whether a hash tells its picture from others."""
    return FEWEST_BITS <= (perceptual_hash & _MASK).bit_count() <= _BITS - FEWEST_BITS


def unsigned(perceptual_hash: int) -> int:
    """Return a hash, which PostgreSQL keeps as a signed number, as a number of 64 bits."""
    return perceptual_hash & _MASK


def distance(one: int, other: int) -> int:
    """Return in how many bits two hashes differ, signed as PostgreSQL keeps them or not."""
    return ((one ^ other) & _MASK).bit_count()


class Hashes:
    """Different hashes, kept so that those near to one are found without looking at all of them.

    Of five bands of bits, one at least differs in a single bit or in none where all together differ in eight
    at most, or nine (the pigeonhole principle). So it is enough to compare hashes that share a band, or would
    if one bit of it were turned.
    """

    def __init__(self, hashes: Iterable[int]) -> None:
        different = {unsigned(value) for value in hashes}
        self._bands: list[dict[int, list[int]]] = [{} for _ in range(_BANDS)]
        for each in different:
            for band, mask in zip(self._bands, _BAND_MASKS, strict=True):
                band.setdefault(each & mask, []).append(each)
        # All at once it takes a seventh of the time that it takes one by one. But it grows by the square, and
        # with how many are alike: of a day of one camera's pictures each has to be compared with each.
        compared = (
            (len(_BAND_BITS[0]) + 1) / 2 * sum(len(own) ** 2 for band in self._bands for own in band.values())
        )
        self._near = self._pairs() if compared <= AT_ONCE else None

    def near(self, wanted: int) -> Set[int]:
        """Return the others of these hashes, unsigned, that differ from one of them in few bits."""
        wanted = unsigned(wanted)
        if self._near is not None:
            return self._near.get(wanted, frozenset())
        found: set[int] = set()
        for band, mask, bits in zip(self._bands, _BAND_MASKS, _BAND_BITS, strict=True):
            key = wanted & mask
            # The loops run inside map: of some 170 candidates among 20,000 rarely one is near.
            keys = [key, *map(key.__xor__, bits)]
            candidates = list(chain.from_iterable(filter(None, map(band.get, keys))))
            if min(map(int.bit_count, map(wanted.__xor__, candidates)), default=_BITS) <= MOST_BITS:
                found.update(other for other in candidates if (wanted ^ other).bit_count() <= MOST_BITS)
        found.discard(wanted)
        return found

    def _pairs(self) -> dict[int, set[int]]:
        near: dict[int, set[int]] = {}
        for band, bits in zip(self._bands, _BAND_BITS, strict=True):
            for key, own in band.items():
                _compare(combinations(own, 2), near)
                for bit in bits:
                    if not key & bit and (others := band.get(key | bit)):
                        _compare(product(own, others), near)
        return near


def _compare(pairs: Iterable[tuple[int, int]], near: dict[int, set[int]]) -> None:
    """Note which of some pairs are near each other."""
    for one, other in pairs:
        if (one ^ other).bit_count() <= MOST_BITS:
            near.setdefault(one, set()).add(other)
            near.setdefault(other, set()).add(one)


def groups(
    anchors: Iterable[T],
    near: Callable[[Collection[T]], Collection[T]],
    place: Callable[[T], Any],
    most: int = 1 << 60,
    seen: set[T] | None = None,
) -> Iterator[tuple[T, set[T]]]:
    """Yield each anchor with what is linked to it by nearness, over however many steps, itself included.

    A group comes at its first member, and with every other one nothing: so it comes once, whatever page
    that is on, and no page needs to know of another.

    Args:
        anchors: in their order, the greatest place first.
        near: what is near to any of several.
        place: of anything in that order.
        most: how many a group may be at most; it is cut off at the step where it has so many.
        seen: what was in groups already; grows.
    """
    known = set() if seen is None else seen
    for anchor in anchors:
        found = None if anchor in known else _group(anchor, near, place, most)
        known |= found or set()
        yield anchor, found or set()


def _group(
    first: T, near: Callable[[Collection[T]], Collection[T]], place: Callable[[T], Any], most: int
) -> set[T] | None:
    """Return what is linked to something, None where that is not the first of it."""
    found = {first}
    edge: Collection[T] = found
    while edge and len(found) < most:
        new = set(near(edge)) - found
        if any(place(other) > place(first) for other in new):
            return None
        edge = new
        found = found | new
    return found
