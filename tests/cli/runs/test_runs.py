"""`magpie runs`: what is going on, what came of it, and how it is ended."""

import re

import pytest

from cli.target import NOT_RUNNING

EMBED = ("reprocess", "--stages", "embed", "--select", "all", "--yes")


def finished(run, *options):
    ran = run(*EMBED, "--wait", "--json", *options)
    return ran.json["run"]


def test_a_run_is_listed_and_shown_with_all_that_is_known_of_it(run, system, pictures):
    poisoned = pictures(6)[0]

    def poison(name, payload):
        if name == "Embedder" and payload.get("item_id") == poisoned:
            raise ValueError("it is \x1b[31mpoisoned")

    system.machine.before = poison
    made = finished(run, "--reason", "to be seen")
    short = made["run_id"][:8]

    listed = run("runs", "list").out.splitlines()
    assert listed[0].split() == ["Run", "Status", "What", "Items", "Cost", "Took", "Age", "Why"]
    assert short in listed[1]
    assert "succeeded" in listed[1]
    assert "to be seen" in listed[1]
    assert "dry run: embed" in listed[2]

    shown = run("runs", "show", short)
    assert shown.code == 0
    for part in (made["run_id"], "all items", "to be seen", "6 vectors", "ValueError: it is", poisoned[:8],
                 "ScanPlanner", "MapRunSucceeded", "ExecutionSucceeded", made["report"]["html"][:60],
    ):  # fmt: skip
        assert part in shown.out
    assert ["embed", "5", "0", "0", "1"] in [line.split() for line in shown.out.splitlines()]
    assert "\x1b" not in shown.out

    document = run("runs", "show", made["run_id"], "--json").json
    assert document["by_stage"] == {"embed": {"done": 5, "ignored": 0, "rejected": 0, "failed": 1}}
    assert document["history"]["events"][-1]["event"] == "ExecutionSucceeded"


def test_the_beginning_of_an_id_is_enough_where_it_is_the_only_one(run, system, db, pictures):
    for last in "12":
        db.execute(
            "INSERT INTO scan_runs (user_id, run_id, kind, request, status) "
            "VALUES ('user-1', %s, 'reprocess', '{\"stages\": [\"embed\"]}', 'cancelled')",
            (f"abcdef12-3456-4000-8000-00000000000{last}",),
        )

    assert run("runs", "show", "ABCDEF12345640008000000000000001", "--json").code == 0
    both = run("runs", "show", "abcdef", "--json")
    assert (both.code, both.json["error"]["code"]) == (1, "ambiguous")
    none = run("runs", "wait", "012345", "--json")
    assert (none.code, none.json["error"]["code"]) == (1, "not_found")
    other = run("runs", "cancel", "01234567-3456-4000-8000-000000000001", "--json")
    assert (other.code, other.json["error"]["code"]) == (1, "not_found")


def test_a_run_is_cancelled_and_fails_whoever_waits_for_it(run, system, db):
    run_id = "01234567-3456-4000-8000-000000000001"
    db.execute(
        "INSERT INTO scan_runs (user_id, run_id, kind, request, planned_items) "
        "VALUES ('user-1', %s, 'reprocess', '{\"stages\": [\"embed\"]}', 7)",
        (run_id,),
    )

    ran = run("runs", "cancel", "012345")

    assert (ran.code, ran.out) == (0, "")
    assert ran.err == "Run 01234567 is cancelled. 7 not begun.\n"
    assert run("runs", "cancel", "012345", "--json").json["status"] == "cancelled"
    waited = run("runs", "wait", "012345")
    assert (waited.code, waited.out) == (1, "Run 01234567 was cancelled. 7 not begun.\n")


def test_a_run_that_has_ended_cannot_be_cancelled(run, system, pictures):
    pictures(1)
    made = finished(run)

    ran = run("runs", "cancel", made["run_id"][:8], "--json")

    assert ran.code == 1
    assert ran.json["error"]["code"] == "ended"
    assert "succeeded" in ran.json["error"]["message"]
    assert ran.json["run"]["status"] == "succeeded"
    # To wait for it is no trouble.
    assert run("runs", "wait", made["run_id"][:8]).code == 0


def test_all_pages_are_listed_when_all_are_wanted(run, system, db):
    db.execute(
        "INSERT INTO scan_runs (user_id, run_id, kind, request, status) "
        "SELECT 'user-1', gen_random_uuid(), 'reprocess', '{}', 'cancelled' FROM generate_series(1, 130)"
    )

    assert len(run("runs", "list", "--all", "--json").json["runs"]) == 130
    some = run("runs", "list", "--json").json
    assert (len(some["runs"]), some["more"]) == (20, True)
    assert len(run("runs", "list", "--limit", "125", "--json").json["runs"]) == 125


@pytest.mark.parametrize("columns", ["40", "80", "140"])
def test_lines_fit_the_terminal(run, system, db, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    db.execute(
        """
        INSERT INTO scan_runs (user_id, run_id, kind, request, status, planned_items,
                               error_code, error_message)
        VALUES ('user-1', gen_random_uuid(), 'scan', '{"stages": ["process", "analyze", "embed"]}', 'failed',
                1234567, 'over_budget', 'It would cost about 12.00 dollars; 3.00 of this month are left.')
        """
    )

    ran = run("runs", "list")

    assert ran.code == 0
    assert max(map(len, ran.out.splitlines())) <= int(columns)


def test_no_run_yet_is_no_failure(run, system):
    ran = run("runs", "list")

    assert (ran.code, ran.out) == (0, "")
    assert "./magpie reprocess" in ran.err
    assert run("runs", "list", "--json").json == {"runs": [], "more": False}


@pytest.mark.parametrize(
    "command",
    [
        ["reprocess", "--select", "all", "--yes"],
        ["runs", "list"],
        ["runs", "wait", "abcdef"],
        ["scans", "list"],
        ["dlq", "list"],
    ],
    ids=" ".join,
)
def test_without_a_magpie_there_is_one_line(run, tmp_path, command):
    ran = run(*command, "--data", str(tmp_path))

    assert (ran.code, ran.out, ran.err) == (1, "", NOT_RUNNING + "\n")


GROUPS = {
    "runs": ("list", "show", "cancel", "wait"),
    "scans": ("list", "create", "show", "change", "pause", "resume", "delete", "run", "runs"),
    "dlq": ("list", "show", "redrive", "purge"),
}


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_without_a_command_shows_its_commands_and_exits_2(run, group):
    ran = run(group)

    assert (ran.code, ran.out) == (2, "")
    for command in GROUPS[group]:
        assert re.search(rf"^│ {command} ", ran.err, re.MULTILINE), command
        helped = run(group, command, "--help")
        assert helped.code == 0
        assert "--json" in helped.out
    assert run(group, "nonsense", "--json").json["error"]["code"] == "usage"
