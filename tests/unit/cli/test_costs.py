"""The arithmetic of `magpie cost`, by examples worked out by hand."""

from datetime import date

import pytest

from cli.costs import advice, bill, data, database, growth, memory, models, pictures
from cli.costs.memory import Work
from cli.errors import UsageError

GB_SECOND, INVOCATION = 0.0000166667, 0.0000002
TODAY = date(2026, 11, 20)


@pytest.mark.parametrize(
    ("size", "ms"),
    # Half a processor at 884.5 MB, of which there is no whole one: 885 is a little more than half.
    [(1769, 150), (885, 250), (512, 396), (1024, 223), (3008, 150)],
)
def test_processor_time_grows_as_memory_shrinks_and_waiting_does_not(size, ms):
    assert Work(cpu_ms=100, waiting_ms=50).duration_ms(size) == ms


def test_an_invocation_costs_its_request_and_its_gigabyte_seconds():
    second = Work(cpu_ms=0, waiting_ms=1000)

    assert second.usd(1024) == pytest.approx(INVOCATION + GB_SECOND)
    assert second.usd(512) == pytest.approx(INVOCATION + GB_SECOND / 2)
    assert second.usd(512, 512) == pytest.approx(INVOCATION + GB_SECOND / 2 + 0.0000000309 / 2)
    assert second.usd(1024, arm=True) == pytest.approx(INVOCATION + 0.0000133334)


def test_who_waits_is_cheapest_with_the_least_memory():
    assert memory.cheapest(Work(cpu_ms=10, waiting_ms=6000), 512) == 512
    assert memory.cheapest(Work(cpu_ms=10, waiting_ms=6000), 768) == 768


def test_who_computes_never_pays_for_more_than_a_whole_processor():
    work = Work(cpu_ms=5000, waiting_ms=0)

    assert memory.cheapest(work, 512) <= 1769
    assert work.usd(1769) == pytest.approx(work.usd(512), rel=0.001)
    assert work.usd(3008) > 1.6 * work.usd(1769)


def test_memory_leaves_room_above_what_was_measured():
    assert data.assumed("headroom") == 2
    assert memory.least_mb(97) == 512
    assert memory.least_mb(257) == 768


def test_the_network_adds_what_is_assumed_of_each_call():
    took = {"cpu_ms": 10, "sql_ms": 5, "sql": 3, "aws": {"s3:GetObject": 2, "events:PutEvents": 1}}

    assert memory.work(took) == Work(10, 2 * 100 + 20 + 5 + 3 * 1)
    assert memory.work(took, 6).waiting_ms == 6228


@pytest.mark.parametrize(("at", "value"), [(2, 60), (7, 80), (12, 100), (18, 140), (36, 260), (1, 56)])
def test_pictures_between_two_sizes_are_between_their_figures(at, value):
    assert pictures.between({2: 60, 12: 100, 24: 180}, at) == pytest.approx(value)


def test_a_larger_picture_takes_longer_and_leaves_the_same_web_image():
    small, large = pictures.object_bytes(12), pictures.object_bytes(48)

    assert pictures.processed(48)["cpu_ms"] > pictures.processed(24)["cpu_ms"]
    assert large["original"] > 2 * small["original"]
    assert large["web image"] == pytest.approx(small["web image"], rel=0.2)


def test_a_description_costs_the_picture_as_the_model_sees_it_and_the_prompt():
    found = models.described("claude-haiku-4-5", TODAY)
    # 1,288 by 952 pixels or a little less: at most 1,568 squares of 28 pixels, and the text.
    text = found.input_tokens - 1564

    assert 1000 < text < 1600
    assert found.usd == pytest.approx(found.input_tokens * 1e-6 + 900 * 5e-6)


def test_bedrock_costs_a_tenth_more():
    own = models.described("claude-haiku-4-5", TODAY)
    regional = models.described("us.anthropic.claude-haiku-4-5-20251001-v1:0", TODAY)

    assert (regional.provider, regional.input_tokens) == ("bedrock", own.input_tokens)
    assert regional.usd == pytest.approx(1.1 * own.usd)


def test_a_model_without_a_price_is_refused_with_those_that_have_one():
    with pytest.raises(UsageError, match=r"price of gpt-9 is not known\. Take one of .*claude-haiku-5-5"):
        models.described("gpt-9", TODAY)


def test_a_message_costs_its_calls_its_queue_and_its_log():
    took = {
        "cpu_ms": 0, "sql_ms": 80, "sql": 0, "log_bytes": 300,
        "aws": {"s3:GetObject": 1, "events:PutEvents": 1},
    }  # fmt: skip
    by_kind = {line.kind: line.usd for line in bill.invocation("Analyzer", took)}
    gigabytes = data.stack().functions["Analyzer"].memory_mb / 1024

    assert by_kind["Lambda"] == pytest.approx(INVOCATION + 0.2 * gigabytes * GB_SECOND)
    assert by_kind["requests"] == pytest.approx(4e-7 + 1e-6 + 3 * 4e-7)
    # A thousand bytes with Lambda's own, kept for 30 days; one invocation of twenty is traced.
    assert by_kind["logs"] == pytest.approx(1e-6 * (0.5 + 0.03) + 0.05 * 5e-6)


def test_without_a_queue_nobody_is_asked_for_messages():
    took = {"cpu_ms": 0, "sql_ms": 0, "sql": 0, "log_bytes": 0, "aws": {}}

    assert [line.usd for line in bill.invocation("Api", took, polled=False) if line.kind == "requests"] == [0]


def test_a_call_that_nobody_has_priced_is_no_gift():
    with pytest.raises(KeyError):
        bill.call_usd("rekognition:DetectFaces")


def test_a_model_only_adds_to_what_a_picture_costs():
    described = models.described("claude-haiku-5-5", TODAY)
    paid, offline = bill.picture(12, described, 6), bill.picture(12, None, 6)

    assert {line.stage for line in paid} == {"upload", "image_processor", "analyzer", "embedder"}
    assert [line.usd for line in paid if line.stage == "upload"] == [
        line.usd for line in offline if line.stage == "upload"
    ]
    assert sum(line.usd for line in paid if line.kind == "model") == pytest.approx(
        described.usd + 300 * 0.02e-6
    )
    assert not [line for line in offline if line.kind == "model"]


def test_a_longer_answer_costs_lambda_more():
    described = models.described("claude-haiku-5-5", TODAY)

    def analyzer(seconds):
        return sum(
            line.usd
            for line in bill.picture(12, described, seconds)
            if (line.stage, line.kind) == ("analyzer", "Lambda")
        )

    gigabytes = data.stack().functions["Analyzer"].memory_mb / 1024
    assert analyzer(10) - analyzer(4) == pytest.approx(6 * gigabytes * GB_SECOND)


def test_thumbnails_of_a_search_are_paid_by_the_byte():
    size = pictures.object_bytes(12)["thumbnail"]
    (line,) = [line for line in bill.search(True) if line.what == "20 thumbnails, to the internet"]

    assert line.usd == pytest.approx(20 * size / 1e9 * 0.09)


@pytest.mark.parametrize(
    ("expression", "times"),
    [
        ("rate(1 minute)", 43_200),
        ("rate(5 minutes)", 8_640),
        ("rate(2 hours)", 360),
        ("cron(0 3 * * ? *)", 30),
    ],
)
def test_schedules_come_so_often_a_month(expression, times):
    assert data.runs_a_month(expression) == times


@pytest.mark.parametrize(
    "expression", ["cron(0 3 ? * MON *)", "cron(*/5 * * * ? *)", "at(2026-11-20T03:00:00)"]
)
def test_a_schedule_that_cannot_be_counted_is_not_guessed(expression):
    with pytest.raises(ValueError, match="is not known here"):
        data.runs_a_month(expression)


def test_idle_is_alarms_empty_queues_and_what_the_clock_starts():
    stack = data.stack()
    lines = {line.what: line.usd for line in bill.idle(in_vpc=False)}
    with_nat = bill.total(bill.idle(in_vpc=True)) - sum(lines.values())

    assert lines[f"{stack.alarms} alarms"] == pytest.approx(0.1 * stack.alarms)
    assert lines[f"asking {len(stack.polled)} empty queues"] == pytest.approx(0.2592 * len(stack.polled))
    assert any(what.startswith("ScanTick, 43,200 times") for what in lines)
    assert with_nat == pytest.approx(730 * 0.05)


def test_what_is_kept_costs_by_its_bytes():
    assert bill.kept(12).usd == pytest.approx(sum(pictures.object_bytes(12).values()) / 1e9 * 0.023)


def test_a_machine_has_the_connections_that_runs_want():
    # A gigabyte allows 112; ten items at a time want 50, the API 50, and the queues a few dozen.
    assert database.machines()[0].connections == 112
    small, busy = database.fitting(10_000, 10), database.fitting(10_000, 100)

    assert small is not None
    assert small.name == "db.t4g.small"
    assert busy is not None
    assert busy.connections >= data.stack().connections + 500 + 50


def test_what_searches_read_fits_into_half_of_the_memory():
    machine = database.fitting(100_000_000, 10)

    assert machine is not None
    assert machine.memory_gb * 2**30 / 2 >= database.read_by_searches_bytes(100_000_000)
    assert database.fitting(100_000_000_000, 10) is None


def test_the_storage_of_a_small_database_is_the_least_that_there_is():
    assert database.storage_usd(0) == pytest.approx(20 * 0.115)
    millions = database.storage_usd(10_000_000)
    assert millions == pytest.approx(2 * database.size_bytes(10_000_000) / 1e9 * 0.115)


def test_a_models_limits_are_those_that_bite_first():
    described = models.described("claude-haiku-4-5", TODAY)
    # 800,000 tokens out a minute are 889 answers; of 4,000,000 tokens in there are more.
    assert growth.allowed_a_second(described) == pytest.approx(800_000 / 900 / 60)

    wordy = models.Described("anthropic", "m", 8_000, 100, 0.0)
    assert growth.allowed_a_second(wordy) == pytest.approx(500 / 60)
    terse = models.Described("anthropic", "m", 10, 10, 0.0)
    assert growth.allowed_a_second(terse) == pytest.approx(4000 / 60)


def test_ten_times_the_pictures_cost_ten_times_as_much_to_bring_in():
    rows = growth.rows(12, models.described("claude-haiku-5-5", TODAY), 6)

    assert [row.items for row in rows] == [10_000, 100_000, 1_000_000, 10_000_000, 100_000_000]
    for one, ten in zip(rows, rows[1:], strict=False):
        assert ten.once_usd == pytest.approx(10 * one.once_usd)
        assert ten.database_bytes == pytest.approx(10 * one.database_bytes)
        assert one.month_usd < ten.month_usd < 10 * one.month_usd
    assert all(row.once_offline_usd < row.once_usd for row in rows)


def test_the_slowest_stage_decides_how_long_it_takes():
    slow = {"image_processor": 1000, "analyzer": 10, "embedder": 1000, "run": 10, "model_times": 1}
    analysis = growth.seconds_of("Analyzer", data.measured("analyzer", "model"), 6)

    assert growth.brought_a_second(slow, 12, "model", 6) == pytest.approx(10 / analysis)
    assert growth.brought_a_second({**slow, "analyzer": 20}, 12, "model", 6) == pytest.approx(20 / analysis)


def test_advice_never_goes_below_what_a_function_must_have():
    found = {(each.name, each.case): each for each in advice.advice(12, 6)}

    assert found["ImageProcessor", "12 MP"].cheapest_mb >= 1769
    for each in found.values():
        assert each.cheapest_mb >= each.least_mb >= each.peak_mb
        assert each.saved_usd >= 0 or each.template_mb < each.least_mb


def test_whatever_comes_once_a_minute_is_traced_every_time():
    took = {"cpu_ms": 0, "sql_ms": 0, "sql": 0, "log_bytes": 0, "aws": {}}

    def logs(traced):
        return bill.invocation("ScanTick", took, traced=traced)[2].usd

    assert logs(1) - logs(None) == pytest.approx(0.95 * 5e-6)
    (line,) = [line for line in bill.scheduled("idle") if line.what.startswith("ScanTick")]
    assert line.usd > 43_200 * 5e-6
