"""What the code of functions and `shared` imports and reads, told from its syntax."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.contract.conftest import ROOT


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=str(path))


def modules(package: str) -> list[Path]:
    """The Python files of `shared` or of `functions.x`; there has to be one."""
    found = sorted((ROOT / package.replace(".", "/")).rglob("*.py"))
    assert found, f"{package} has no code to check"
    return found


def functions() -> list[str]:
    found = sorted({path.parent.name for path in (ROOT / "functions").glob("*/handler.py")})
    assert found, "there are no functions to check"
    return found


def imports(path: Path) -> set[str]:
    """Names of the modules that a file imports when it runs, wherever in it, dotted.

    `from shared import bus` counts as `shared.bus`, `from shared.bus import publish` as both
    `shared.bus` and `shared.bus.publish`, of which only the first is a file.
    """
    return set(_imports(tree(path)))


def _imports(node: ast.AST) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "imports are absolute"
            yield child.module or ""
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        else:
            yield from _imports(child)


def file_of(module: str) -> Path | None:
    """The file of one of our own modules."""
    path = (ROOT / module.replace(".", "/")).with_suffix(".py")
    return path if path.is_file() else None


def closure(function: str) -> set[Path]:
    """A function's own files, and those of `shared` that they reach."""
    reached: set[Path] = set()
    waiting = modules(f"functions.{function}")
    while waiting:
        path = waiting.pop()
        if path not in reached:
            reached.add(path)
            waiting += [found for name in imports(path) if (found := file_of(name))]
    return reached
