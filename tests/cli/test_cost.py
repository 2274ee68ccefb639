"""`magpie cost`: reckoned offline, for people at the width of their terminal and for programs."""

import pytest

from cli.costs import data


@pytest.mark.parametrize("columns", [80, 140])
@pytest.mark.parametrize(
    "asked", [[], ["--growth"], ["--without-model"]], ids=["amounts", "growth", "offline"]
)
def test_it_fits_the_terminal(run, monkeypatch, columns, asked):
    monkeypatch.setenv("COLUMNS", str(columns))

    ran = run("cost", *asked)

    assert (ran.code, ran.err) == (0, "")
    assert max(map(len, ran.out.splitlines())) <= columns
    assert "…" not in ran.out
    assert "without any free tier" in " ".join(ran.out.split())


def test_the_amounts_are_told_in_one_document(run):
    asked = ("--items", "100000", "--searches", "500000", "--json")
    document = run("cost", *asked).json

    assert (document["items"], document["searches"], document["free_tiers"]) == (100_000, 500_000, False)
    assert document["total_usd"] == pytest.approx(sum(each["usd"] for each in document["total"]), abs=1e-4)
    per_1000 = document["per_1000_pictures"]
    assert set(per_1000["model"]) == {"upload", "image_processor", "analyzer", "embedder"}
    assert document["total"][0]["usd"] == pytest.approx(
        100 * sum(stage["usd"] for stage in per_1000["model"].values()), rel=1e-3
    )
    assert document["total"][1]["usd"] == pytest.approx(
        500 * sum(each["usd"] for each in document["per_1000_searches"]), rel=1e-3
    )
    assert [size["mb"] for size in document["memory"][0]["sizes"]][::7] == [512, 3008]


def test_without_a_model_nobody_is_paid(run):
    document = run("cost", "--without-model", "--json").json

    assert document["model"] is None
    assert document["per_1000_pictures"]["model"] is None
    assert all("model" not in stage for stage in document["per_1000_pictures"]["offline"].values())
    assert document["total"][0]["usd"] < run("cost", "--json").json["total"][0]["usd"]


def test_a_dearer_model_costs_more(run):
    def pictures(model):
        return run("cost", "--model", model, "--json").json["total"][0]["usd"]

    assert pictures("claude-haiku-5-5") < pictures("claude-haiku-4-5") < pictures("claude-opus-5-5")


def test_somebodys_own_database_is_counted_at_what_it_costs(run):
    document = run("cost", "--database-usd", "12.5", "--json").json

    assert [each["usd"] for each in document["total"] if "database" in each["what"]] == [12.5]


def test_nothing_at_all_costs_what_is_paid_for_anyway(run):
    document = run("cost", "--items", "0", "--searches", "0", "--database-usd", "0", "--json").json

    assert document["total_usd"] == pytest.approx(
        sum(each["usd"] for each in document["idle_month"]), abs=1e-4
    )
    assert document["total_usd"] > 0


def test_growth_is_told_to_programs_with_its_sources(run):
    rows = run("cost", "--growth", "--json").json["growth"]

    assert [row["items"] for row in rows] == [each["items"] for each in data.read("growth")["rows"]]
    assert all(row["bites"] and row["lifts"] and row["sources"] and row["machine"] for row in rows)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--items", "-1"], "--items"),
        (["--items", "many"], "--items"),
        (["--searches", "1e3"], "--searches"),
        (["--megapixels", "0"], "--megapixels takes 0.1 to 200."),
        (["--megapixels", "nan"], "--megapixels takes 0.1 to 200."),
        (["--model-seconds", "inf"], "--model-seconds takes 0 to 120"),
        (["--model-seconds", "-1"], "--model-seconds takes 0 to 120"),
        (["--database-usd", "nan"], "--database-usd takes dollars"),
        (["--model", "gpt-9"], "The price of gpt-9 is not known"),
        (["--without-model", "--model", "claude-haiku-5-5"], "leave out --model"),
        (["--without-model", "--growth"], "leave out --without-model"),
        (["a-word"], "unexpected extra argument"),
    ],
)
def test_nonsense_is_wrong_usage(run, wrong, said):
    ran = run("cost", *wrong)

    assert ran.code == 2
    assert ran.out == ""
    assert said in ran.err


def test_a_region_without_prices_is_refused(run):
    ran = run("cost", "--region", "eu-central-1", "--json")

    assert (ran.code, ran.json["error"]["code"]) == (1, "unknown_region")


def test_more_than_one_database_holds_is_said_and_not_reckoned(run):
    ran = run("cost", "--items", "10000000000")

    assert ran.code == 1
    assert "--database-usd" in ran.err
