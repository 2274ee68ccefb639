"""`magpie scans`: made, shown, changed, paused and run, in a person's words."""

import re
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from cli import scans, scheduling

NIGHTLY = ("scans", "create", "Every night", "--every", "daily", "--at", "3:00", "--zone", "Europe/Berlin")


def test_a_scan_is_made_shown_changed_paused_and_deleted(run, system, db):
    ran = run(*NIGHTLY, "--select", "failed", "--stages", "embed,analyze", "--max-cost", "2")
    assert ran.code == 0, ran.err
    assert "Every night is made" in ran.out
    assert "daily at 03:00, Europe/Berlin" in ran.out

    made = run("scans", "show", "every NIGHT", "--json").json
    assert made["work"]["select"]["status"] == "failed"
    assert made["work"]["stages"] == ["analyze", "embed"]
    assert made["work"]["max_cost_usd"] == 2
    coming = datetime.fromisoformat(made["next_run_at"]).astimezone(ZoneInfo("Europe/Berlin"))
    assert f"{coming:%Y-%m-%d} 03:00 CE" in run("scans", "show", made["scan_id"][:8]).out

    # What is not said stays.
    changed = run("scans", "change", "every night", "--at", "4:30", "--json").json
    assert changed["schedule"] == made["schedule"] | {"at": "04:30"}
    assert changed["work"] == made["work"]
    changed = run("scans", "change", made["scan_id"][:8], "--stages", "embed", "--no-max-cost", "--json").json
    assert changed["work"]["stages"] == ["embed"]
    assert changed["work"]["select"]["status"] == "failed"
    assert changed["work"].get("max_cost_usd") is None
    changed = run("scans", "change", "Every night", "--every", "weekly", "--on", "sunday", "--json").json
    assert (changed["schedule"]["weekday"], changed["schedule"]["at"]) == ("SUN", "04:30")
    changed = run("scans", "change", "Every night", "--check", "objects", "--name", "Objects", "--json").json
    assert changed["work"].get("select") is None
    assert (changed["work"]["check"], changed["name"]) == ("objects", "Objects")
    assert run("scans", "change", "Objects").code == 2

    paused = run("scans", "pause", "Objects", "--json").json
    assert (paused["enabled"], paused["next_run_at"]) == (False, None)
    assert "paused" in run("scans", "list").out
    assert run("scans", "resume", "Objects", "--json").json["next_run_at"]

    assert run("scans", "delete", "Objects").code == 2  # nobody is there to be asked
    assert run("scans", "delete", "Objects", "--yes", "--json").json["deleted"]["scan_id"] == made["scan_id"]
    assert run("scans", "list", "--json").json == {"scans": []}
    gone = run("scans", "show", "Objects")
    assert (gone.code, gone.err) == (1, "No scan is called Objects. There is none yet.\n")


def test_whoever_says_no_keeps_the_scan(run, system, answers):
    run(*NIGHTLY, "--check", "objects")
    answers("n\n")

    ran = run("scans", "delete", "Every night")

    assert (ran.code, ran.out) == (1, "")
    assert "Delete the scan Every night?" in ran.err
    answers("y\n")
    assert run("scans", "delete", "Every night").code == 0
    assert run("scans", "list", "--json").json == {"scans": []}


def test_a_scan_runs_now_and_shows_how_it_went_each_time(run, system, pictures):
    pictures(3)
    run(*NIGHTLY, "--select", "all", "--stages", "embed")

    first = run("scans", "run", "Every night", "--wait", "--json")
    assert first.code == 0, first.err
    assert first.json["run"]["items"]["done"] == 3
    pictures(2)
    run("scans", "run", "Every night", "--wait")

    ran = run("scans", "runs", "Every night")
    assert ran.code == 0
    assert len([line for line in ran.out.splitlines() if "succeeded" in line]) == 2
    trend = next(line for line in ran.out.splitlines() if line.startswith("done"))
    assert trend.split() == ["done", "▅█", "3", "5"]
    document = run("scans", "runs", "Every night", "--json").json
    assert [point["done"] for point in document["trend"]] == [3, 5]
    assert run("scans", "show", "Every night", "--json").json["scan_id"] == first.json["run"]["scan_id"]


def test_two_scans_of_one_name_are_told_apart_by_their_ids(run, system):
    for _ in range(2):
        assert run(*NIGHTLY, "--check", "objects").code == 0

    ran = run("scans", "pause", "Every night")

    assert ran.code == 1
    ids = re.findall(r"[0-9a-f]{8}", ran.err)
    assert len(ids) == 2
    assert run("scans", "pause", ids[0], "--json").json["enabled"] is False


def test_what_the_api_refuses_is_told_in_its_words(run, system):
    ran = run("scans", "create", "Noon", "--cron", "0 12 * * *", "--select", "all")
    assert ran.code == 1
    assert ran.err == "schedule: a cron expression has six fields, the last of which is the year\n"
    ran = run("scans", "create", "Noon", "--cron", "0 12 * * ? *", "--select", "all", "--json")
    assert ran.json["schedule"]["cron"] == "cron(0 12 * * ? *)"
    zone = run(*NIGHTLY[:-1], "Berlin", "--select", "all")
    assert zone.code == 1
    assert "zone: this is no zone of the IANA database" in zone.err


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "Say when"),
        (["--every", "daily"], "--at 03:00"),
        (["--every", "now and then", "--at", "3:00"], "hourly, daily, weekly, monthly"),
        (["--every", "daily", "--at", "25:00"], "is no time"),
        (["--every", "daily", "--at", ":15"], "is no time"),
        (["--every", "daily", "--at", "3:00", "--on", "mon"], "--on is for"),
        (["--every", "weekly", "--at", "3:00"], "--on mon"),
        (["--every", "weekly", "--at", "3:00", "--on", "13"], "is no weekday"),
        (["--every", "monthly", "--at", "3:00"], "--on 1"),
        (["--every", "monthly", "--at", "3:00", "--on", "32"], "1 to 31"),
        (["--every", "daily", "--at", "3:00", "--cron", "0 3 * * ? *"], "leave out"),
        (["--every", "daily", "--at", "3:00"], "Say which items"),
        (["--every", "daily", "--at", "3:00", "--select", "all", "--check", "objects"], "one of the two"),
        (["--every", "daily", "--at", "3:00", "--check", "objects", "--stages", "embed"], "runs no stage"),
        (["--every", "daily", "--at", "3:00", "--check", "everything"], "everything"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_makes_no_sense_is_told_and_makes_nothing(run, here, magpie, options, told):
    ran = run("scans", "create", "Hm", *options, "--json")

    assert ran.code == 2
    assert told in ran.json["error"]["message"]
    assert not [each for each in magpie.requests if each.path.startswith("/scans")]


@pytest.mark.parametrize(
    ("every", "at", "on", "made", "words"),
    [
        ("hourly", None, None, {"every": "hour", "at": "00:00"}, "every hour at :00"),
        ("hourly", ":15", None, {"every": "hour", "at": "00:15"}, "every hour at :15"),
        ("Daily", "17:30", None, {"every": "day", "at": "17:30"}, "daily at 17:30, X"),
        ("week", "9:05", "Tues", {"every": "week", "at": "09:05", "weekday": "TUE"}, "Tuesdays at 09:05, X"),
        ("month", "0:00", "9", {"every": "month", "at": "00:00", "day": 9}, "monthly on day 9 at 00:00, X"),
    ],
)  # fmt: skip
def test_times_are_said_as_people_say_them(every, at, on, made, words):
    assert scheduling.schedule(every, at, on, None) == made
    assert scheduling.in_words(made, "X") == words


def test_this_machines_zone_is_the_default(monkeypatch, tmp_path):
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    assert scheduling.zone_here() == "Asia/Kathmandu"
    monkeypatch.setenv("TZ", "nowhere")
    assert scheduling.zone_here() == "UTC"
    monkeypatch.delenv("TZ")
    zone = tmp_path / "zoneinfo" / "America" / "Bogota"
    zone.parent.mkdir(parents=True)
    zone.touch()
    link = tmp_path / "localtime"
    link.symlink_to(zone)
    monkeypatch.setattr(scheduling, "LOCALTIME", link)
    assert scheduling.zone_here() == "America/Bogota"
    monkeypatch.setattr(scheduling, "LOCALTIME", tmp_path / "missing")
    assert scheduling.zone_here() == "UTC"


def test_a_trend_is_drawn_from_nothing_to_its_most():
    assert scans.sparkline([0, 0]) == "▁▁"
    assert scans.sparkline([0, 4, 8]) == "▁▅█"
    assert scans.sparkline([]) == ""
