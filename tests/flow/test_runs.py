"""A run through the whole local stack: asked of the API, run by the machine in functions' processes."""

import pytest

from tests.flow.test_flow import picture, rows
from tests.local.running import Running, wait_until

pytestmark = pytest.mark.stack

ENDED = {"succeeded", "failed", "cancelled", "planned", "timed_out"}


def test_a_run_over_what_is_there_ends_with_its_counts_and_a_report(system: Running, bert) -> None:
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


def test_a_cancelled_run_is_reported_by_way_of_its_queue(system: Running, bert) -> None:
    started = bert.ask("POST", "/items/reprocess", {"select": {"all": True}, "force": True}).json()
    bert.ask("POST", f"/runs/{started['run_id']}/cancel")
    run = wait_until(lambda: (found := bert.get(f"/runs/{started['run_id']}"))["report"] and found, 60)
    assert run["status"] == "cancelled"
