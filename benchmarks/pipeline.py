"""Photographs through the whole local stack: `python -m benchmarks.pipeline [--quick] [--json]`.

The stack is a process of its own with the offline models; photographs go the way that `magpie add` goes: the
API gives out a form, the file is posted by it, and the queues do the rest. Measured are

- the time from the post until the item is ready, one at a time, all at once, and at half the rate at which
  the stack can;
- pictures a second, and the CPU of each process for a picture: the functions, the stack itself (moto, queues,
  gateway), the database. What the handlers took is measured in their own processes, children included; all
  the rest is what it costs to run them here;
- what Powertools takes of a message.

Every photograph is another, cut out of those that the demo shows.
"""

import argparse
import io
import json
import logging
import os
import platform
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import psutil
import psycopg
from PIL import Image

from benchmarks.handler import Context
from benchmarks.local_stack import AT_ONCE, Stack, running, wait
from benchmarks.timing import Times

ITEMS, QUICK_ITEMS = 1000, 40
ALONE, QUICK_ALONE = 60, 10
UNDER_LOAD, QUICK_UNDER_LOAD = 200, 15
WARM_UP = 8
LOAD = 0.5
"""The rate of what comes while the latency under load is measured, as a share of what the stack can."""
MAX_LATENCY_MS = 400
MAX_OVERHEAD = 1.5
"""The most CPU of everything else, as a share of the handlers' own."""
MAX_POWERTOOLS_MS = 0.3
POWERTOOLS_ROUNDS = 2000
STAGES = ("image_processor", "analyzer", "embedder")

READY = """
SELECT line.item_id, extract(epoch FROM line.occurred_at)::float8 AS at
  FROM item_events AS line
 WHERE line.stage = 'embedder' AND line.event = 'ready'
"""


@cache
def _photographs() -> list[Image.Image]:
    from cli.demo import photographs

    return [Image.open(path).convert("RGB") for path in photographs()]


def picture(number: int) -> bytes:
    """Return a photograph, as a JPEG, that is cut out as no other number's is."""
    shown = _photographs()
    whole, cut = shown[number % len(shown)], number // len(shown) + 1
    left, top = cut % 16, cut // 16
    out = io.BytesIO()
    whole.crop((left, top, whole.width - 16 + left, whole.height - 4 + min(top, 4))).save(
        out, "JPEG", quality=90, comment=str(number).encode()
    )
    return out.getvalue()


@dataclass(frozen=True)
class Used:
    """Seconds of CPU, by process: `stack`, `database`, and each function by its name."""

    seconds: Mapping[str, float]

    @classmethod
    def by(cls, stack: Stack) -> "Used":
        """Return what the stack's processes have used until now, those included that have ended."""
        seconds: defaultdict[str, float] = defaultdict(float)
        process = psutil.Process(stack.pid)
        seconds["stack"] = _own(process)
        for child in process.children():
            command = child.cmdline()
            if "awslambdaric" in command:
                seconds[command[-1].split(".")[1]] += _own(child) + _ended(child)
            elif Path(command[0]).name == "postgres":
                seconds["database"] += _ended(child) + sum(map(_own, [child, *child.children()]))
        return cls(seconds)

    def __sub__(self, before: "Used") -> "Used":
        return Used({name: now - before.seconds.get(name, 0.0) for name, now in self.seconds.items()})


def _own(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0  # it has just ended: from now on its parent tells of it
    return float(times.user + times.system)


def _ended(process: psutil.Process) -> float:
    """Return what the children of a process have used that have ended."""
    times = process.cpu_times()
    return float(times.children_user + times.children_system)


@dataclass(frozen=True)
class Invocation:
    """What a handler took, in seconds."""

    function: str
    cpu: float
    began: float
    ended: float


def invocations(folder: Path, since: float) -> list[Invocation]:
    """Return what the handlers did that began at a moment or later."""
    return [
        found
        for path in folder.glob("*.jsonl")
        for line in path.read_text().splitlines()
        if (found := Invocation(path.name.rpartition("-")[0], **json.loads(line))).began >= since
    ]


class Sender:
    """Sends photographs, and knows when each was posted."""

    def __init__(self, stack: Stack, pictures: Sequence[bytes]) -> None:
        self._stack = stack
        self._pictures = pictures
        self._next = 0
        self.posted: dict[str, float] = {}

    def prepare(self, count: int) -> list[bytes]:
        """Return the next photographs, which nobody has sent."""
        self._next += count
        taken = list(self._pictures[self._next - count : self._next])
        if len(taken) < count:
            raise ValueError("there are not as many photographs")
        return taken

    def send(self, body: bytes) -> str:
        """Send a photograph as `magpie add` does; returns the item's id."""
        made = self._stack.ask("POST", "/items", {"filename": "photograph.jpg"})
        item_id = str(made["item_id"])
        self.posted[item_id] = time.time()
        self._stack.post(made["upload"], body)
        return item_id

    def latencies(self, ready: Mapping[str, float], items: Sequence[str]) -> Times:
        """Return what it took from the post until each item was ready."""
        return Times.of([ready[item_id] - self.posted[item_id] for item_id in items])


def alone(stack: Stack, sender: Sender, count: int) -> Times:
    """Send photographs one at a time, each when the one before is ready and nothing moves any more."""
    seconds = []
    with psycopg.connect(stack.about["database_url"], autocommit=True) as connection:
        for body in sender.prepare(count):
            item_id = sender.send(body)
            query = "SELECT 1 FROM items WHERE status = 'ready' AND user_id = %s AND item_id = %s"
            ask = partial(connection.execute, query, (stack.user_id, item_id))
            wait(lambda ask=ask: ask().fetchone(), pause=0.003)
            seconds.append(time.time() - sender.posted[item_id])
            time.sleep(0.1)
    return Times.of(seconds)


def settled(stack: Stack, items: Sequence[str]) -> dict[str, float]:
    """Wait until items are ready, and return when each became so."""
    wanted = set(items)

    def all_ready() -> dict[str, float] | None:
        (row,) = stack.rows("SELECT count(*) AS n FROM items WHERE status = 'ready'")
        if row["n"] < len(wanted):
            return None
        ready = {str(row["item_id"]): row["at"] for row in stack.rows(READY)}
        return ready if wanted <= ready.keys() else None

    found: dict[str, float] = wait(all_ready, pause=0.2)
    return found


def paced(sender: Sender, bodies: Sequence[bytes], rate: float) -> list[str]:
    """Send photographs at a rate, whether or not the ones before are ready."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        began, futures = time.monotonic(), []
        for number, body in enumerate(bodies):
            time.sleep(max(0.0, began + number / rate - time.monotonic()))
            futures.append(pool.submit(sender.send, body))
        return [future.result() for future in futures]


def powertools(rounds: int = POWERTOOLS_ROUNDS) -> dict[str, float]:
    """Return what Powertools takes of a message, in milliseconds: what a stage does with it, and no more.

    A stage logs two lines for a message that goes well, adds three keys, and looks up two parameters that it
    has kept. The same function without any of it is taken off.
    """
    from aws_lambda_powertools import Logger
    from aws_lambda_powertools.utilities.parameters import SSMProvider

    class Client:
        def get_parameter(self, **_: Any) -> dict[str, Any]:
            return {"Parameter": {"Value": "postgresql://", "Type": "String"}}

    logger = Logger(service="bench", stream=io.StringIO())
    provider = SSMProvider(boto3_client=Client())  # type: ignore[arg-type]

    @logger.inject_lambda_context(clear_state=True)
    def with_it(_: Any, __: Any) -> None:
        logger.append_keys(correlation_id="c")
        logger.append_keys(correlation_id="c", item_id="i")
        for name in ("database-url", "anthropic-api-key"):
            provider.get(name, max_age=300, decrypt=True)
        logger.info("reply charged", stored=True, provider="offline", model="measured-1", number=1)
        logger.info("original processed", status="processed", code=None, published=1)

    def without(_: Any, __: Any) -> None:
        pass

    taken: dict[str, list[float]] = {"with": [], "without": []}
    for number in range(rounds):
        for name, call in (("with", with_it), ("without", without)):
            began = time.perf_counter()
            call({"number": number}, Context())
            taken[name].append((time.perf_counter() - began) * 1000)
    return {"ms": round(statistics.median(taken["with"]) - statistics.median(taken["without"]), 3)}


def measure(items: int, alone_items: int, loaded_items: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Send photographs in three ways, and return the figures."""
    say("cutting photographs")
    pictures = [picture(number) for number in range(WARM_UP + alone_items + items + loaded_items)]
    with _metered_folder() as folder, running(folder) as stack:
        sender = Sender(stack, pictures)
        send_at_once = partial(ThreadPoolExecutor(AT_ONCE).map, sender.send)
        say("warming up")
        settled(stack, list(send_at_once(sender.prepare(WARM_UP))))
        say(f"{alone_items} photographs one at a time")
        one_at_a_time = alone(stack, sender, alone_items)
        say(f"{items} photographs at once")
        before, began = Used.by(stack), time.time()
        sent = list(send_at_once(sender.prepare(items)))
        posted = time.time()
        ready = settled(stack, list(sender.posted))
        seconds = max(ready[item_id] for item_id in sent) - began
        used, handled = Used.by(stack) - before, invocations(folder, began)
        rate = LOAD * items / seconds
        say(f"{loaded_items} photographs, {rate:.1f} a second")
        paced_items = paced(sender, sender.prepare(loaded_items), rate)
        ready = settled(stack, list(sender.posted))
        return {
            "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
            "items": items,
            "seconds": round(seconds, 1),
            "seconds_to_post": round(posted - began, 1),
            "items_per_second": round(items / seconds, 1),
            "latency_ms": {
                "one at a time": one_at_a_time.record(),
                f"at {rate:.1f} a second": sender.latencies(ready, paced_items).record(),
                "all at once": sender.latencies(ready, sent).record(),
            },
            "cpu_ms_per_item": _by_process(used, handled, items),
            "handlers": _by_function(handled, items),
            "powertools": powertools(),
        }


@contextmanager
def _metered_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="magpie-metered-") as folder:
        yield Path(folder)


def _by_process(used: Used, handled: Sequence[Invocation], items: int) -> dict[str, Any]:
    functions = sum(seconds for name, seconds in used.seconds.items() if name not in {"stack", "database"})
    handlers = sum(each.cpu for each in handled)
    parts = {
        "handlers": handlers,
        "functions, outside of the handlers": functions - handlers,
        "stack": used.seconds["stack"],
        "database": used.seconds["database"],
    }
    found: dict[str, Any] = {name: round(seconds / items * 1000, 1) for name, seconds in parts.items()}
    found["overhead"] = round((sum(parts.values()) - handlers) / handlers, 2)
    return found


def _by_function(handled: Sequence[Invocation], items: int) -> dict[str, dict[str, float]]:
    return {
        name: {
            "cpu_ms_per_item": round(sum(each.cpu for each in own) / items * 1000, 1),
            "wall_ms": round(statistics.median(each.ended - each.began for each in own) * 1000, 1),
            "invocations": len(own),
        }
        for name in ("api", *STAGES)
        if (own := [each for each in handled if each.function == name])
    }


def verdicts(found: Mapping[str, Any]) -> list[str]:
    """Say of each goal whether it is met."""
    asked = (
        (
            "upload to ready, one at a time, p50 in ms",
            found["latency_ms"]["one at a time"]["p50_ms"],
            MAX_LATENCY_MS,
        ),
        (
            "CPU beside the handlers', as a share of theirs",
            found["cpu_ms_per_item"]["overhead"],
            MAX_OVERHEAD,
        ),
        ("Powertools, ms of a message", found["powertools"]["ms"], MAX_POWERTOOLS_MS),
    )
    return [
        f"{'met' if value <= most else 'NOT MET':8}{name}: {value} (at most {most})"
        for name, value, most in asked
    ]


def told(found: Mapping[str, Any]) -> str:
    """Return the figures as tables."""
    lines = [
        f"{found['items']:,} photographs on {found['machine']}: {found['seconds']} s, "
        f"{found['items_per_second']} a second (all posted after {found['seconds_to_post']} s)",
        "",
        f"{'upload to ready, ms':40}{'p50':>9}{'p95':>9}",
    ]
    lines += [
        f"{name:40}{each['p50_ms']:9.0f}{each['p95_ms']:9.0f}" for name, each in found["latency_ms"].items()
    ]
    lines += ["", f"{'CPU, ms a photograph':40}"]
    lines += [f"{name:40}{value:9}" for name, value in found["cpu_ms_per_item"].items()]
    lines += ["", f"{'handlers':40}{'CPU ms a photograph':>21}{'wall ms a call':>16}{'calls':>8}"]
    lines += [
        f"{name:40}{each['cpu_ms_per_item']:21}{each['wall_ms']:16}{each['invocations']:8}"
        for name, each in found["handlers"].items()
    ]
    return "\n".join([*lines, "", *verdicts(found)]) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.pipeline",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ITEMS} photographs")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("--items", type=int, help="how many at once")
    given = parser.parse_args(arguments)
    logging.getLogger("PIL").setLevel(logging.WARNING)
    items, alone_items, loaded = (
        (QUICK_ITEMS, QUICK_ALONE, QUICK_UNDER_LOAD) if given.quick else (ITEMS, ALONE, UNDER_LOAD)
    )
    found = measure(given.items or items, alone_items, loaded, partial(print, file=sys.stderr, flush=True))
    found["goals"] = verdicts(found)
    sys.stdout.write(json.dumps(found, indent=1) + "\n" if given.json else told(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
