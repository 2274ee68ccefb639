"""Two sorted streams of keys: what only one of them has."""

from uuid import uuid4

from hypothesis import given
from hypothesis import strategies as st

from functions.scan_checker.compare import Difference, Named, Stored, differences

KEYS = st.lists(st.text(st.sampled_from("ab/é\U0001f426z"), min_size=1, max_size=6), unique=True)


@given(KEYS, KEYS)
def test_what_only_one_side_has_is_found(rows: list[str], objects: list[str]) -> None:
    named = [Named(key, uuid4()) for key in sorted(rows, key=str.encode)]
    stored = [Stored(key) for key in sorted(objects, key=str.encode)]
    found = list(differences(named, stored))
    assert {each.key for each in found if each.kind == "missing"} == set(rows) - set(objects)
    assert {each.key for each in found if each.kind == "unknown"} == set(objects) - set(rows)


def test_an_object_of_just_now_is_there_for_its_row_and_unknown_to_nobody() -> None:
    item = uuid4()
    fresh = [Stored("a", settled=False), Stored("b", settled=False)]
    assert list(differences([Named("a", item)], fresh)) == []
    assert list(differences([Named("c", item)], fresh)) == [Difference("missing", "c", item)]
