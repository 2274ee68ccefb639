"""What is measured, one after the other: `python -m benchmarks [NAME …] [--quick] [--json]`."""

import argparse
import importlib
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("search", "vectors", "planner", "runs", "pipeline", "pictures", "cold_start")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run benchmarks; the exit code is 1 where one of them is over its limits or counted wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog=about(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; all, if none is said"
    )
    parser.add_argument("--quick", action="store_true", help="little of each, all in under two minutes")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout, a member for each")
    given = parser.parse_args(arguments)
    if unknown := [name for name in given.names if name not in NAMES]:
        parser.error(f"there is no benchmark {unknown[0]}: they are {', '.join(NAMES)}")
    passed = [f"--{flag}" for flag in ("quick", "json") if getattr(given, flag)]
    documents, codes = {}, []
    for name in given.names or NAMES:
        if not given.json:
            sys.stdout.write(f"{name}\n{'=' * len(name)}\n")
            sys.stdout.flush()
        # Each in a process of its own: what one of them has imported and set is not the next one's.
        done = subprocess.run(  # noqa: S603 - this interpreter
            [sys.executable, "-m", f"benchmarks.{name}", *passed],
            cwd=ROOT,
            stdout=subprocess.PIPE if given.json else None,
            check=False,
        )
        codes.append(done.returncode)
        if given.json:
            documents[name] = json.loads(done.stdout) if done.stdout else None
        else:
            sys.stdout.write("\n")
    if given.json:
        sys.stdout.write(json.dumps(documents, indent=1) + "\n")
    return int(any(codes))


def about() -> str:
    """Return a line about each benchmark: the first of its module."""
    lines = ["benchmarks:"]
    for name in NAMES:
        said = importlib.import_module(f"benchmarks.{name}").__doc__ or ""
        lines.append(f"  {name:10} {said.splitlines()[0].partition(': `')[0]}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
