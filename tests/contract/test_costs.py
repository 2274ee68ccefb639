"""What `magpie cost` reckons from: every price dated and sourced, every function and every call priced."""

import json
import re
from datetime import date

import pytest

from benchmarks import cost_page
from cli.costs import bill, data, growth, models, shown
from tests.contract.conftest import ROOT, Document, folder, named

KINDS = {"picture", "request", "schedule", "run", "event", "deployment"}
OF_EVERY_PICTURE = {"Object Created", "ImageProcessed", "AnalysisComplete", "EmbeddingComplete"}
"""What is said of each picture that is brought in."""
ADDRESS = re.compile(r"https://\S+\Z")


def known() -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = data.read("functions")["functions"]
    return found


def code() -> str:
    """What reckons."""
    files = [ROOT / "cli" / "cost.py", *sorted((ROOT / "cli" / "costs").glob("*.py"))]
    return "".join(path.read_text() for path in files)


def test_every_function_is_paid_for_by_something(document: Document) -> None:
    assert set(known()) == set(document.functions()), "say in cli/costs/functions.json what it is paid for"
    assert {each["paid_for"] for each in known().values()} <= KINDS


def test_whatever_hears_of_every_picture_is_paid_for_by_pictures(document: Document) -> None:
    queues = {
        named(source["Queue"]): name for name in document.functions() if (source := document.queue_of(name))
    }
    hearing = {
        queues[named(target["Arn"])]
        for rule in document.of("AWS::Events::Rule").values()
        if OF_EVERY_PICTURE & set(rule["Properties"].get("EventPattern", {}).get("detail-type", []))
        for target in rule["Properties"]["Targets"]
    }

    assert hearing
    assert hearing == {name for name, each in known().items() if each["paid_for"] == "picture"}


def test_whatever_the_clock_starts_is_paid_for_by_the_month() -> None:
    started = set(data.stack().runs_a_month)

    assert started
    assert started == {name for name, each in known().items() if each["paid_for"] == "schedule"}


def test_what_is_paid_for_often_was_measured() -> None:
    measured = set(data.read("measured")["messages"])
    often = {name for name, each in known().items() if each["paid_for"] in {"picture", "request", "schedule"}}

    for name in often:
        assert "seconds" in known()[name] or known()[name]["folder"] == folder(name)
    assert {known()[name]["folder"] for name in often if "folder" in known()[name]} == measured


def test_every_call_that_was_measured_has_a_price() -> None:
    calls = {
        call
        for cases in data.read("measured")["messages"].values()
        for took in cases.values()
        for call in took["aws"]
    }

    assert calls
    for call in calls:
        assert bill.call_usd(call) >= 0
    assert set(bill.CALLS.values()) <= set(data.read("prices")["prices"])


@pytest.mark.parametrize("name", sorted(data.read("prices")["prices"]))
def test_every_price_has_a_unit_and_says_where_it_was_read(name: str) -> None:
    price = data.read("prices")["prices"][name]

    assert set(price) == {"usd", "per", "source", "seen"}
    assert 0 < price["usd"] < 1
    assert price["per"]
    assert ADDRESS.match(price["source"])
    assert price["seen"] is None or price["seen"]


def test_every_price_is_used() -> None:
    unused = {name for name in data.read("prices")["prices"] if f'"{name}"' not in code()}
    assert unused == data.read("prices")["not_counted"].keys()


def test_prices_and_figures_are_dated() -> None:
    prices, measured = data.read("prices"), data.read("measured")

    for day in (
        prices["read"],
        measured["measured"],
        data.read("assumed")["as_of"],
        data.read("growth")["as_of"],
    ):
        assert date(2026, 11, 1) <= date.fromisoformat(day)
    assert measured["command"].startswith("python -m benchmarks.durations")


def test_machines_come_by_their_size_and_price() -> None:
    machines = data.read("prices")["rds"]["machines"]

    assert machines
    assert machines == sorted(machines, key=lambda each: (each["memory_gb"], each["usd_hour"]))
    assert all("seen" in each for each in machines)


def test_whatever_is_assumed_says_why() -> None:
    values = {name: each for name, each in data.read("assumed").items() if isinstance(each, dict)}
    assert values
    for name, each in values.items():
        assert each["why"]
        assert each["value"] > 0
        assert f'"{name}"' in code(), f"nothing asks for {name}"


def test_every_limit_of_growth_has_a_source_that_is_there() -> None:
    rows = data.read("growth")["rows"]

    assert rows
    for row in rows:
        assert row["bites"]
        assert row["lifts"]
        assert row["sources"]
        for source in row["sources"]:
            assert ADDRESS.match(source) or (ROOT / source.partition("#")[0]).is_file()


def test_growth_begins_with_what_the_template_has(document: Document) -> None:
    first = data.read("growth")["rows"][0]
    run = document.body["Parameters"]["RunConcurrency"]["Default"]

    assert first["run"] == run
    for stage, function in (
        ("image_processor", "ImageProcessor"),
        ("analyzer", "Analyzer"),
        ("embedder", "Embedder"),
    ):
        source = document.queue_of(function)
        assert source is not None
        assert source["ScalingConfig"]["MaximumConcurrency"] == first[stage]


def test_nothing_but_the_figures_is_generated() -> None:
    written = json.loads((ROOT / "cli" / "costs" / "measured.json").read_text())

    assert set(written) == {
        "measured", "command", "machine", "rounds", "messages", "object_bytes", "database_bytes",
        "search_index_bytes",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("function", "case"), [("image_processor", "12 MP"), ("analyzer", "model"), ("embedder", "model, 1")]
)
def test_a_stage_is_charged_for_the_calls_that_its_budget_allows(function: str, case: str) -> None:
    budgets = json.loads((ROOT / "tests" / "postgres" / "budgets.json").read_text())["work"]

    allowed = {each["what"]: each["times"] for each in budgets[function]["aws"]}
    assert data.measured(function, case)["aws"] == allowed


DOCUMENT = ROOT / "docs" / "cost.md"


@pytest.mark.parametrize("name", sorted(set(cost_page.BLOCKS) - {"amounts", "dollars"}))
def test_the_tables_of_the_page_are_those_of_the_data(name: str) -> None:
    assert cost_page.BLOCKS[name]() in DOCUMENT.read_text(), "run: python -m benchmarks.cost_page"


def numbers(line: str) -> list[float]:
    """The amounts of a line: dollars, in a table of Markdown or of the terminal."""
    return [float(each.replace(",", "")) for each in re.findall(r"\$([\d,.]*\d)", line)]


def test_the_page_shows_what_the_command_reckons() -> None:
    text = DOCUMENT.read_text()
    described = models.described(models.DEFAULT, date(2026, 11, 20))
    seconds = data.assumed("analysis_seconds")

    for row in growth.rows(12, described, seconds):
        (line,) = re.findall(rf"^\| {re.escape(shown.counted(row.items))} \| \$.*$", text, re.MULTILINE)
        # A few percent: an alarm more need not be written down here.
        assert numbers(line) == pytest.approx(
            [row.once_usd, row.once_offline_usd, row.again_usd, row.month_usd], rel=0.08
        ), "run: python -m benchmarks.cost_page"
    (line,) = re.findall(r"^bringing in 100,000 pictures, once.*$", text, re.MULTILINE)
    each = bill.total(bill.picture(12, described, seconds))
    assert numbers(line) == pytest.approx([100_000 * each], rel=0.08), "run: python -m benchmarks.cost_page"
