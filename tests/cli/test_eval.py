"""`magpie eval`: questions of which the answers are known, asked of a Magpie."""

import json
import math
import re
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.client import Api, UnreachableError
from cli.evaluating import answers, comparison, page, report, tables
from cli.measures import Query
from cli.target import ROOT, Target
from functions.api import question
from tests.cli.conftest import Magpie, Request

pytest.importorskip("ir_measures", reason="there is no build of it for this kind of machine")

IDS = {name: f"01939c2f-71b0-7000-8000-0000000000{ord(name):02x}" for name in "abcdefghij"}
NO_VECTOR = "meaning search is unavailable"


def expects(query_id, text, kind="single", /, **relevances):
    items = [{"item_id": IDS[name], "relevance": relevance} for name, relevance in relevances.items()]
    return {
        "query_id": query_id,
        "query_text": text,
        "query_type": kind,
        "expected_items": items,
        "expected_count": len(items),
    }


QUERIES = [
    expects("q1", "a cat", a="high"),
    expects("q2", "two cats", "several", a="high", b="medium", c="low"),
    expects("q3", "a dragon", "none"),
]
FOUND = {"a cat": "a", "two cats": "bda", "a dragon": ""}
"""What a search finds, whatever the mode, unless a test says otherwise."""


class Search:
    """The search of a Magpie: what it finds, by mode and question.

    Attributes:
        found: items by question, or by mode and question.
        lacking: modes, or modes and questions, for which there is no vector.
        slow: how many answers come too late to have a vector.
        refused: questions that are answered with a 422.
    """

    def __init__(self, magpie: Magpie) -> None:
        self.found: dict[object, str] = dict(FOUND)
        self.lacking: set[object] = set()
        self.slow = 0
        self.refused: set[str] = set()
        self.asked: list[dict[str, object]] = []
        magpie.answers["POST", "/search"] = self.answer

    def answer(self, request: Request):
        asked = json.loads(request.body)
        self.asked.append(asked)
        mode, text = asked["mode"], asked["q"]
        if text in self.refused:
            return 422, {"type": "urn:problem-type:magpie:invalid", "detail": "The question is odd."}
        notes = []
        names = self.found.get((mode, text), self.found[text])
        self.slow -= 1
        if self.slow >= 0 or {mode, (mode, text)} & self.lacking:
            notes = [f"{NO_VECTOR}, words only" if mode == "hybrid" else NO_VECTOR]
            mode = "text" if mode == "hybrid" else mode
        hits = [
            {"item_id": IDS[name], "filename": f"{name}.png", "headline": f"Picture {name}", "score": 0.5}
            for name in names[: asked["limit"]]
        ]
        return 200, {"query": text, "mode": mode, "hits": hits, "notes": notes}


@pytest.fixture
def search(magpie, here):
    for name, item_id in IDS.items():
        magpie.add(f"{name}.png", item_id=item_id)
    return Search(magpie)


@pytest.fixture
def write(tmp_path):
    def write_file(queries=QUERIES, name="queries.json"):
        path = tmp_path / name
        path.write_text(json.dumps({"queries": queries}))
        return str(path)

    return write_file


def test_every_mode_is_measured(run, search, write):
    ran = run("eval", write(), "--json")

    assert ran.code == 0
    assert list(ran.json["modes"]) == ["text", "vector", "hybrid"]
    gained = (2 + 3 / math.log2(4)) / (3 + 2 / math.log2(3) + 1 / math.log2(4))
    for mode in ran.json["modes"].values():
        assert mode["ndcg@10"] == pytest.approx((1 + gained) / 2, abs=1e-6)
        assert mode["mrr"] == mode["precision@1"] == mode["no_answer_empty"] == 1
        assert mode["recall@10"] == pytest.approx((1 + 2 / 3) / 2, abs=1e-6)
        assert 0 < mode["latency_ms"]["p50"] <= mode["latency_ms"]["p95"]
        assert {kind: each["count"] for kind, each in mode["types"].items()} == {
            "single": 1,
            "several": 1,
            "none": 1,
        }
        assert mode["types"]["several"]["ndcg@10"] == pytest.approx(gained, abs=1e-6)
        assert mode["types"]["none"]["ndcg@10"] is None
        assert [query["query_id"] for query in mode["queries"]] == ["q1", "q2", "q3"]
    assert ran.json["unscored"] == {}
    assert (ran.json["queries"], ran.json["without_answer"], ran.json["warnings"]) == (3, 1, [])


def test_each_question_is_asked_in_turn_and_the_first_once_for_nothing(run, search, write):
    run("eval", write(), "--mode", "vector", "--json")

    texts = ["a cat", "a cat", "two cats", "a dragon"]
    assert search.asked == [{"q": text, "mode": "vector", "limit": 10} for text in texts]


def test_a_query_tells_what_was_found_and_what_should_have_been(run, search, write):
    query = run("eval", write(), "--mode", "text", "--json").json["modes"]["text"]["queries"][1]

    assert [(hit["item_id"], hit["relevance"], hit["headline"]) for hit in query["found"]] == [
        (IDS["b"], "medium", "Picture b"),
        (IDS["d"], None, "Picture d"),
        (IDS["a"], "high", "Picture a"),
    ]
    assert [(item["item_id"], item["relevance"], item["place"]) for item in query["expected"]] == [
        (IDS["a"], "high", 3),
        (IDS["b"], "medium", 1),
        (IDS["c"], "low", None),
    ]
    assert query["expected"][2]["filename"] == "c.png"


def test_more_hits_count_when_more_are_asked_for(run, search, write):
    mode = run("eval", write(), "--mode", "text", "--k", "20", "--json").json["modes"]["text"]

    assert {each["limit"] for each in search.asked} == {20}
    assert {"ndcg@20", "recall@20", "precision@20", "ndcg@10"} <= set(mode)


def test_at_least_ten_are_fetched(run, search, write):
    mode = run("eval", write(), "--mode", "text", "--k", "2", "--json").json["modes"]["text"]

    assert {each["limit"] for each in search.asked} == {10}
    assert {"ndcg@2", "ndcg@10"} <= set(mode)


def test_expected_items_that_are_not_there_are_told_and_count_as_not_found(run, search, write, magpie):
    magpie.items = [item for item in magpie.items if item["item_id"] != IDS["c"]]
    magpie.add("e.png", "pending", item_id=IDS["e"])
    magpie.items = [item for item in magpie.items if (item["item_id"], item["status"]) != (IDS["e"], "ready")]
    odd = expects("q4", "a cat again", e="high")
    odd["expected_items"].append({"item_id": "cat.png", "relevance": "low"})
    odd["expected_count"] = 1
    search.found["a cat again"] = "b"
    path = write([*QUERIES, odd])

    ran = run("eval", path, "--mode", "text", "--json")

    assert ran.code == 0
    assert ran.json["missing_items"] == [IDS["c"], "cat.png"]
    assert ran.json["unsearchable_items"] == {IDS["e"]: "pending"}
    assert ran.json["warnings"] == ["q4: expected_count is 1, but expected_items are 2"]
    assert ran.json["modes"]["text"]["queries"][3]["recall@10"] == 0
    err = run("eval", path, "--mode", "text").err
    assert "2 expected items are not in this collection" in err
    assert f"such as {IDS['e']}, which is pending" in err
    assert "q4: expected_count is 1, but expected_items are 2." in err


def test_an_answer_that_is_refused_is_left_out_and_told(run, search, write):
    search.refused.add("two cats")

    ran = run("eval", write(), "--mode", "text", "--json")

    assert ran.code == 1
    assert ran.json["unscored"] == {"text": {"q2": "The question is odd."}}
    assert ran.json["modes"]["text"]["ndcg@10"] == 1
    assert ran.json["modes"]["text"]["count"] == 2
    assert "1 query is left out by text; q2: The question is odd." in run("eval", write()).err


def test_a_busy_api_is_asked_again_and_its_refusals_are_no_latency(run, search, write, magpie):
    magpie.trouble += [("POST", "/search", 503, {"Retry-After": "0"})] * 3

    ran = run("eval", write(), "--mode", "text", "--json")

    assert ran.code == 0
    assert ran.json["modes"]["text"]["count"] == 3


def test_a_magpie_that_is_not_there_is_one_sentence(run, home, write):
    ran = run("eval", write(), "--json")

    assert (ran.code, ran.json["error"]["code"]) == (1, "not_running")


# Meaning that cannot be searched for


class Token:
    """A session whose token is always the same."""

    def __init__(self, token: str) -> None:
        self.token = token

    def access_token(self) -> str:
        return self.token

    def another_token(self, refused: str) -> str | None:
        return self.token


SET = [
    Query("q1", "a cat", "single", {IDS["a"]: 3}),
    Query("q2", "two cats", "several", {IDS["a"]: 3, IDS["b"]: 2}),
    Query("q3", "a dragon", "none"),
    Query("q4", "another dragon", "none"),
]


@pytest.fixture
def ask(search, magpie):
    search.found["another dragon"] = ""

    def ask_all(mode, queries=SET):
        pauses = []
        with Api(Target(magpie.url), Token(magpie.token())) as api:
            return answers.ask(api, queries, mode, 10, pause=pauses.append), pauses

    return ask_all


@pytest.mark.parametrize("mode", ["vector", "hybrid"])
def test_without_meaning_nothing_is_scored_as_if_it_were_there(ask, search, mode):
    search.lacking.add(mode)

    asked, pauses = ask(mode)

    assert asked.answered == []
    assert set(asked.unscored) == {"q1", "q2", "q3", "q4"}
    assert asked.unscored["q1"].startswith(NO_VECTOR)
    assert asked.unscored["q4"].startswith("not asked: ")
    assert Counter(each["q"] for each in search.asked) == {"a cat": 3, "two cats": 3, "a dragon": 3}
    assert pauses == [1, 2] * 3
    document = report.document(SET, [asked], {}, 10)
    assert document["modes"] == {}
    assert tables.remarks(document) == [f"Nothing was scored by {mode}: {asked.unscored['q1']}."]


def test_words_are_scored_where_meaning_is_not_to_be_had(ask, search):
    search.lacking |= {"text", "vector", "hybrid"}

    asked, _ = ask("text")

    assert len(asked.answered) == 4


def test_a_question_without_a_vector_is_left_out_alone(ask, search):
    search.lacking.add(("vector", "two cats"))

    asked, _ = ask("vector")

    assert [answer.query.query_id for answer in asked.answered] == ["q1", "q3", "q4"]
    assert asked.unscored == {"q2": NO_VECTOR}


def test_a_model_that_was_slow_once_is_asked_again(ask, search):
    search.slow = 2

    asked, pauses = ask("vector")

    assert not asked.unscored
    assert pauses == [1, 2]


def test_an_answer_in_another_mode_is_none_of_this_one():
    assert answers.departure({"mode": "text", "notes": []}, "hybrid") == "it was searched by text instead"
    assert answers.departure({"mode": "hybrid", "notes": ["only the first 32 words"]}, "hybrid") == ""


def test_the_api_says_in_these_words_that_meaning_is_not_to_be_had():
    for note in (question.NO_MEANING, question.WORDS_ONLY):
        assert note.startswith(answers.NO_MEANING)


def test_an_api_that_stays_busy_ends_it(search, magpie):
    magpie.trouble += [("POST", "/search", 503, {"Retry-After": "0"})] * 50

    with Api(Target(magpie.url), Token(magpie.token())) as api, pytest.raises(UnreachableError):
        answers.ask(api, SET, "text", 10)


# What people see


@pytest.mark.parametrize("columns", ["80", "140"])
def test_the_figures_fit_the_terminal(run, search, write, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    search.found["a dragon"] = "g"
    search.found["a cat"] = "hij"

    ran = run("eval", write())

    assert max(map(len, ran.out.splitlines())) <= int(columns)
    for part in ("nDCG@10", "R@10", "P@10", "MRR", "p95", "By type of query: vector", "Worst by hybrid",
                 "a cat  q1, single, nDCG@10 0.000", "expected: Picture a (high, not found)",
                 "Should have stayed empty by text"):  # fmt: skip
        assert part in ran.out


def test_a_perfect_search_has_no_worst_queries(run, search, write):
    out = run("eval", write([QUERIES[0]]), "--mode", "text").out

    assert "By text every query with an answer is answered perfectly." in out
    assert "Worst" not in out


def test_columns_that_belong_together_stay_together():
    rows = [("all", {name: "0.123" for group in tables.groups(10) for name in group})]

    assert len(tables.packed("Type", rows, tables.groups(10), 500)) == 1
    for width in range(60, 160):
        made = tables.packed("Type", rows, tables.groups(10), width)
        assert [name for names in made for name in names] == [n for group in tables.groups(10) for n in group]
        assert all(any(set(group) <= set(names) for names in made) for group in tables.groups(10))
        assert all(len("Type") + sum(max(len(n), 5) + 2 for n in names) <= width for names in made)


# The page


def test_the_page_needs_nothing_beside_it_and_runs_nothing(run, search, write, tmp_path):
    hostile = expects("q4", "<script>alert(1)</script>", "<b>odd</b>", a="high")
    search.found[hostile["query_text"]] = "b"
    written = tmp_path / "page.html"

    ran = run("eval", write([*QUERIES, hostile]), "--html", str(written), "--json")

    assert ran.json["modes"]
    text = written.read_text()
    assert "<script" not in text
    assert "<b>odd" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert not re.search(r"\s(src|href)=|url\(|@import", text)
    for part in ("Worst by text", "Every query", "Picture b", "prefers-color-scheme: dark", "0.735"):
        assert part in text


def test_a_page_takes_the_place_of_a_page_and_of_nothing_else(run, search, write, tmp_path, magpie):
    path, written = write(), tmp_path / "page.html"
    assert run("eval", path, "--mode", "text", "--html", str(written)).code == 0
    assert run("eval", path, "--mode", "text", "--html", str(written)).code == 0
    magpie.requests.clear()

    for other, code in ((path, "not_a_page"), (str(tmp_path / "no" / "page.html"), "no_folder")):
        ran = run("eval", path, "--html", other, "--json")
        assert (ran.code, ran.json["error"]["code"]) == (1, code)
    assert magpie.requests == []
    assert json.loads((tmp_path / "queries.json").read_text())["queries"] == QUERIES


def test_a_page_may_lack_every_mode_and_every_answer():
    nothing = {"set": "s.json", "api_url": "http://x", "measured_at": "2026-11-20T10:00:00+00:00"}
    lacking = answers.Asked("vector", [], {"q1": "no vector"})

    text = page.evaluation({**report.document(SET, [lacking], {}, 10), **nothing})

    assert "Nothing was scored by vector: no vector." in text
    unanswerable = [Query("n1", "a dragon", "none")]
    asked = answers.Asked("text", [answers.Answered(unanswerable[0], [], 3.0)])
    assert "empty" in page.evaluation({**report.document(unanswerable, [asked], {}, 10), **nothing})


# Wrong usage


@pytest.mark.parametrize(
    "given",
    [
        [],
        ["--compare", "one.json"],
        ["queries.json", "--compare", "a.json", "b.json"],
        ["--compare", "a.json", "b.json", "--html", "page.html"],
        ["queries.json", "--k", "0"],
        ["queries.json", "--k", "101"],
        ["queries.json", "--mode", "best"],
    ],
)
def test_what_makes_no_sense_is_wrong_usage(run, here, magpie, given):
    assert run("eval", *given).code == 2
    assert magpie.requests == []


def test_a_file_that_is_none_or_not_there_is_told(run, here, write, tmp_path, magpie):
    ran = run("eval", write([]), "--json")
    assert (ran.code, ran.json["error"]["code"]) == (1, "bad_queries")
    ran = run("eval", str(tmp_path / "none.json"), "--json")
    assert (ran.code, ran.json["error"]["code"]) == (1, "io_error")
    assert magpie.requests == []


def test_a_machine_without_the_library_says_so_before_anything_is_asked(
    run, search, write, monkeypatch, magpie
):
    monkeypatch.setitem(sys.modules, "ir_measures", None)

    ran = run("eval", write(), "--json")

    assert (ran.code, ran.json["error"]["code"]) == (1, "no_measures")
    assert "--api-url" in ran.json["error"]["message"]
    assert magpie.requests == []


def test_help_does_not_wait_for_what_measures():
    heavy = "'ir_measures', 'numpy', 'jinja2', 'httpx2'"
    code = f"import cli.app, sys; print([name for name in ({heavy}) if name in sys.modules])"

    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert ran.stdout == "[]\n"


# Comparing two results


@pytest.fixture
def result(run, search, write, tmp_path):
    def measured(name, queries=QUERIES, **found):
        search.found |= {text.replace("_", " "): items for text, items in found.items()}
        path = tmp_path / name
        path.write_text(run("eval", write(queries), "--json").out)
        return str(path)

    return measured


def test_a_comparison_puts_the_greatest_change_first(run, result):
    before = result("a.json", a_dragon="g")
    after = result("b.json", a_cat="ba", two_cats="abc", a_dragon="")

    ran = run("eval", "--compare", before, after, "--json")

    assert ran.code == 0
    text = ran.json["modes"]["text"]
    assert [(query["query_id"], query["change"] > 0) for query in text["queries"]] == [
        ("q3", True),
        ("q1", False),
        ("q2", True),
    ]
    assert text["queries"][1]["change"] == pytest.approx(1 / math.log2(3) - 1, abs=1e-6)
    assert text["no_answer_empty"] == {"a": 0, "b": 1, "change": 1}
    assert (text["better"], text["worse"], text["same"]) == (2, 1, 0)
    assert text["types"]["single"]["ndcg@10"]["change"] == text["queries"][1]["change"]
    assert text["ndcg@10"]["change"] == pytest.approx(
        sum(query["change"] for query in text["queries"][1:]) / 2, abs=1e-5
    )
    assert text["only_in_a"] == text["only_in_b"] == []


@pytest.mark.parametrize("columns", ["80", "140"])
def test_a_comparison_fits_the_terminal(run, result, monkeypatch, columns):
    before, after = result("a.json"), result("b.json", a_cat="ba")
    monkeypatch.setenv("COLUMNS", columns)

    ran = run("eval", "--compare", before, after, "--mode", "text")

    assert max(map(len, ran.out.splitlines())) <= int(columns)
    assert re.search(r"-0\.369 +1\.000 +0\.631 +q1 +single +a cat", ran.out)
    assert "hybrid" not in ran.out


def test_only_what_both_have_is_compared(run, result):
    before = result("a.json")
    others = [
        expects("q1", "a cat indeed", a="high"),
        expects("q3", "a dragon", "none", b="low"),
        expects("q9", "two cats", a="high"),
    ]
    after = result("b.json", others, a_cat_indeed="a")

    ran = run("eval", "--compare", before, after, "--json")

    text = ran.json["modes"]["text"]
    assert [query["query_id"] for query in text["queries"]] == ["q1"]
    assert text["queries"][0]["same_question"] is False
    assert text["only_in_a"] == ["q2", "q3"]
    assert text["only_in_b"] == ["q3", "q9"]
    err = run("eval", "--compare", before, after).err
    assert "text: only in A: q2, q3" in err
    assert "text: asked in other words: q1" in err


def test_results_of_different_depths_are_compared_at_ten(run, search, write, tmp_path):
    for name, k in (("a.json", "5"), ("b.json", "20")):
        (tmp_path / name).write_text(run("eval", write(), "--k", k, "--json").out)

    ran = run("eval", "--compare", str(tmp_path / "a.json"), str(tmp_path / "b.json"), "--json")

    assert ran.json["measure"] == "ndcg@10"


def test_a_mode_that_only_one_has_is_told(run, search, write, tmp_path):
    for name, mode in (("a.json", "all"), ("b.json", "text")):
        (tmp_path / name).write_text(run("eval", write(), "--mode", mode, "--json").out)
    both = str(tmp_path / "a.json"), str(tmp_path / "b.json")

    assert run("eval", "--compare", *both, "--json").json["modes_of_one_only"] == ["hybrid", "vector"]
    ran = run("eval", "--compare", *both, "--mode", "vector", "--json")
    assert (ran.code, ran.json["error"]["code"]) == (1, "nothing_to_compare")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "is no JSON"),
        ("[]", "it has no modes"),
        ('{"modes": {}}', "it has no k"),
        ('{"modes": {"text": {}}, "k": 10}', "text: query 0 is not as magpie eval --json writes it"),
        ('{"modes": {"text": {"queries": [{"query_id": "q1"}]}}, "k": 10}', "text: query 0 is not"),
    ],
)
def test_what_is_no_result_cannot_be_compared(run, result, tmp_path, content, says):
    odd = tmp_path / "odd.json"
    odd.write_text(content)

    ran = run("eval", "--compare", result("a.json"), str(odd), "--json")

    assert (ran.code, ran.json["error"]["code"]) == (1, "bad_result")
    assert says in ran.json["error"]["message"]


# What chance would do


def test_chance_is_counted_over_all_ways_of_turning_differences_round():
    assert comparison.chance([]) == comparison.chance([0.0, 0.0]) == 1
    assert comparison.chance([0.5]) == 1
    # Only all three up, or all three down, are as far apart: two of eight ways.
    assert comparison.chance([0.5, 0.5, 0.5]) == 0.25
    assert comparison.chance([0.5, 0.5, 0.5, 0.0]) == 0.25
    assert comparison.chance([0.5, -0.5]) == 1


def test_many_small_steps_in_one_direction_are_hardly_chance():
    assert comparison.chance([0.01] * 30) < 0.001
    assert comparison.chance([0.01, -0.01] * 15) == 1


@given(st.lists(st.sampled_from([-0.5, -0.1, 0.0, 0.1, 0.3]), max_size=10))
def test_chance_does_not_care_for_order_or_direction(changes):
    value = comparison.chance(changes)

    assert 0 < value <= 1
    assert comparison.chance([-each for each in reversed(changes)]) == pytest.approx(value)


@pytest.mark.parametrize(
    ("change", "p_value", "says"),
    [
        (None, 1.0, "There is no query with an answer in both."),
        (0.0, 1.0, "On average nothing changed."),
        (0.02, 0.4, "On average +0.020; by chance alone a difference this large comes in 40.0 % of cases: "
                    "that may be chance."),
        (-0.02, 0.01, "On average -0.020; by chance alone a difference this large comes in 1.0 % of cases: "
                      "that is hardly chance."),
    ],
)  # fmt: skip
def test_a_verdict_says_whether_to_believe_it(change, p_value, says):
    figures = {"ndcg@10": {"change": change}, "p_value": p_value}

    assert comparison.verdict(figures, "ndcg@10") == says
