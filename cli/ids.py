"""Ids by their beginnings: nobody types thirty-six characters."""

import re
from collections.abc import Iterable, Sequence

from cli.errors import CommandError, UsageError

PREFIX = 6
"""The fewest characters of an id that stand for it."""
SEARCHED = 5000
"""How many of the newest are searched for an id's beginning."""


def resolve(wanted: Sequence[str], pages: Iterable[Sequence[str]], noun: str) -> list[str]:
    """Return the whole ids of beginnings, in their order; what is whole already is not looked for.

    Args:
        pages: ids, the newest first; only read as far as it takes.
        noun: what they are ids of, such as `run`.

    Raises:
        UsageError: one is no beginning of an id.
        CommandError: `not_found`, or `ambiguous` when several begin so.
    """
    digits = [_digits(each, noun) for each in wanted]
    short = {each for each in digits if len(each) < 32}
    found: dict[str, list[str]] = {each: [] for each in short}
    seen = 0
    for page in pages if short else ():
        seen += len(page)
        for each in page:
            whole = each.replace("-", "").lower()
            for beginning in short:
                if whole.startswith(beginning):
                    found[beginning].append(each)
        if seen >= SEARCHED:
            break
    return [_only(each, found[each], noun, seen) if each in short else _with_hyphens(each) for each in digits]


def is_beginning(text: str) -> bool:
    """Whether a text may be an id or the beginning of one."""
    return re.fullmatch(r"[0-9a-f-]{6,36}", text.strip().lower()) is not None


def _digits(text: str, noun: str) -> str:
    digits = text.strip().lower().replace("-", "")
    if not is_beginning(text) or not PREFIX <= len(digits) <= 32:
        raise UsageError(f"{text!r} is no {noun}'s id, nor at least {PREFIX} characters of one.")
    return digits


def _with_hyphens(digits: str) -> str:
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _only(beginning: str, found: Sequence[str], noun: str, seen: int) -> str:
    if not found:
        where = f"of your newest {seen} {noun}s" if seen >= SEARCHED else f"of your {noun}s"
        raise CommandError("not_found", f"None {where} has an id that begins with {beginning}.")
    if len(set(found)) > 1:
        raise CommandError(
            "ambiguous", f"{beginning} is the beginning of several ids: {', '.join(found[:5])}."
        )
    return found[0]
