"""What a process has used so far. Imports little: what is measured is to be the work's."""

import re
import resource
from pathlib import Path


def cpu() -> float:
    """Return the seconds of CPU that this process and the children it has waited for have used."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def megabytes(name: str) -> float:
    """Return a figure of the kernel about this process's memory, such as `VmRSS` or `VmHWM`."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    if found is None:
        raise SystemExit(f"the kernel does not tell {name}")
    return int(found[1]) / 1024
