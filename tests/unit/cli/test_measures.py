"""Retrieval sets, and measures of rankings, against figures that were worked out by hand."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.errors import CommandError
from cli.measures import DEPTHS, Query, disagreements, measure, measure_each, names, read_queries

pytest.importorskip("ir_measures", reason="there is no build of it for this kind of machine")

ITEM = "01939c2f-71b0-7000-8000-000000000001"


def query(query_id="q1", **expected):
    return Query(query_id, "a question", "plain", expected)


# What the figures mean


def test_gains_are_the_grades_themselves_and_not_powers_of_two():
    found = measure([query(x=3, y=2, z=1)], {"q1": ["y", "w", "x"]})

    gained = 2 / math.log2(2) + 3 / math.log2(4)
    ideal = 3 / math.log2(2) + 2 / math.log2(3) + 1 / math.log2(4)
    assert found["ndcg@10"] == pytest.approx(gained / ideal)
    assert found["ndcg@10"] == pytest.approx(0.735007, abs=1e-6)
    assert found["ndcg@1"] == pytest.approx(2 / 3)


def test_the_ideal_of_a_depth_has_no_more_items_than_the_depth():
    found = measure([query(x=1, y=1, z=1)], {"q1": ["x"]})

    assert found["ndcg@1"] == 1
    assert found["ndcg@3"] == pytest.approx(1 / (1 + 1 / math.log2(3) + 1 / 2))


def test_precision_is_of_the_depth_and_recall_of_what_is_expected():
    found = measure([query(a=3, b=1, c=1, d=1)], {"q1": ["a", "w", "b"]})

    assert [found[f"precision@{depth}"] for depth in DEPTHS] == pytest.approx([1, 2 / 3, 2 / 5, 2 / 10])
    assert [found[f"recall@{depth}"] for depth in DEPTHS] == pytest.approx([1 / 4, 2 / 4, 2 / 4, 2 / 4])


def test_the_reciprocal_rank_is_of_the_first_right_hit_however_little_it_is_worth():
    assert measure([query(a=3, b=1)], {"q1": ["w", "v", "b", "a"]})["mrr"] == pytest.approx(1 / 3)


def test_every_query_counts_the_same():
    found = measure([query("q1", a=3), query("q2", b=1)], {"q1": ["a"], "q2": []})

    assert found["ndcg@10"] == found["recall@10"] == found["mrr"] == 0.5


def test_queries_without_an_answer_are_averaged_by_themselves():
    queries = [query("q1", a=3), query("none1"), query("none2"), query("none3")]
    rankings = {"q1": ["a"], "none1": [], "none2": ["a"], "none3": []}

    found = measure(queries, rankings)

    assert found["ndcg@10"] == 1
    assert found["no_answer_empty"] == pytest.approx(2 / 3)
    assert set(measure_each(queries, rankings)) == {"q1"}


def test_of_what_is_not_there_is_no_average():
    assert measure([query(a=1)], {"q1": ["a"]})["no_answer_empty"] is None
    only_empty = measure([query()], {"q1": []})
    assert only_empty.pop("no_answer_empty") == 1
    assert set(only_empty.values()) == {None}


def test_what_was_found_twice_counts_once():
    assert measure([query(a=3)], {"q1": ["w", "w", "a", "a"]}) == measure([query(a=3)], {"q1": ["w", "a"]})


def test_a_query_without_a_ranking_is_a_mistake_and_no_zero():
    with pytest.raises(KeyError):
        measure([query(a=3)], {})


def test_other_depths_can_be_asked_for():
    ranking = [f"w{number}" for number in range(14)] + ["a"]

    found = measure([query(a=3)], {"q1": ranking}, (10, 20))

    assert (found["recall@10"], found["recall@20"]) == (0, 1)
    assert found["mrr"] == pytest.approx(1 / 15)
    assert list(found) == [*names((10, 20)), "no_answer_empty"]


ITEMS = st.sampled_from("abcdefghijklmno")
EXPECTED = st.dictionaries(ITEMS, st.integers(1, 3), min_size=1, max_size=8)
RANKING = st.lists(ITEMS, unique=True, max_size=15)


def by_definition(expected, ranking):
    """The measures as textbooks write them."""
    gains = [expected.get(item, 0) for item in ranking]
    ideal = sorted(expected.values(), reverse=True)

    def gained(values):
        return sum(value / math.log2(place + 1) for place, value in enumerate(values, start=1))

    worked_out = {"mrr": next((1 / place for place, gain in enumerate(gains, start=1) if gain), 0)}
    for depth in DEPTHS:
        right = sum(gain > 0 for gain in gains[:depth])
        worked_out |= {
            f"ndcg@{depth}": gained(gains[:depth]) / gained(ideal[:depth]),
            f"recall@{depth}": right / len(expected),
            f"precision@{depth}": right / depth,
        }
    return worked_out


@given(EXPECTED, RANKING)
def test_the_library_computes_what_the_definitions_say(expected, ranking):
    found = measure_each([query(**expected)], {"q1": ranking})["q1"]

    assert found == pytest.approx(by_definition(expected, ranking))


@given(EXPECTED, RANKING, st.text(max_size=4))
def test_what_items_and_queries_are_called_does_not_matter(expected, ranking, odd):
    plain = measure_each([query(**expected)], {"q1": ranking})["q1"]

    renamed = Query(odd, "", "", {f"{odd} {item}\0": grade for item, grade in expected.items()})
    assert measure_each([renamed], {odd: [f"{odd} {item}\0" for item in ranking]})[odd] == plain


@given(EXPECTED)
def test_the_best_order_is_perfect(expected):
    ranking = sorted(expected, key=lambda item: -expected[item])

    found = measure([query(**expected)], {"q1": ranking})

    assert [found[f"ndcg@{depth}"] for depth in DEPTHS] == pytest.approx([1] * len(DEPTHS))
    assert found["mrr"] == found["precision@1"] == found["recall@10"] == 1


# Reading a set


def entry(**changed):
    whole = {
        "query_id": "q1",
        "query_text": "a cat",
        "query_type": "single",
        "expected_items": [{"item_id": ITEM, "relevance": "high"}],
        "expected_count": 1,
    }
    return {name: value for name, value in {**whole, **changed}.items() if value is not ...}


@pytest.fixture
def write(tmp_path):
    def write_file(content):
        path = tmp_path / "queries.json"
        if not isinstance(content, bytes):
            content = (content if isinstance(content, str) else json.dumps(content)).encode()
        path.write_bytes(content)
        return path

    return write_file


def test_a_set_is_read_as_it_is_written(write):
    read = read_queries(
        write({"queries": [entry(), entry(query_id="q2", expected_items=[], expected_count=...)], "note": 1})
    )

    assert read == [
        Query("q1", "a cat", "single", {ITEM: 3}, 1),
        Query("q2", "a cat", "single", {}, None),
    ]


def test_ids_are_the_same_in_capitals_and_without_hyphens(write):
    for written in (ITEM.upper(), ITEM.replace("-", ""), f" {ITEM} "):
        items = [{"item_id": written, "relevance": "low"}]
        (read,) = read_queries(write({"queries": [entry(expected_items=items)]}))
        assert read.expected == {ITEM: 1}


def test_a_byte_order_mark_is_no_fault(write):
    path = write(b"\xef\xbb\xbf" + json.dumps({"queries": [entry()]}).encode())

    assert len(read_queries(path)) == 1


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "no JSON: Expecting value at line 1, column 1"),
        ('{"queries": [\n{"query_id": }', "line 2, column 14"),
        (b'{"queries": "\xff"}', "no UTF-8 text (byte 13)"),
        ('{"queries": NaN}', "NaN is no number"),
        ("[" * 100_000, "nested too deeply"),
        ([entry()], 'an object {"queries": [...]}'),
        ({"query": []}, 'an object {"queries": [...]}'),
        ({"queries": []}, "there are no queries in it"),
        ({"queries": ["a cat"]}, "queries[0] is no object"),
        ({"queries": [entry(query_id=...)]}, "queries[0]: query_id is missing"),
        ({"queries": [entry(query_id=7)]}, "queries[0]: query_id is 7; it must be a text"),
        ({"queries": [entry(query_text="  ")]}, 'queries[0]: query_text is "  "; it must be a text'),
        ({"queries": [entry(query_text="x" * 1001)]}, "query_text is longer than 1000 characters"),
        ({"queries": [entry(query_type=None)]}, "query_type is null; it must be a text"),
        ({"queries": [entry(expected_items=...)]}, "expected_items is missing; it must be a list"),
        ({"queries": [entry(expected_items=[ITEM])]}, "expected_items[0] is no object"),
        ({"queries": [entry(expected_items=[{"relevance": "low"}])]}, "[0]: item_id is missing"),
        ({"queries": [entry(expected_items=[{"item_id": ITEM, "relevance": "great"}])]},
         'expected_items[0]: relevance is "great"; it must be high, medium or low'),
        ({"queries": [entry(expected_items=[{"item_id": ITEM, "relevance": 3}])]}, "relevance is 3"),
        ({"queries": [entry(expected_items=[{"item_id": ITEM}])]}, "relevance is missing"),
        ({"queries": [entry(expected_items=[{"item_id": each, "relevance": "low"}
                                            for each in (ITEM, ITEM.upper())])]}, "is there twice"),
        ({"queries": [entry(expected_count="two")]}, 'expected_count is "two"'),
        ({"queries": [entry(expected_count=-1)]}, "expected_count is -1"),
        ({"queries": [entry(), entry()]}, "queries[1]: query_id 'q1' is that of queries[0] already"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_set_is_refused_by_what_is_wrong_with_it(write, content, says):
    path = write(content)

    with pytest.raises(CommandError) as raised:
        read_queries(path)

    assert raised.value.code == "bad_queries"
    assert says in raised.value.message
    assert str(path) in raised.value.message


def test_ten_faults_are_told_and_the_others_counted(write):
    with pytest.raises(CommandError) as raised:
        read_queries(write({"queries": [entry(query_id=f"q{n}", query_type=...) for n in range(14)]}))

    assert raised.value.message.count("query_type is missing") == 10
    assert raised.value.message.endswith("; and 4 more.")


def test_another_number_of_items_than_expected_is_told_and_measured_all_the_same(write):
    read = read_queries(write({"queries": [entry(expected_count=3), entry(query_id="q2")]}))

    assert disagreements(read) == ["q1: expected_count is 3, but expected_items are 1"]
