"""`python -m tests.retrieval DIR` writes the retrieval set for `magpie import` and `magpie eval`."""

import json
import sys
from pathlib import Path
from typing import Any

from tests.retrieval import collection


def write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def main(arguments: list[str]) -> int:
    """Write `collection.json`, `queries.json`, and the questions of each half on their own."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m tests.retrieval DIR\n")
        return 2
    folder = Path(arguments[0])
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "collection.json", collection.exported())
    write(folder / "queries.json", collection.evaluated())
    for half in collection.HALVES:
        write(folder / f"queries-{half}.json", collection.evaluated(half))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
