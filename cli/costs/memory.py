"""How long a message takes by the memory of its function, and which memory is cheapest.

Lambda gives processor time in proportion to memory: one whole processor at 1,769 MB
(https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html). A handler does one thing after the
other, so that more than one processor makes nothing quicker. Waiting takes what it takes.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cli.costs import data

WHOLE_PROCESSOR_MB = 1769
SIZES = (512, 768, 1024, 1280, 1536, 1769, 2048, 3008)
"""Memory sizes in MB that are looked at. Less than the first starts too slowly to be worth the money."""


@dataclass(frozen=True)
class Work:
    """What a message takes: processor time on one whole processor, and time that is only waited, in ms."""

    cpu_ms: float
    waiting_ms: float

    def duration_ms(self, memory_mb: int) -> int:
        """Return what is billed: whole milliseconds."""
        return math.ceil(self.waiting_ms + self.cpu_ms / min(1.0, memory_mb / WHOLE_PROCESSOR_MB))

    def usd(self, memory_mb: int, disk_mb: int = 0, *, arm: bool = False) -> float:
        """Return what Lambda takes for one invocation."""
        seconds = self.duration_ms(memory_mb) / 1000
        each = data.price("lambda_gb_second_arm" if arm else "lambda_gb_second")
        disk = seconds * disk_mb / 1024 * data.price("lambda_disk_gb_second")
        return data.price("lambda_request") + seconds * memory_mb / 1024 * each + disk


def work(took: Mapping[str, Any], model_seconds: float = 0.0) -> Work:
    """Return the work of a message that was measured, with what the network adds on AWS.

    Args:
        model_seconds: that a model takes to answer.
    """
    calls = sum(
        count * data.assumed("s3_ms" if name.startswith("s3:") else "aws_ms")
        for name, count in took["aws"].items()
    )
    database = took["sql_ms"] + took["sql"] * data.assumed("database_ms")
    return Work(took["cpu_ms"], calls + database + 1000 * model_seconds)


def least_mb(peak_mb: float) -> int:
    """Return the smallest size that leaves room above what was measured."""
    needed = peak_mb * data.assumed("headroom")
    return next(size for size in SIZES if size >= needed)


def cheapest(what: Work, at_least_mb: int) -> int:
    """Return the memory size that costs least; of those that cost the same, the quickest."""
    allowed = [size for size in SIZES if size >= at_least_mb]
    return min(allowed, key=lambda size: (round(what.usd(size), 12), -size))
