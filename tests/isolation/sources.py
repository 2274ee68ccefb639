"""The SQL that is written in functions/ and `shared`, read from their syntax, so that none can hide.

A text is put together as far as that can be done by reading: literals one after the other, sums of them, the
constants of a module inside them. What is only put together when it runs is a *piece*, and shows its holes.
"""

import ast
import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.isolation import statements

ROOT = Path(__file__).resolve().parents[2]

_BUILDING = {"format", "join", "append", "extend", "SQL", "dedent", "partition", "replace"}
"""Methods that make a text of texts: a piece given to one of these is not sent as it is."""
_VERB = re.compile(r"\s*(select|insert|update|delete|merge|with|copy|truncate|table)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Text:
    """A piece of SQL, or all of it.

    Attributes:
        place: file and line.
        name: of the module's constant that holds it, if one does.
        text: with `None` in the places that are only known when it runs, in between its parts.
        sent: whether something else is done with it than building other texts.
    """

    place: str
    name: str | None
    parts: tuple[str | None, ...]
    sent: bool

    @property
    def whole(self) -> str | None:
        """All of it, if it can be read."""
        if None in self.parts:
            return None
        return "".join(part for part in self.parts if part is not None)

    def is_in(self, statement: str) -> bool:
        """Whether a statement, whitespace made even, holds the known parts of this piece in their order."""
        known = [" ".join(part.split()) for part in self.parts if part is not None]
        place = 0
        for part in known:
            place = statement.find(part, place)
            if place < 0:
                return False
            place += len(part)
        return True


@cache
def texts(tables: frozenset[str]) -> list[Text]:
    """Return all SQL of functions/ and `shared` that names one of these tables, or some table in a hole."""
    names = "|".join(sorted(tables, key=len, reverse=True))
    touches = re.compile(
        rf"\b(FROM|JOIN|INTO|UPDATE|USING|TABLE|COPY)\s+(ONLY\s+)?\"?(public\.)?\"?({names})\b",
        re.IGNORECASE,
    )
    into_a_hole = re.compile(r"\b(FROM|JOIN|INTO|UPDATE|USING|TABLE|COPY)\s+(ONLY\s+)?\"?$")
    found = []
    for path in _files():
        for text in _in_module(path):
            known = "\n".join(part for part in text.parts if part is not None)
            upper = any(touch[1].isupper() for touch in touches.finditer(known))
            holes = zip(text.parts, text.parts[1:], strict=False)
            open_end = any(a is not None and b is None and into_a_hole.search(a) for a, b in holes)
            if upper or open_end or (touches.search(known) and _VERB.match(known)):
                found.append(text)
    return found


def pieces(schema: statements.Schema, allowed: frozenset[str]) -> list[Text]:
    """Return the SQL of which reading alone cannot say whether it is held to a user.

    Args:
        allowed: texts that need not be, whitespace made even.
    """
    read, left = [], []
    for text in texts(schema.tenant_tables):
        whole = text.whole and " ".join(text.whole.split())
        if whole and (whole in allowed or not statements.check(whole, schema).violations):
            read.append(whole)
        else:
            left.append(text)
    return [text for text in left if not any(text.is_in(whole) for whole in read)]


def _in_module(path: Path) -> Iterator[Text]:
    tree, parents = _tree(path), _parents(path)
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    docstrings = {
        node.body[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        is_text = (
            (isinstance(node, ast.Constant) and isinstance(node.value, str))
            or isinstance(node, ast.JoinedStr)
            or (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add))
        )
        parent = parents.get(node)
        if not is_text or node in docstrings or isinstance(parent, ast.JoinedStr | ast.FormattedValue):
            continue
        if isinstance(parent, ast.BinOp) and isinstance(parent.op, ast.Add):
            continue  # its sum is looked at
        parts = tuple(_joined(_parts(node, module)))
        if not any(parts):
            continue
        name = None
        if isinstance(parent, ast.Assign | ast.AnnAssign) and parents[parent] is tree:
            target = parent.targets[0] if isinstance(parent, ast.Assign) else parent.target
            name = target.id if isinstance(target, ast.Name) else None
        sent = _used_whole(name, path) if name else not _builds(node, parents)
        yield Text(f"{path.relative_to(ROOT)}:{node.lineno}", name, parts, sent)


def _parts(node: ast.AST, module: str) -> Iterator[str | None]:
    match node:
        case ast.Constant(value=str() as value):
            yield value
        case ast.JoinedStr():
            for value in node.values:
                yield from _parts(value, module)
        case ast.FormattedValue(conversion=-1, format_spec=None):
            yield from _parts(node.value, module)
        case ast.BinOp(op=ast.Add()):
            yield from _parts(node.left, module)
            yield from _parts(node.right, module)
        case ast.Name() | ast.Attribute():
            yield _constant(node, module)
        case _:
            yield None


def _joined(parts: Iterator[str | None]) -> Iterator[str | None]:
    """Put neighbours that are known together."""
    known: str | None = None
    for part in parts:
        if part is None:
            if known:
                yield known
            known = None
            yield None
        else:
            known = (known or "") + part
    if known:
        yield known


def _constant(node: ast.Name | ast.Attribute, module: str) -> str | None:
    """Return the text that a name stands for all over its module, None for any other."""
    path = ast.unparse(node).split(".")
    if not path[-1].lstrip("_").isupper():
        return None
    value: object = importlib.import_module(module)
    for name in path:
        value = getattr(value, name, None)
    return value if isinstance(value, str) else None


def _builds(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> bool:
    """Whether a text is only used to make another."""
    parent = parents.get(node)
    match parent:
        case ast.BinOp(op=ast.Add()) | ast.FormattedValue() | ast.JoinedStr():
            return True
        case ast.Attribute(attr="format" | "join" | "replace" | "partition"):
            return True
        case ast.Call() if node is not parent.func:
            called = parent.func
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            return name in _BUILDING
        case ast.List() | ast.Tuple() | ast.Dict() | ast.IfExp() | ast.Starred() | ast.keyword():
            return _builds(parent, parents)
    return False


def _used_whole(name: str, home: Path) -> bool:
    """Whether anything but other texts is made with a constant, anywhere, or at home if it is private."""
    return any(name in _names_used_whole(path) for path in ([home] if name.startswith("_") else _files()))


@cache
def _names_used_whole(path: Path) -> frozenset[str]:
    parents = _parents(path)
    return frozenset(
        node.id if isinstance(node, ast.Name) else node.attr
        for node in parents
        if isinstance(node, ast.Name | ast.Attribute)
        and isinstance(node.ctx, ast.Load)
        and not _builds(node, parents)
    )


@cache
def _files() -> tuple[Path, ...]:
    return tuple(sorted([*(ROOT / "functions").rglob("*.py"), *(ROOT / "shared").rglob("*.py")]))


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def _parents(path: Path) -> dict[ast.AST, ast.AST]:
    """Every node of a module but the first, with the one above it."""
    return {child: node for node in ast.walk(_tree(path)) for child in ast.iter_child_nodes(node)}
