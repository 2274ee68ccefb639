"""Which hashes look alike, and what belongs to one group."""

from collections.abc import Collection

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from functions.api import likeness
from functions.api.likeness import MOST_BITS, Hashes, distance, says_something

BITS = 2**64 - 1

# Anything, and what differs from it in a few bits.
families = st.lists(
    st.tuples(
        st.integers(0, BITS), st.lists(st.lists(st.integers(0, 63), max_size=MOST_BITS + 3), max_size=4)
    ),
    max_size=8,
)


def turned(value: int, bits: Collection[int]) -> int:
    for bit in bits:
        value ^= 1 << bit
    return value


@pytest.mark.parametrize("at_once", [0, likeness.AT_ONCE], ids=["one by one", "all at once"])
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(found=families)
def test_all_near_hashes_are_found_and_no_others(
    monkeypatch: pytest.MonkeyPatch, at_once: int, found: list[tuple[int, list[list[int]]]]
) -> None:
    monkeypatch.setattr(likeness, "AT_ONCE", at_once)
    values = {turned(value, bits) for value, all_bits in found for bits in [[], *all_bits]}
    hashes = Hashes(values)
    for value in values:
        near = {other for other in values if other != value and (value ^ other).bit_count() <= MOST_BITS}
        assert hashes.near(value) == near


def test_every_way_of_turning_eight_bits_is_found() -> None:
    """Also the worst: spread over all bands as evenly as can be, or all in one."""
    for step in range(1, 64):
        for start in range(8):
            bits = {(start + step * number) % 64 for number in range(MOST_BITS)}
            assert Hashes([0, turned(0, bits)]).near(0) == {turned(0, bits)}
    assert Hashes([0, turned(0, range(MOST_BITS + 1))]).near(0) == set()


def test_signed_hashes_are_those_without_a_sign() -> None:
    assert distance(-1, BITS) == 0
    assert distance(-1, 0) == 64
    assert likeness.unsigned(-1) == BITS
    assert Hashes([-1, BITS ^ 1]).near(BITS ^ 1) == {BITS}
    assert Hashes([-1, BITS ^ 1]).near(-1) == {BITS ^ 1}


def test_a_plain_area_looks_like_nothing_in_particular() -> None:
    assert not says_something(0)
    assert not says_something(-1)
    assert not says_something(0b11111)
    assert says_something(0b111111)
    assert says_something(0x0F0F_0F0F_0F0F_0F0F)


edges = st.lists(st.tuples(st.integers(0, 15), st.integers(0, 15)), max_size=20)


@given(edges, st.permutations(range(16)), st.integers(0, 16))
def test_groups_are_what_is_linked_each_once_wherever_a_page_ends(
    links: list[tuple[int, int]], order: list[int], cut: int
) -> None:
    near: dict[int, set[int]] = {node: set() for node in range(16)}
    for one, other in links:
        if one != other:
            near[one].add(other)
            near[other].add(one)

    def neighbours(nodes: Collection[int]) -> set[int]:
        return set().union(*(near[node] for node in nodes))

    def linked(node: int) -> frozenset[int]:
        found = {node}
        while not neighbours(found) <= found:
            found |= neighbours(found)
        return frozenset(found)

    anchors = sorted(range(16), key=order.__getitem__, reverse=True)
    pages = (anchors[:cut], anchors[cut:])
    yielded = [each for page in pages for each in likeness.groups(page, neighbours, order.__getitem__)]
    assert [anchor for anchor, _ in yielded] == anchors
    assert sorted(map(sorted, (members for _, members in yielded if members))) == sorted(
        map(sorted, {linked(node) for node in range(16)})
    )


def test_a_group_is_cut_off_where_it_has_enough() -> None:
    def neighbours(nodes: Collection[int]) -> set[int]:
        return {other for node in nodes for other in (node - 1, node + 1) if 0 <= other < 1000}

    (first, members), *_ = likeness.groups([999], neighbours, lambda node: node, most=10)
    assert (first, members) == (999, set(range(990, 1000)))
