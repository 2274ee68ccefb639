"""From the start of a process to its first answer: `python -m benchmarks.cold_start [--quick] [--json]`.

Each function in a new process, with the environment that the local stack gives it, from its start until the
handler is imported, and until the first message is done: a picture rendered, described and embedded again
by the offline models, a list of items. Three in turn, round after round: as it is; without compiled `.pyc`
of anything but Python's own library, which is how `sam build` leaves it; and naive, with the SDKs imported
and the clients made at the top of the module. Megabytes are those of the process; of what is deployed,
`make build` tells them.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import psycopg

from benchmarks.photographs import make
from benchmarks.pictures import CACHE, machine

ROOT = Path(__file__).resolve().parent.parent
ROUNDS, QUICK_ROUNDS = 11, 2
PATIENCE_SECONDS = 120
UNCOMPILED = "without .pyc"
WAYS, QUICK_WAYS = ("ours", UNCOMPILED, "naive"), ("ours", "naive")
COMPILED = CACHE / "compiled"
"""Compiled modules, kept for the next time: Python compiles anew what has changed since."""
CLIENTS = "import boto3, psycopg\nfor name in {}: boto3.client(name)\n"
FUNCTIONS = {
    "image_processor": ("ImageProcessor", CLIENTS.format(("s3", "events", "ssm"))),
    "analyzer": ("Analyzer", CLIENTS.format(("s3", "events", "ssm")) + "import anthropic\n"),
    "embedder": ("Embedder", CLIENTS.format(("events", "ssm")) + "import voyageai\n"),
    "api": ("Api", CLIENTS.format(("s3", "ssm", "lambda")) + "import voyageai\n"),
}
"""Function → its name in the template, and what its handler would begin with if it were naive."""
GOALS = {"analyzer": 0.5, "embedder": 0.5, "image_processor": 1.25 * 193 / 374, "api": 1.25 * 143 / 618}
"""Function → the most CPU to the handler, as a share of the naive one's. Of the last two: what a trial
reached against what naive cost it, and a quarter."""

PROGRAM = """
import sys, time
before = len(sys.modules)
{first}from functions.{function}.handler import lambda_handler
ready, ready_cpu, modules = time.monotonic(), time.process_time(), len(sys.modules) - before
import json, os
from benchmarks.handler import Context
from benchmarks.process import cpu, megabytes
ready_mb = megabytes("VmRSS")
began = time.monotonic()
found = lambda_handler(json.loads(os.environ["EVENT"]), Context())
done, done_cpu, started = time.monotonic(), cpu(), float(os.environ["STARTED"])
if found.get("statusCode", 200) != 200 or found.get("status", "ready") in ("ignored", "gone", "rejected"):
    raise SystemExit(f"the first message came to nothing: {{found}}")
with open(os.environ["FIGURES"], "w") as file:
    json.dump(dict(
        ready_ms=(ready - started) * 1000, ready_cpu_ms=ready_cpu * 1000, modules=modules, ready_mb=ready_mb,
        first_ms=(ready - started + done - began) * 1000, first_cpu_ms=done_cpu * 1000,
        modules_then=len(sys.modules) - before, first_mb=megabytes("VmHWM"),
    ), file)
"""
WARM = """
import json, os, sys
from functools import partial
from functions.image_processor import sandbox
from functions.image_processor.handler import lambda_handler
from functions.image_processor.rendition import render
from benchmarks.handler import Context
from benchmarks.process import cpu
from pathlib import Path
work = partial(render, Path(os.environ["PICTURE"]), 64_000_000, False)
spent = dict(message=[], child=[], render=[])
def timed(name, call):
    before = cpu()
    call()
    spent[name].append((cpu() - before) * 1000)
asked = json.loads(os.environ["EVENTS"])
for event in asked:
    timed("message", lambda: lambda_handler(event, Context()))
    timed("child", lambda: sandbox.run(work))
for _ in asked:  # not in turn with the others: a process that has rendered can have no such child any more
    timed("render", work)
with open(os.environ["FIGURES"], "w") as file:
    json.dump({name: each[1:] for name, each in spent.items()}, file)  # the first one opens connections
"""
PICTURE = "12 MP JPEG"
MAX_MESSAGE = 1.25
"""The most CPU of a message to image_processor, as a share of that of the render in its child process."""


def start(function: str, way: str, environment: Mapping[str, str], folder: Path) -> dict[str, float]:
    """Run one process, and return what it says of itself."""
    program = PROGRAM.format(function=function, first=FUNCTIONS[function][1] if way == "naive" else "")
    own = {"PYTHONPYCACHEPREFIX": str(folder / "bare" if way == UNCOMPILED else COMPILED)}
    if way == UNCOMPILED:
        own["PYTHONDONTWRITEBYTECODE"] = "1"
    found: dict[str, float] = _run(program, {**environment, **own}, folder)
    return found


def message(
    environment: Mapping[str, str], event: Mapping[str, Any], times: int, folder: Path
) -> dict[str, Any]:
    """Return the CPU of a message to a warm image_processor, and of the render alone in a child and here."""
    asked = {
        "EVENTS": json.dumps([json.loads(again(event)) for _ in range(times + 1)]),
        "PICTURE": str(make(CACHE / "pictures", [PICTURE])[PICTURE]),
    }
    spent = _run(WARM, {**environment, **asked}, folder)
    medians = {f"{name}_cpu_ms": round(statistics.median(each), 1) for name, each in spent.items()}
    ratios = [one / other for one, other in zip(spent["message"], spent["child"], strict=True)]
    return medians | {"ratio": round(statistics.median(ratios), 2)}


def _run(program: str, environment: Mapping[str, str], folder: Path) -> Any:
    figures = folder / "figures.json"
    done = subprocess.run(  # noqa: S603 - this interpreter
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**environment, "FIGURES": str(figures), "STARTED": str(time.monotonic())},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"a process failed: {(done.stdout + done.stderr)[-2000:]}")
    return json.loads(figures.read_text())


def events(stack: Any) -> dict[str, dict[str, Any]]:
    """Bring in a picture, wait until it is ready, and return a message about it for each function."""
    user = stack.user["sub"]
    path = make(CACHE / "pictures", [PICTURE])[PICTURE]
    s3 = boto3.client(
        "s3",
        endpoint_url=stack.aws_url,
        region_name="us-east-1",
        aws_access_key_id="local",
        aws_secret_access_key="local",  # noqa: S106 - the stack's own, which everybody knows
    )
    key = f"{user}/cold.jpg"
    s3.put_object(Bucket=stack.uploads_bucket, Key=key, Body=path.read_bytes(), ContentType="image/jpeg")
    deadline = time.monotonic() + PATIENCE_SECONDS
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        while not (row := connection.execute("SELECT item_id FROM items WHERE status = 'ready'").fetchone()):
            if time.monotonic() > deadline:
                raise SystemExit("the picture did not become ready")
            time.sleep(0.2)
    item = {"user_id": user, "item_id": str(row[0]), "announce": False}
    listing = json.loads((ROOT / "events/samples/api/list_items.json").read_text())
    claims = listing["requestContext"]["authorizer"]["jwt"]["claims"]
    claims |= {"sub": user, "client_id": stack.sign_in["client_id"]}
    return {"image_processor": item, "analyzer": item, "embedder": item, "api": listing}


def again(event: Mapping[str, Any]) -> str:
    """Return the message as one that asks for work that has not been done yet."""
    return json.dumps({**event, "run_id": f"cold-{uuid4()}"} if "item_id" in event else event)


def measure(say: Any, quick: bool) -> dict[str, Any]:
    """Return the medians of each function and way."""
    rounds, ways = (QUICK_ROUNDS, QUICK_WAYS) if quick else (ROUNDS, WAYS)
    from local.stack import Stack

    for key in ("ANTHROPIC_API_KEY", "VOYAGE_API_KEY"):
        os.environ.pop(key, None)
    # Short, because a Unix socket's path has at most 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="magpie-cold-"))
    taken: dict[str, dict[str, list[dict[str, float]]]] = {}
    try:
        with Stack(folder / "data", 0, 0, say=say) as stack:
            asked = events(stack)
            environments = {
                name: _environment(stack, logical_id) for name, (logical_id, _) in FUNCTIONS.items()
            }
            for name, environment in environments.items():
                # Imports all that the others do: compiles it, and brings the files into memory.
                start(name, "naive", {**environment, "EVENT": again(asked[name])}, folder)
            if UNCOMPILED in ways:
                _leave_only_pythons_own(folder)
            for number in range(rounds):
                say(f"round {number + 1} of {rounds}")
                for name, environment in environments.items():
                    for way in ways:
                        figures = start(name, way, {**environment, "EVENT": again(asked[name])}, folder)
                        taken.setdefault(name, {}).setdefault(way, []).append(figures)
            warm = message(environments["image_processor"], asked["image_processor"], rounds + 2, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {
        "machine": machine(),
        "rounds": rounds,
        "message": warm,
        "functions": {
            name: {way: _medians(each, by_way["naive"]) for way, each in by_way.items()}
            for name, by_way in taken.items()
        },
    }


def _environment(stack: Any, logical_id: str) -> dict[str, str]:
    found: dict[str, str] = stack._pools[logical_id].variables("127.0.0.1:9")
    return found | {"PYTHONPATH": str(ROOT), "POWERTOOLS_LOG_LEVEL": "CRITICAL"}


def _leave_only_pythons_own(folder: Path) -> None:
    """Make a second cache of compiled modules, without those of any package or of ours."""
    shutil.copytree(COMPILED, folder / "bare")
    for path in (ROOT, Path(sys.prefix)):
        shutil.rmtree(folder / "bare" / path.relative_to("/"), ignore_errors=True)


def _medians(taken: Sequence[Mapping[str, float]], naive: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    found: dict[str, Any] = {
        name: round(statistics.median(each[name] for each in taken), 1) for name in taken[0]
    }
    ratios = sorted(
        each["ready_cpu_ms"] / other["ready_cpu_ms"] for each, other in zip(taken, naive, strict=True)
    )
    found["ratio"] = round(
        found["ready_cpu_ms"] / statistics.median(each["ready_cpu_ms"] for each in naive), 2
    )
    found["ratio_range"] = [round(ratios[0], 2), round(ratios[-1], 2)]
    return found


def verdicts(functions: Mapping[str, Mapping[str, Mapping[str, Any]]], warm: Mapping[str, Any]) -> list[str]:
    """Say of each goal whether it is met."""
    said = []
    for name, most in GOALS.items():
        found = functions[name]["ours"]["ratio"]
        met = "met" if found <= most else "NOT MET"
        said.append(f"{met:8}{name}, CPU to the handler as a share of naive: {found} (at most {most:.2f})")
    met = "met" if warm["ratio"] <= MAX_MESSAGE else "NOT MET"
    return [
        *said,
        f"{met:8}image_processor, CPU of a message about a {PICTURE} as a share of its render's: "
        f"{warm['ratio']} (at most {MAX_MESSAGE}): {warm['message_cpu_ms']} and {warm['child_cpu_ms']} ms; "
        f"without a child process {warm['render_cpu_ms']}",
    ]


def told(found: Mapping[str, Any]) -> str:
    """Return the figures as a table."""
    lines = [found["machine"]]
    for name, ways in found["functions"].items():
        lines += ["", name]
        lines.append(
            f"  {'':14}{'to the handler':>22}{'x naive':>9}{'modules':>9}{'MB':>7}"
            f"{'to the first answer':>27}{'modules':>9}{'MB':>7}"
        )
        for way, each in ways.items():
            ready = f"{each['ready_cpu_ms']:.0f} ms CPU, {each['ready_ms']:.0f}"
            first = f"{each['first_cpu_ms']:.0f} ms CPU, {each['first_ms']:.0f}"
            lines.append(
                f"  {way:14}{ready:>22}{each['ratio']:>9}{each['modules']:9.0f}{each['ready_mb']:7.0f}"
                f"{first:>27}{each['modules_then']:9.0f}{each['first_mb']:7.0f}"
            )
    return "\n".join([*lines, "", *verdicts(found["functions"], found["message"])]) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cold_start",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="two rounds, without the one that compiles")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    given = parser.parse_args(arguments)

    def say(text: str) -> None:
        sys.stderr.write(f"{text}\n")

    found = measure(say, given.quick)
    found["goals"] = verdicts(found["functions"], found["message"])
    sys.stdout.write(json.dumps(found, indent=1) + "\n" if given.json else told(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
