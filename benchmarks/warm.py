"""One function in a process of its own, warm: a message a line on stdin, and on stdout what it took.

Imports nothing that the function would not import, for its memory is measured too.
"""

import importlib
import io
import json
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from benchmarks.handler import Context
from benchmarks.process import cpu, megabytes


class Patient(Context):
    """A function with all the time in the world: for a model it wants some."""

    def get_remaining_time_in_millis(self) -> int:
        return 180_000


class Said(io.TextIOBase):
    """Stands for stdout, and counts what CloudWatch would be paid for. What warns is shown."""

    size = 0

    def write(self, text: str) -> int:
        self.size += len(text.encode())
        if '"level":"ERROR"' in text or '"level":"WARNING"' in text:
            sys.stderr.write(text)
        return len(text)


class Meter:
    """What went out of the process: AWS calls by operation, and round trips to the database.

    Attributes:
        waited: seconds by the clock, without those of the processor, of `aws` and `sql`.
    """

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.waited = {"aws": 0.0, "sql": 0.0}
        self.statements = 0

    def watch(self) -> None:
        """Count from now on what boto3 and psycopg do."""
        import psycopg
        from botocore.client import BaseClient

        call, wait = BaseClient._make_api_call, psycopg.Connection.wait  # type: ignore[attr-defined]

        def counted(client: Any, operation: str, parameters: Any) -> Any:
            self.calls[f"{client.meta.service_model.service_name}:{operation}"] += 1
            return self._timed("aws", call, client, operation, parameters)

        def waited(connection: Any, generator: Any, *more: Any, **named: Any) -> Any:
            self.statements += 1
            return self._timed("sql", wait, connection, generator, *more, **named)

        BaseClient._make_api_call = counted  # type: ignore[attr-defined]
        psycopg.Connection.wait = waited  # type: ignore[assignment]

    def _timed(self, what: str, work: Callable[..., Any], *given: Any, **named: Any) -> Any:
        began, processor = time.perf_counter(), time.process_time()
        try:
            return work(*given, **named)
        finally:
            self.waited[what] += time.perf_counter() - began - (time.process_time() - processor)


def peak() -> float:
    """Return the most memory so far. A child's counts but for what it only shares with its parent."""
    child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return megabytes("VmHWM") + max(0.0, child - megabytes("RssAnon"))


def main() -> None:
    """Import the function that is named, and answer until stdin ends."""
    answers, said, meter = sys.stdout, Said(), Meter()
    sys.stdout = said
    handler = importlib.import_module(f"functions.{sys.argv[1]}.handler").lambda_handler
    meter.watch()
    for line in sys.stdin:
        meter.calls, meter.statements, meter.waited = Counter(), 0, {"aws": 0.0, "sql": 0.0}
        written, before, began = said.size, cpu(), time.perf_counter()
        answer = handler(json.loads(line), Patient())
        took = {
            "wall_ms": (time.perf_counter() - began) * 1000,
            "cpu_ms": (cpu() - before) * 1000,
            "sql": meter.statements,
            "sql_ms": meter.waited["sql"] * 1000,
            "aws": dict(sorted(meter.calls.items())),
            "log_bytes": said.size - written,
            "peak_mb": peak(),
            "answer": answer,
        }
        answers.write(json.dumps(took, default=str) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
