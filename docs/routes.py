"""Tell from the API's own code what each route reads, answers and refuses.

The resolver knows a route's path, its parameters and its answer's model. What it does not know stands in
the code that the route reaches: `body.read(event, Model)`, `Response(HTTPStatus.ACCEPTED, …)`,
`raise Problem(HTTPStatus.NOT_FOUND, "item-not-found", …)`. Reading it there leaves nothing to be declared
a second time, and so nothing to be forgotten. What is reached is told by name, through functions, classes
and modules, and never by what happens to be true at run time: rather one problem too many than one too few.
"""

import ast
import inspect
import textwrap
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from http import HTTPStatus
from types import FunctionType, ModuleType
from typing import Any

from pydantic import BaseModel

from functions.api import body, problems, retry
from functions.api.problems import Problem
from shared.erasures import AccountDeletedError
from shared.errors import TransientError
from shared.quotas import OverQuotaError

OURS = ("functions.api", "shared")
SAME_AS = {
    TransientError: problems.unavailable,
    AccountDeletedError: problems.account_deleted,
    OverQuotaError: problems.over_quota,
}
"""What the app's exception handlers make of what is raised below a route."""
NOTHING = object()


@dataclass
class Refusal:
    """What comes with a problem.

    Attributes:
        detail: one of its sentences, where it is written out.
        headers: names of the headers that come along.
    """

    detail: str = ""
    headers: set[str] = field(default_factory=set)


@dataclass
class Said:
    """What the code of a route says, itself and whatever it reaches.

    Attributes:
        body: models that a body is read into, and whether there must be one.
        answers: status and content type of each `Response` made.
        problems: status and kind of each `Problem` made.
        reached: every function on the way.
    """

    body: dict[type[BaseModel], bool] = field(default_factory=dict)
    answers: set[tuple[int, str]] = field(default_factory=set)
    problems: dict[tuple[int, str], Refusal] = field(default_factory=dict)
    reached: set[Callable[..., Any]] = field(default_factory=set)

    @property
    def takes_key(self) -> bool:
        """Whether it reads the Idempotency-Key."""
        return retry.read_key in self.reached


def read(route: Callable[..., Any]) -> Said:
    """Return what a route's code says.

    Raises:
        ValueError: something is not said in a way that can be read here.
    """
    said = Said()
    waiting = [inspect.unwrap(route)]
    while waiting:
        function = waiting.pop()
        if function in said.reached:
            continue
        said.reached.add(function)
        waiting += _look(function, said)
    return said


def _look(function: Callable[..., Any], said: Said) -> Iterator[Callable[..., Any]]:
    """Note what one function says, and yield what it may call."""
    tree, names = _tree(function), _names(function)
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    optional = {id(node) for choice in ast.walk(tree) if isinstance(choice, ast.IfExp | ast.If)
                for node in ast.walk(choice)}  # fmt: skip
    for given in _given(function):
        yield from _methods(given, used)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute):
            found = inspect.unwrap(_value(node, names)) if _value(node, names) is not NOTHING else None
            if isinstance(found, type) and found in SAME_AS:
                yield SAME_AS[found]
            elif isinstance(found, FunctionType) and found.__module__.startswith(OURS):
                yield found
            elif isinstance(found, type) and found.__module__.startswith(OURS):
                yield from _methods(found, used)
        elif isinstance(node, ast.Call):
            called = _value(node.func, names)
            if called is Problem:
                _note_problem(node, names, said)
            elif called is body.read and function is not body.read:
                model = _value(node.args[1], names)
                if not isinstance(model, type):
                    raise ValueError(f"{_place(function)} reads a body into what cannot be told")
                said.body[model] = id(node) not in optional
            elif getattr(called, "__name__", "") == "Response" and function.__module__ != problems.__name__:
                said.answers.add(_answer(node, names, function))


def _given(function: Callable[..., Any]) -> Iterator[type]:
    """Yield the classes of ours that a function is given objects of, as its signature says."""
    for name, hint in _hints(function).items():
        if name != "return" and isinstance(hint, type) and hint.__module__.startswith(OURS):
            yield hint


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except NameError:
        # A name that is only there for the type checker; nothing of ours that says anything.
        return {}


def _methods(cls: type, used: set[str]) -> Iterator[Callable[..., Any]]:
    """Yield what making an object runs, and its methods of names that are used where it is at hand."""
    if issubclass(cls, Exception):
        return
    # Of copies: a model that is looked at is built, and changes.
    for name, method in (pair for each in cls.__mro__ for pair in dict(vars(each)).items()):
        function = getattr(method, "fget", None) or inspect.unwrap(getattr(method, "__func__", method))
        written = isinstance(function, FunctionType) and function.__code__.co_filename != "<string>"
        if written and function.__module__.startswith(OURS) and name in {*used, "__init__", "__post_init__"}:
            yield function


def _note_problem(node: ast.Call, names: dict[str, Any], said: Said) -> None:
    status, kind = (_value(given, names) for given in node.args[:2])
    if not isinstance(status, HTTPStatus) or not isinstance(kind, str):
        raise ValueError(f"a problem's status and kind are to be written out: {ast.unparse(node)}")
    refusal = said.problems.setdefault((int(status), kind), Refusal())
    detail = _value(node.args[2], names) if len(node.args) > 2 else None
    refusal.detail = refusal.detail or (detail if isinstance(detail, str) else "")
    for keyword in node.keywords:
        if keyword.arg == "headers":
            dicts = [each for each in ast.walk(keyword.value) if isinstance(each, ast.Dict)]
            refusal.headers |= {str(_value(key, names)) for each in dicts for key in each.keys if key}


def _answer(node: ast.Call, names: dict[str, Any], function: Callable[..., Any]) -> tuple[int, str]:
    given = dict(zip(("status_code", "content_type"), node.args, strict=False))
    given |= {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
    status = _value(given["status_code"], names)
    kind = _value(given["content_type"], names) if "content_type" in given else ""
    if not isinstance(status, int) or not isinstance(kind, str):
        raise ValueError(f"{_place(function)} answers with what cannot be told: {ast.unparse(node)}")
    return int(status), kind


@cache
def _tree(function: Callable[..., Any]) -> ast.Module:
    """Return the statements of a function, without its decorators and its signature."""
    (found,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    return ast.Module(found.body if isinstance(found, ast.FunctionDef) else [found], [])


def _names(function: Callable[..., Any]) -> dict[str, Any]:
    """Return what the names in a function mean: those of its module, and what it imports itself."""
    names = dict(function.__globals__)
    for node in ast.walk(_tree(function)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(OURS):
            module = inspect.importlib.import_module(node.module)  # type: ignore[attr-defined]
            names |= {
                alias.asname or alias.name: getattr(module, alias.name, NOTHING) for alias in node.names
            }
    return names


def _value(node: ast.expr, names: dict[str, Any]) -> Any:
    """Return what an expression of names, attributes and constants means, NOTHING where it is another."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        return names.get(node.id, NOTHING)
    if isinstance(node, ast.Attribute):
        of = _value(node.value, names)
        return getattr(of, node.attr, NOTHING) if isinstance(of, ModuleType | type) else NOTHING
    if isinstance(node, ast.Subscript):
        of, key = _value(node.value, names), _value(node.slice, names)
        return of.get(key, NOTHING) if isinstance(of, dict) else NOTHING
    return NOTHING


def _place(function: Callable[..., Any]) -> str:
    return f"{function.__module__}.{function.__qualname__}"
