"""A run over 1,000 items on the local stack, every count of it looked at: `python -m benchmarks.runs`.

The stack is a process of its own, in a folder of its own, with the offline models. Small pictures are put
into the uploads bucket, go through the queues, and are then worked on once more by a run: all three stages,
with new analyses. The same input a second time has to change nothing.
"""

import argparse
import io
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import Any
from uuid import uuid4

import urllib3
from PIL import Image

from benchmarks.local_stack import AT_ONCE, Stack, running, wait

ITEMS, QUICK_ITEMS = 1000, 20
STAGES = ("process", "analyze", "embed")
OUTCOMES = ("done", "ignored", "rejected", "failed")


class WrongCountError(Exception):
    """A count is not what it has to be."""


def picture(number: int) -> bytes:
    """Return a small photograph-like JPEG that no other number gives."""
    fractal = Image.effect_mandelbrot((64, 48), (-2 + number / 2000, -1.5, 1, 1.5), 30).convert("RGB")
    tint = Image.new("RGB", fractal.size, (number * 7 % 256, number * 3 % 256, 128))
    out = io.BytesIO()
    Image.blend(fractal, tint, 0.4).resize((320, 240)).save(out, "JPEG", comment=str(number).encode())
    return out.getvalue()


def bring_in(stack: Stack, items: int) -> float:
    """Put so many pictures into the uploads bucket; returns the seconds until all of them are ready."""
    s3, bucket = stack.client("s3"), stack.about["uploads_bucket"]
    pictures = [picture(number) for number in range(items)]
    began = time.perf_counter()

    def put(number: int) -> None:
        key = f"{stack.user_id}/bench/{number:05}.jpg"
        s3.put_object(Bucket=bucket, Key=key, Body=pictures[number], ContentType="image/jpeg")

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(put, range(items)))

    def all_ready() -> bool:
        (row,) = stack.rows("SELECT count(*) AS n FROM items WHERE status = 'ready'")
        return bool(row["n"] == items)

    wait(all_ready)
    return time.perf_counter() - began


def finished(stack: Stack, run_id: str) -> dict[str, Any]:
    """Return a run that has ended and has been reported."""

    def ended() -> dict[str, Any] | None:
        found = stack.ask("GET", f"/runs/{run_id}")
        return found if found["finished_at"] and found["report"] else None

    found: dict[str, Any] = wait(ended)
    return found


def stages(stack: Stack, run: Mapping[str, Any]) -> dict[str, float]:
    """Return the seconds that a run was in each state of the machine, by its history."""
    events = stack.ask("GET", f"/runs/{run['run_id']}/history")["events"]
    entered = [
        (each["state"], datetime.fromisoformat(each["at"]))
        for each in events
        if each["event"].endswith("StateEntered")
    ]
    ends = [at for _, at in entered[1:]] + [datetime.fromisoformat(events[-1]["at"])]
    taken: dict[str, float] = {}
    for (state, begun), ended in zip(entered, ends, strict=True):
        taken[state] = taken.get(state, 0.0) + (ended - begun).total_seconds()
    return {state: seconds for state, seconds in taken.items() if seconds >= 0.05}


def counted(stack: Stack) -> dict[str, int]:
    """Return how many rows there are of everything that a run makes."""
    (row,) = stack.rows(
        """
        SELECT (SELECT count(*) FROM items) AS items,
               (SELECT count(*) FROM items WHERE status = 'ready') AS ready,
               (SELECT count(*) FROM analyses) AS analyses,
               (SELECT count(*) FROM embeddings) AS embeddings,
               (SELECT count(*) FROM scan_runs) AS runs,
               (SELECT count(*) FROM scan_results) AS results,
               (SELECT count(*) FROM scan_results WHERE outcome = 'done') AS done
        """
    )
    return row


def expect(what: str, found: object, expected: object) -> None:
    """Compare a count with what it has to be.

    Raises:
        WrongCountError: it is something else.
    """
    if found != expected:
        raise WrongCountError(f"{what}: {found}, and not {expected}")


def check(stack: Stack, run: Mapping[str, Any], items: int) -> None:
    """Look at every count of a run over so many items, wherever it is told.

    Raises:
        WrongCountError: one of them is wrong.
    """
    outcomes = {**dict.fromkeys(OUTCOMES, 0), "done": items}
    expect("status", run["status"], "succeeded")
    expect("items", run["items"], {"planned": items, **outcomes, "left": 0})
    expect("stages", run["by_stage"], dict.fromkeys(STAGES, outcomes))
    expect("failures", run["failures"], [])
    expect("cost", run["cost_usd"], 0)
    expect("estimate", run["estimate"]["items"], items)
    expect(
        "rows",
        counted(stack),
        {
            "items": items,
            "ready": items,
            "analyses": 2 * items,
            "embeddings": items,
            "runs": 1,
            "results": items,
            "done": items,
        },
    )
    report = urllib3.request("GET", run["report"]["json_url"]).json()
    expect("report", report["items"], run["items"])
    expect("report, by stage", report["by_stage"], run["by_stage"])


def repeat(stack: Stack, run: Mapping[str, Any], items: int) -> float:
    """Start an execution with the same input once more; returns the seconds it took.

    Raises:
        WrongCountError: it did something again that had been done.
    """
    (row,) = stack.rows("SELECT request, execution_arn FROM scan_runs")
    arn = row["execution_arn"]
    sfn = stack.client("stepfunctions")
    machine = arn.replace(":execution:", ":stateMachine:").rpartition(":")[0]
    began = time.perf_counter()
    again = sfn.start_execution(
        stateMachineArn=machine, name=f"again-{uuid4()}", input=json.dumps(row["request"])
    )["executionArn"]
    wait(lambda: sfn.describe_execution(executionArn=again)["status"] != "RUNNING")
    seconds = time.perf_counter() - began
    check(stack, finished(stack, run["run_id"]), items)
    return seconds


def measure(items: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Return what it took, in seconds, and items a second.

    Raises:
        WrongCountError: a count is wrong.
    """
    with running() as stack:
        say(f"bringing in {items} pictures")
        brought_in = bring_in(stack, items)
        say("running all stages over them")
        began = time.perf_counter()
        asked = {"select": {"all": True}, "stages": list(STAGES), "force": True, "reason": "benchmark"}
        started = stack.ask("POST", "/items/reprocess", asked)
        run = finished(stack, started["run_id"])
        took = time.perf_counter() - began
        check(stack, run, items)
        by_state = stages(stack, run)
        say("the same input once more")
        again = repeat(stack, run, items)
        return {
            "items": items,
            "machine": f"{os.cpu_count()} cores",
            "seconds": {
                "upload to ready": round(brought_in, 1),
                "run": round(took, 1),
                **{f"run, {state}": round(each, 1) for state, each in by_state.items()},
                "the same again": round(again, 1),
            },
            "items_per_second": {
                "upload to ready": round(items / brought_in, 1),
                "run": round(items / took, 1),
                "the same again": round(items / again, 1),
            },
            "counts": "right",
        }


def told(found: Mapping[str, Any]) -> str:
    """Return the figures as a table."""
    lines = [f"{found['items']:,} items on {found['machine']}; every count is right", ""]
    lines.append(f"{'':24}{'seconds':>9}{'items/s':>9}")
    for name, seconds in found["seconds"].items():
        rate = found["items_per_second"].get(name, "")
        lines.append(f"{name:24}{seconds:9.1f}{rate:>9}")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; the exit code says whether every count was right."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.runs", description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ITEMS} items, in under a minute")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("--items", type=int, help="how many")
    given = parser.parse_args(arguments)
    items = given.items or (QUICK_ITEMS if given.quick else ITEMS)
    say = partial(print, file=sys.stderr, flush=True)
    try:
        found = measure(items, say)
    except WrongCountError as error:
        say(f"a count is wrong: {error}")
        return 1
    sys.stdout.write(json.dumps(found, indent=1) + "\n" if given.json else told(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
