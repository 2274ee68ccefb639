"""The words of a question: which say what is looked for, which are numbers, and what else a text may say."""

import pytest

from functions.api import terms, thesaurus
from functions.api.terms import Term, Way


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("sunset", "sunset"),
        ("Show me photos of cats!", "cats"),
        ("Where did I park the red car?", "park red car"),
        ("photos", "photos"),
        ("the", "the"),
        ("Café & Crème", "Café Crème"),
        ("hubble_deep-field.jpg", "hubble deep field jpg"),
        ("夕日", "夕日"),
        ("the 42.17", ""),
        ("tea for 4 €", "tea 4 euro"),
        ("!!!", ""),
        ("", ""),
    ],
)
def test_what_every_question_holds_is_left_out_unless_it_is_all(asked: str, words: str) -> None:
    split = terms.split(asked)
    assert " ".join(split[place].text for place in terms.telling(split, terms.numbers(split))) == words


@pytest.mark.parametrize(
    ("asked", "parts"),
    [
        ("total 42.17 dollars", [["42", "17"]]),
        ("1.090,50", [["1", "090", "50"]]),
        ("rent 21 900 a month", [["21", "900"]]),
        ("8 888.88", [["8", "888", "88"]]),
        ("invoice 9931-AB", [["9931", "AB"]]),
        ("3:41:07 and 2024-03-11", [["3", "41", "07"], ["2024", "03", "11"]]),
        ("$89.99", [["89", "99"]]),
        ("room 214", []),
        ("in 2016 115 people", []),
        ("rooms 7 12", []),
        ("3d-printing", []),
        ("hot-air balloon, 7 people", []),
        ("d'Orsay", []),
    ],
)
def test_a_number_of_several_parts_is_looked_for_as_one(asked: str, parts: list[list[str]]) -> None:
    split = terms.split(asked)
    found = [[split[place].text for place in range(*span)] for span in terms.numbers(split)]
    assert found == parts


def test_a_way_is_a_query_that_nothing_in_it_can_break() -> None:
    assert Way.one_of(["it's", "a\\b", "it's"], 0.5).query == "'it''s' | 'a\\\\b'"
    assert Way.side_by_side(["a", "a"], 1).query == "'a' <-> 'a'"
    term = Term("couch", ("couch",), (Way.one_of(["sofa", "sette"], 0.7), Way.side_by_side(["a", "b"], 1)))
    assert term.lexemes == ("couch", "sofa", "sette", "a", "b")
    assert [way.worth for way in term.ways] == [1, 0.7, 1]


def entries(question: str) -> dict[str, thesaurus.Others]:
    words = question.split()
    return {" ".join(words[each.start : each.end]): each.others for each in thesaurus.entries(words)}


def test_the_thesaurus_knows_words_in_all_their_forms() -> None:
    assert set(entries("sofa")["sofa"].same) == {"couch", "settee"}
    assert entries("Couches")["Couches"].same == ("sofa", "settee")
    assert "mice" in entries("mouse")["mouse"].forms
    assert entries("zyzzyva") == {}


def test_the_longest_entry_counts() -> None:
    found = entries("hotels in South East Asia and Asia")
    assert set(found) == {"hotels", "South East Asia", "Asia"}
    assert "thailand" in found["South East Asia"].narrower
    assert "southeast asia" in found["South East Asia"].same


def test_a_region_holds_the_countries_of_the_regions_within_and_their_other_names() -> None:
    countries = entries("Europe")["Europe"].narrower
    assert {"poland", "czechia", "scotland", "northern europe"} <= set(countries)
    assert entries("Polska") == {}
    assert entries("Turkey")["Turkey"].same == ("turkiye",)
    assert "europe" not in entries("Poland").get("Poland", thesaurus.Others()).narrower, (
        "and not the other way"
    )


def test_every_line_of_the_data_is_well_formed() -> None:
    for name in ("forms.txt", "synonyms.txt", "regions.txt"):
        lines = list(thesaurus._lines(name))
        assert len(lines) > 40
        for same, narrower in lines:
            assert len(same) + len(narrower) > 1, same
            assert all(1 <= len(entry.split()) <= thesaurus.LONGEST + 1 for entry in (*same, *narrower)), same
            assert len(set(same)) == len(same), same
