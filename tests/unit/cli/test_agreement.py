"""How far an analysis agrees with a reviewed one, and how reviews are read."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.errors import CommandError
from cli.evaluating.agreement import FIELDS, agreement, compare, overlap, token_f1, words
from cli.evaluating.reviewed import read
from functions.analyzer.analysis import Analysis

ITEM = "01939c2f-71b0-7000-8000-000000000001"


def leaves(model, prefix=""):
    for name, field in model.model_fields.items():
        if hasattr(field.annotation, "model_fields"):
            yield from leaves(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name


def test_every_field_of_an_analysis_is_compared():
    assert list(FIELDS) == list(leaves(Analysis))


@pytest.mark.parametrize(
    ("reviewed", "stored", "agrees"),
    [
        ("Receipt", "Receipt", 1),
        ("Receipt", " receipt ", 1),
        ("Receipt", "Receipts", 0),
        ("Food & Drink", "Food", 0),
        ("Receipt", None, 0),
    ],
)
def test_a_category_is_the_same_or_is_not(reviewed, stored, agrees):
    assert compare("exact", reviewed, stored) == agrees


def test_lists_are_compared_by_their_words_however_they_are_split_and_ordered():
    reviewed = ["TOTAL 42.17", "WHOLE MILK"]

    assert compare("tokens", reviewed, ["whole", "milk total 42.17"]) == 1
    # Two of four words, and two words that are too many: precision and recall are both one half.
    assert compare("tokens", reviewed, ["TOTAL 12.17", "SKIMMED MILK"]) == pytest.approx(0.5)
    assert compare("tokens", reviewed, []) == 0


def test_a_word_that_is_there_more_often_does_not_count_more_often():
    assert token_f1(["cat"], ["cat", "cat", "cat"]) == pytest.approx(2 * 1 / (1 + 3))


def test_summaries_are_compared_by_the_different_words_that_both_have():
    reviewed = "A wet dog runs on the beach."

    assert compare("overlap", reviewed, "The dog runs on a wet beach") == 1
    assert compare("overlap", reviewed, "A wet dog sleeps") == pytest.approx(2 / 5)
    assert compare("overlap", reviewed, "") == 0


def test_what_neither_speaks_of_is_not_compared():
    reviewed = {"category": "Receipt", "media_metadata.hashtags": [], "image_details.key_interest": ""}

    assert agreement(reviewed, {"category": "Receipt", "media_metadata": {"hashtags": []}}) == {"category": 1}
    assert agreement(reviewed, {"category": "Receipt", "media_metadata": {"hashtags": ["cats"]}}) == {
        "category": 1,
        "media_metadata.hashtags": 0,
    }


@pytest.mark.parametrize("odd", [None, "a text", 7, [], {"summary": 1}, [["a"], {"b": 2}, None]])
def test_an_imported_analysis_may_be_of_any_shape(odd):
    stored = {name.partition(".")[0]: odd for name in FIELDS}

    compared = agreement({name: "something" for name in FIELDS}, stored)

    assert set(compared) == set(FIELDS)
    assert all(0 <= value <= 1 for value in compared.values())


TEXTS = st.lists(st.text("ab c.,1é\N{COMBINING ACUTE ACCENT}", max_size=8), max_size=4)


@given(TEXTS, TEXTS, st.sampled_from(["exact", "tokens", "overlap"]))
def test_agreement_is_from_0_to_1_mutual_and_whole_with_itself(one, other, kind):
    assert 0 <= compare(kind, one, other) <= 1
    assert compare(kind, one, other) == compare(kind, other, one)
    assert compare(kind, one, one) == 1


def test_only_stop_words_are_words_too():
    assert overlap(words("of the"), words("of the")) == 1
    assert overlap(words("of the"), words("of")) == 0.5


# Reading a review


@pytest.fixture
def write(tmp_path):
    def write_file(content):
        path = tmp_path / "golden.json"
        path.write_text(json.dumps(content))
        return path

    return write_file


def test_a_review_may_speak_of_a_few_fields_only(write):
    analysis = {"category": "Receipt", "image_details": {"objects": ["receipt"], "key_interest": None}}
    review = read(write({"items": [{"item_id": ITEM.upper(), "analysis": analysis}]}))

    (item,) = review.items
    assert item.item_id == ITEM
    assert item.fields == {
        "category": "Receipt",
        "image_details.objects": ["receipt"],
        "image_details.key_interest": "",
    }
    assert review.unknown == []


def test_names_that_no_analysis_has_are_told(write):
    analysis = {"category": "Receipt", "colour": "red", "image_details": {"smell": "none"}}

    assert read(write({"items": [{"item_id": ITEM, "analysis": analysis}]})).unknown == [
        "colour",
        "image_details.smell",
    ]


def test_an_export_is_a_review_by_its_latest_versions(write):
    rows = [
        {"item_id": ITEM, "version": version, "raw_response": json.dumps({"category": f"version {version}"})}
        for version in (1, 3, 2)
    ]

    (item,) = read(write({"exported_at": "2026-11-20", "tables": {"items": [], "analyses": rows}})).items

    assert item.fields == {"category": "version 3"}


def told_of(analysis):
    return {"items": [{"item_id": ITEM, "analysis": analysis}]}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ([], "reviewed analyses are an object"),
        ({"tables": {}}, "reviewed analyses are an object"),
        ({"items": []}, "there is no reviewed analysis in it"),
        ({"items": [7]}, "items[0] is no object with an item_id"),
        (told_of("not JSON"), "items[0]: analysis is no analysis"),
        (told_of({}), "items[0] holds no field of an analysis"),
        (told_of({"category": ["Receipt"]}), "items[0]: category must be a text"),
        (told_of({"subcategories": "menu"}), "items[0]: subcategories must be a list of texts"),
        (told_of({"image_details": {"objects": [1]}}), "image_details.objects must be a list of texts"),
        (told_of({"image_details": []}), "items[0]: image_details must be an object"),
        ({"items": told_of({"category": "a"})["items"] * 2}, f"items[1]: item_id {ITEM} is there twice"),
        ({"tables": {"analyses": [{"item_id": ITEM, "raw_response": None}]}},
         "tables.analyses[0]: raw_response is no analysis"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_review_is_refused_by_what_is_wrong_with_it(write, content, says):
    with pytest.raises(CommandError) as raised:
        read(write(content))

    assert raised.value.code == "bad_review"
    assert says in raised.value.message
