"""`magpie reprocess`: priced, asked about, started once, and seen through to its end."""

import json
import time
from datetime import UTC, datetime, timedelta

import pytest

from cli import watching
from shared import embeddings

EMBED = ("reprocess", "--stages", "embed")


def outcome(db, run_id):
    row = db.execute("SELECT status, request FROM scan_runs WHERE run_id = %s", (run_id,)).fetchone()
    assert row
    return row


def vectors_cost(db, usd):
    """Have a vector of each item that is there have cost so much before."""
    model = embeddings.OFFLINE
    db.execute(
        """
        INSERT INTO usage_ledger (user_id, item_id, stage, provider, model, input_tokens, output_tokens,
                                  cost_usd)
        SELECT user_id, item_id, 'embedder', %s, %s, 1000, 0, %s FROM items
        """,
        (model.provider, model.name, usd),
    )


def runs(db):
    return db.execute("SELECT run_id, status, request FROM scan_runs ORDER BY created_at").fetchall()


def test_a_dry_run_says_what_it_takes_and_starts_nothing(run, system, db, pictures):
    pictures(3)

    ran = run(*EMBED, "--select", "all", "--dry-run")

    assert ran.code == 0, ran.err
    for line in ("all items", "embed", "3 vectors", "not known before a first run"):
        assert line in ran.out
    (dry,) = runs(db)
    assert (dry["status"], dry["request"]["dry_run"]) == ("planned", True)
    assert system.machine.asked("Embedder") == []


def test_without_a_terminal_it_is_refused_before_anything_is_asked(run, system, pictures):
    pictures(1)

    ran = run(*EMBED, "--select", "all")

    assert ran.code == 2
    assert "no terminal" in ran.err
    assert "--yes" in ran.err
    assert system.requests == []


def test_whoever_says_no_starts_nothing(run, system, db, pictures, answers):
    pictures(2)
    answers("n\n")

    ran = run(*EMBED, "--select", "all", "--json")

    assert ran.code == 1
    assert ran.json["error"]["code"] == "declined"
    assert "Start it over 2 items?" in ran.err
    assert [row["status"] for row in runs(db)] == ["planned"]


def test_whoever_says_yes_starts_it_and_is_told_how_to_watch_it(run, system, db, pictures, answers):
    pictures(2)
    answers("y\n")

    ran = run(*EMBED, "--select", "all", "--reason", "a better model")

    assert ran.code == 0, ran.err
    _, started = runs(db)
    short = str(started["run_id"])[:8]
    assert f"Run {short} is started." in ran.out
    assert f"./magpie runs wait {short}" in ran.err
    assert f"./magpie runs cancel {short}" in ran.err
    assert started["request"]["reason"] == "a better model"


def test_a_run_is_seen_through_to_its_end(run, system, db, pictures):
    pictures(4)

    ran = run(*EMBED, "--select", "status=analyzed", "--yes", "--wait", "--json")

    assert ran.code == 0, ran.err
    assert ran.json["estimate"]["items"] == ran.json["estimate"]["embeddings"] == 4
    assert ran.json["run"]["status"] == "succeeded"
    assert ran.json["run"]["items"]["done"] == 4
    assert ran.json["run"]["select"] == {"status": "analyzed"}
    (count,) = db.execute("SELECT count(*) AS n FROM items WHERE status = 'ready'").fetchall()
    assert count["n"] == 4

    # What one run took tells how long the next will take.
    again = run(*EMBED, "--select", "all", "--dry-run", "--json").json["estimate"]
    assert again["pace_of"] == ran.json["run"]["run_id"]
    assert again["seconds"] > 0
    assert again["embeddings"] == 0


def test_an_item_that_fails_fails_the_command_and_is_told_with_its_cause(run, system, pictures):
    poisoned = pictures(5)[2]

    def poison(name, payload):
        if name == "Embedder" and payload.get("item_id") == poisoned:
            raise ValueError("the vector has no end")

    system.machine.before = poison
    ran = run(*EMBED, "--select", "all", "--yes", "--wait")

    assert ran.code == 1
    assert "succeeded" in ran.out
    assert "4 done, 1 failed" in ran.out
    assert "ValueError: the vector has no end" in ran.out
    failed_in = next(line for line in ran.err.splitlines() if "failed-in=" in line).split("failed-in=")[1]

    # And the command that it names tries what failed again.
    system.machine.before = lambda name, payload: None
    again = run(*EMBED, "--select", f"failed-in={failed_in.split()[0]}", "--yes", "--wait", "--json")
    assert again.code == 0, again.err
    assert again.json["run"]["items"] | {"done": 1, "failed": 0} == again.json["run"]["items"]


def test_a_run_that_fails_fails_the_command(run, system, pictures):
    pictures(5)

    def poison(name, payload):
        if name == "Embedder":
            raise ValueError("no")

    system.machine.before = poison
    ran = run(*EMBED, "--select", "all", "--yes", "--wait")

    assert ran.code == 1
    assert "failed (Too many of its items failed)" in ran.out


def may_spend(db, usd):
    db.execute(
        "INSERT INTO user_profiles (user_id, subscription_tier, usage_limits) VALUES ('user-1', 'free', %s)",
        (json.dumps({"model_usd_per_month": usd}),),
    )


def test_what_costs_more_than_it_may_is_not_started(run, system, db, pictures):
    pictures(2)
    may_spend(db, None)
    vectors_cost(db, 1.5)

    ran = run(*EMBED, "--select", "all", "--max-cost", "2", "--yes", "--json")

    assert ran.code == 1
    assert ran.json["error"]["code"] == "over_max_cost"
    assert "$3.00" in ran.json["error"]["message"]
    assert ran.json["estimate"]["usd"] == 3
    assert {row["status"] for row in runs(db)} == {"planned"}
    # With enough, the limit goes along: the run itself holds it too.
    started = run(*EMBED, "--select", "all", "--max-cost", "4", "--yes", "--json").json["run"]
    assert outcome(db, started["run_id"])["request"]["max_cost_usd"] == 4


def test_a_budget_that_is_used_up_is_told_before_anything_starts(run, system, db, pictures):
    pictures(1)
    may_spend(db, 1)
    vectors_cost(db, 1.5)

    ran = run(*EMBED, "--select", "all", "--yes", "--json")

    assert ran.code == 1
    assert ran.json["error"]["code"] == "over_budget"
    assert ran.json["error"]["message"].endswith("Nothing was started.")


def test_a_start_whose_answer_is_lost_starts_one_run(run, system, db, pictures):
    pictures(2)
    system.loses = True

    ran = run(*EMBED, "--select", "all", "--yes", "--json")

    assert ran.code == 0, ran.err
    assert system.requests.count("POST /items/reprocess") == 4
    assert len(runs(db)) == 2  # the dry run and the run


def test_when_nothing_fits_nothing_is_started(run, system, db, pictures):
    pictures(2)

    ran = run(*EMBED, "--select", "category=Nothing", "--yes")

    assert ran.code == 0
    assert "No item fits" in ran.err
    assert [row["status"] for row in runs(db)] == ["planned"]
    assert run(*EMBED, "--select", "category=Nothing", "--yes", "--json").json["run"] is None


def test_beginnings_of_ids_are_enough(run, system, db, pictures):
    ids = pictures(3)

    ran = run(*EMBED, "--select", f"ids={ids[0][:9]},{ids[2]}", "--yes", "--wait", "--json")

    assert ran.code == 0, ran.err
    assert sorted(ran.json["run"]["select"]["ids"]) == sorted([ids[0], ids[2]])
    assert ran.json["run"]["items"]["done"] == 2
    missing = run(*EMBED, "--select", "ids=000000", "--yes", "--json")
    assert (missing.code, missing.json["error"]["code"]) == (1, "not_found")


def test_days_begin_where_the_person_is(run, system, db, pictures, monkeypatch):
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        ran = run(*EMBED, "--select", "since=2026-01-31", "--select", "until=2026-07-01", "--dry-run")
    finally:
        monkeypatch.undo()
        time.tzset()
    assert ran.code == 0, ran.err
    (dry,) = runs(db)
    select = dry["request"]["select"]
    assert datetime.fromisoformat(select["since"]) == datetime(2026, 1, 31, 5, tzinfo=UTC)
    assert datetime.fromisoformat(select["until"]) == datetime(2026, 7, 1, 4, tzinfo=UTC)


def test_days_ago_are_counted_from_now(run, system, db, pictures):
    pictures(1)
    pictures(1, created_at=datetime.now(UTC) - timedelta(days=9))

    assert run(*EMBED, "--select", "since=7d", "--dry-run", "--json").json["estimate"]["items"] == 1
    assert run(*EMBED, "--select", "until=1w", "--dry-run", "--json").json["estimate"]["items"] == 1


def test_ctrl_c_leaves_the_run_going_and_says_how_to_find_it_again(run, system, db, pictures, monkeypatch):
    pictures(2)
    slept = 0

    class Clock:
        monotonic = time.monotonic

        @staticmethod
        def sleep(seconds):
            nonlocal slept
            # The dry run is waited for first.
            if len(runs(db)) == 2:
                raise KeyboardInterrupt
            slept += 1
            time.sleep(seconds)

    monkeypatch.setattr(watching, "time", Clock)
    ran = run(*EMBED, "--select", "all", "--yes", "--wait", "--json")

    assert ran.code == 130
    run_id = ran.json["run"]["run_id"]
    assert f"runs wait {run_id[:8]}" in ran.json["error"]["message"]
    assert f"runs cancel {run_id[:8]}" in ran.json["error"]["message"]
    monkeypatch.undo()
    assert outcome(db, run_id)["status"] != "cancelled"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "Say which items"),
        (["--select", "failde"], "did you mean failed?"),
        (["--select", "status=redy"], "did you mean ready?"),
        (["--select", "all", "--select", "failed"], "leave it out"),
        (["--select", "failed", "--select", "status=ready"], "twice"),
        (["--select", "all=yes"], "takes no value"),
        (["--select", "category"], "takes a value"),
        (["--select", "since=yesterday"], "is no time"),
        (["--select", "since=9999999d"], "is no time"),
        (["--select", "since=0001-01-01T00:00+14:00"], "is no time"),
        (["--select", "since=2026-02-01", "--select", "until=2026-01-01"], "nothing lies between"),
        (["--select", "ids=abc"], "no item's id"),
        (["--select", "ids=" + ",".join(["0" * 32] * 1001)], "1000 at a time"),
        (["--select", "failed-in=last"], "no run's id"),
        (["--select", "all", "--stages", "analyse"], "did you mean analyze?"),
        (["--select", "all", "--stages", ","], "names none"),
        (["--select", "all", "--max-cost", "-1"], "max-cost"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else None,
)
def test_what_makes_no_sense_is_told_and_starts_nothing(run, here, magpie, options, told):
    ran = run("reprocess", *options, "--dry-run", "--json")

    assert ran.code == 2
    assert told in ran.json["error"]["message"]
    assert not [each for each in magpie.requests if each.method == "POST" and each.path != "/"]
