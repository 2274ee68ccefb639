"""Ask before something is spent or lost, and never wait for an answer that cannot come."""

import sys
from typing import Annotated

import typer

from cli.errors import CommandError, UsageError

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def refuse_unasked(yes: bool, instead: str) -> None:
    """Refuse, before anything is done, what would have to ask where nobody can answer.

    Args:
        instead: a sentence on what can be done, such as what `--yes` does here.

    Raises:
        UsageError: stdin is no terminal.
    """
    if not yes and not sys.stdin.isatty():
        raise UsageError(f"There is no terminal to ask on: {instead}")


def ask(question: str) -> None:
    """Ask on stderr, for stdout is the result's. Whatever is no yes is a no.

    Raises:
        CommandError: `declined`.
    """
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    answer = sys.stdin.readline()
    if not answer:  # Ctrl-D ends no line
        sys.stderr.write("\n")
    if answer.strip().lower() not in ("y", "yes"):
        raise CommandError("declined", "Nothing was done.")
