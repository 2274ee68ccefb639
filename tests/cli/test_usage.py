"""`magpie usage`, and what a plan that is full looks like to the other commands."""

from typing import Any

import pytest

SENTENCE = "You have 2,000 of 2,000 items, and one more does not fit. Delete some, or move to a larger plan."
FULL = {
    "type": "urn:problem-type:magpie:over-quota",
    "title": "There is no room left for that",
    "status": 429,
    "detail": SENTENCE,
    "meter": "items",
    "limit": 2000,
    "used": 2000,
    "wanted": 1,
    "resets_at": None,
}


def spent(calls: int) -> dict[str, Any]:
    return {
        "calls": calls,
        "input_tokens": 5400 * calls,
        "output_tokens": 1000 * calls,
        "cost_usd": f"{calls / 960:.9f}",
    }


def usage(**changed: Any) -> dict[str, Any]:
    def day(number: int, calls: int, pictures: int) -> dict[str, Any]:
        added = {"items": pictures, "bytes": pictures * 4_000_000}
        return {"day": f"2026-11-{number:02}", **spent(calls), "added": added}

    return {
        "from": "2026-11-01",
        "to": "2026-11-30",
        "totals": spent(732),
        "by_day": [day(number, *{3: (12, 12), 5: (720, 700)}.get(number, (0, 0))) for number in range(1, 31)],
        "by_stage": [{"stage": "analyzer", **spent(732)}],
        "by_model": [{"provider": "anthropic", "model": "claude-haiku-5-5", **spent(732)}],
        "storage": {"items": 712, "bytes": 2848000000, "added": {"items": 712, "bytes": 2848000000}},
        "limits": {
            "items": {"limit": 2000, "used": 712, "resets_at": None},
            "storage_bytes": {"limit": None, "used": 2_848_000_000, "resets_at": None},
            "scans": {"limit": 3, "used": 3, "resets_at": None},
            "model_usd": {"limit": 2.0, "used": 0.7625, "resets_at": "2026-12-01T00:00:00Z"},
        },
        "forecast": {
            "cost_usd": "2.210000000",
            "per_day_usd": "0.108600000",
            "basis": "What was spent so far, and for 10.2 days left the average of the last 7 days.",
            "limit_reached_on": "2026-11-29",
        },
    } | changed  # fmt: skip


@pytest.fixture
def told(magpie, here):
    answer = usage()
    magpie.answers["GET", "/usage"] = lambda request: (200, answer)
    return answer


def test_what_is_used_is_shown_with_what_may_be(run, told):
    ran = run("usage")
    assert ran.code == 0
    for said in (
        "712 of 2,000", "36%", "2.8 GB, no limit", "3 of 3", "100%", "$0.76 of $2.00", "anew on 2026-12-01",
        "$2.21", "10.2 days left", "reached on 2026-11-29 at this rate", "claude-haiku-5-5 (anthropic)",
        "analyzer", "2026-11-01 to 2026-11-30",
    ):  # fmt: skip
        assert said in ran.out
    days = [line for line in ran.out.splitlines() if line.startswith(("2026-11-", "together"))][1:]
    assert [line.split()[0] for line in days] == [
        "2026-11-03",
        "2026-11-05",
        "together",
    ]  # only with anything
    assert days[-1].split() == ["together", "732", "3,952,800", "732,000", "$0.76", "712", "2.8", "GB"]


def test_the_document_is_what_the_api_said(run, told):
    assert run("usage", "--json").json == told


def test_a_quiet_month_says_so(run, told):
    told |= {
        "by_day": [], "by_stage": [], "by_model": [],
        "forecast": told["forecast"] | {"cost_usd": None, "basis": "There is nothing to go by."},
    }  # fmt: skip
    ran = run("usage")
    assert "Nothing happened in these days." in ran.out
    assert "There is nothing to go by." in ran.out
    told["forecast"] = None  # another month
    assert "forecast" not in run("usage").out


@pytest.mark.parametrize("columns", ["60", "80", "140"])
def test_lines_fit_the_terminal(run, told, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    ran = run("usage")
    assert ran.code == 0
    assert max(map(len, ran.out.splitlines())) <= int(columns)


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ([], {}),
        (["--month", "2026-10"], {"month": "2026-10"}),
        (["--from", "2026-10-01"], {"from": "2026-10-01"}),
        (["--from", "2026-10-01", "--to", "2026-10-02"], {"from": "2026-10-01", "to": "2026-10-02"}),
    ],
)
def test_a_period_is_asked_for_as_it_is_said(run, told, magpie, options, asked):
    assert run("usage", *options, "--json").code == 0
    assert magpie.requests[-1].query == asked


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        (["--month", "2026-13"], "--month takes a month like 2026-11, not '2026-13'"),
        (["--month", "November"], "--month takes a month"),
        (["--from", "yesterday"], "--from takes a day like 2026-11-20, not 'yesterday'"),
        (["--from", "2026-11-01", "--to", "2026-02-30"], "--to takes a day"),
        (["--to", "2026-11-01"], "--to needs --from"),
        (["--month", "2026-11", "--from", "2026-11-01"], "Say either --month, or --from and --to"),
    ],
)
def test_no_period_is_asked_for_that_is_none(run, told, magpie, options, wrong):
    ran = run("usage", *options)
    assert ran.code == 2
    assert wrong in ran.err
    assert magpie.requests == []


# A plan that is full


def test_a_file_that_does_not_fit_says_why(run, here, magpie, picture):
    magpie.answers["POST", "/items"] = lambda request: (429, FULL)
    ran = run("add", str(picture("a.png")), "--json")
    assert ran.code == 1
    (record,) = ran.json["items"]
    assert (record["status"], record["code"], record["message"]) == ("over_quota", "over_quota", SENTENCE)
    assert (ran.json["over_quota"], ran.json["failed"], ran.json["waiting"]) == (1, 0, 0)


def test_what_waits_for_room_is_waited_for_no_longer_and_shown(run, here, magpie):
    held = {"status": "over_quota", "error": {"code": "items", "message": SENTENCE}}
    item = magpie.add("a.png", **held)
    magpie.add("b.png")
    listed = run("list", "--status", "over_quota")
    assert listed.code == 0
    assert SENTENCE in listed.out
    assert "b.png" not in listed.out
    assert f"Waiting for room: {SENTENCE}" in run("show", item["item_id"]).out
