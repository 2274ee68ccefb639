"""Meter a function's handler, in the function's own process.

Python imports this by itself in every process that has the folder on its path, before Lambda's runtime
client looks for the handler. Each invocation becomes a line in a file of the process: what the handler took,
its children included, as the kernel counts it, and when it began and ended.
"""

import json
import os
import resource
import time
from pathlib import Path
from typing import Any

from awslambdaric import bootstrap


def cpu() -> float:
    """Return the seconds of CPU that this process and its ended children have used."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def _metered(get_handler: Any) -> Any:
    def get(name: str) -> Any:
        handler = get_handler(name)
        path = Path(os.environ["METERED"]) / f"{name.split('.')[1]}-{os.getpid()}.jsonl"
        lines = path.open("a", buffering=1, encoding="utf-8")

        def metered(event: Any, context: Any) -> Any:
            began, before = time.time(), cpu()
            try:
                return handler(event, context)
            finally:
                spent = {"cpu": cpu() - before, "began": began, "ended": time.time()}
                lines.write(json.dumps(spent) + "\n")

        return metered

    return get


bootstrap._get_handler = _metered(bootstrap._get_handler)
