"""A run through the whole local stack: asked of the API, run by the machine in functions' processes."""

import json
from typing import Any

import pytest

from cli.app import main
from tests.flow.test_flow import picture, rows
from tests.local.running import Running, wait_until

pytestmark = pytest.mark.stack

ENDED = {"succeeded", "failed", "cancelled", "planned", "timed_out"}


def test_a_run_over_what_is_there_ends_with_its_counts_a_report_and_a_mail(
    system: Running, bert, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bert.ask("PATCH", "/me", {"notifications": {"scan_complete": True}}).status == 200
    ids = [bert.upload(picture(f"run {number}")) for number in range(3)]
    for item_id in ids:
        bert.wait(item_id, "ready")
    body = {"select": {"ids": ids}, "reason": "flow"}
    started = bert.ask("POST", "/items/reprocess", body)
    assert started.status == 202, started.data
    run_id = started.json()["run_id"]
    run = wait_until(
        lambda: (found := bert.get(f"/runs/{run_id}"))["status"] in ENDED and found["report"] and found, 60
    )
    assert run["status"] == "succeeded", run
    assert (run["items"]["planned"], run["items"]["done"], run["items"]["left"]) == (3, 3, 0)
    assert set(run["by_stage"]) == {"process", "analyze", "embed"}
    html = system.http.request("GET", run["report"]["html"])
    assert html.status == 200
    assert b"<svg" in html.data
    history = bert.get(f"/runs/{run_id}/history")
    assert [line["state"] for line in history["events"] if line["event"].endswith("StateEntered")] == [
        "Begin",
        "Question",
        "ScanPlanner",
        "Planned",
        "Items",
        "MoreItems",
        "ScanReporter",
    ]
    # Nothing was described or paid for again.
    (count,) = rows(system, "SELECT count(*) FROM analyses WHERE item_id = ANY (%s)", ids)
    assert count["count"] == 3
    assert [item["status"] for item in (bert.get(f"/items/{item_id}") for item_id in ids)] == ["ready"] * 3

    def sent() -> list[dict[str, Any]]:
        capsys.readouterr()
        assert main(["mail", "list", "--json", "--data", str(system.data)]) == 0
        mails = json.loads(capsys.readouterr().out)["mails"]
        return [mail for mail in mails if mail["to"] == [bert.email]]

    (mail,) = wait_until(sent, 30)
    assert mail["subject"] == "Your reprocessing is done: 3 pictures"
    assert mail["tags"] == {"user_id": bert.sub, "kind": "scan_complete"}
    # What SES says of it comes back by the default bus, and is written down.
    (event,) = wait_until(
        lambda: rows(system, "SELECT * FROM email_events WHERE message_id = %s", mail["message_id"]), 30
    )
    assert (event["event_type"], event["user_id"]) == ("Delivery", bert.sub)


def test_a_cancelled_run_is_reported_by_way_of_its_queue(system: Running, bert) -> None:
    started = bert.ask("POST", "/items/reprocess", {"select": {"all": True}, "force": True}).json()
    bert.ask("POST", f"/runs/{started['run_id']}/cancel")
    run = wait_until(lambda: (found := bert.get(f"/runs/{started['run_id']}"))["report"] and found, 60)
    assert run["status"] == "cancelled"
