"""Small files that are either there whole or not at all."""

import json
import os
from pathlib import Path
from typing import Any


def write_secretly(path: Path, text: str) -> None:
    """Replace a file by one that only its owner can read, atomically."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def write_json(path: Path, value: Any) -> None:
    """As `write_secretly`, for a JSON value."""
    write_secretly(path, json.dumps(value, indent=1) + "\n")
