"""Commands that have commands: `magpie runs list`."""

import contextlib
import sys

import typer


def group(says: str) -> typer.Typer:
    """Return an empty group, which shows its commands on stderr when none of them is named.

    Args:
        says: what they are for, in a sentence.
    """
    made = typer.Typer(no_args_is_help=False, invoke_without_command=True, help=says)

    @made.callback()
    def show_help(context: typer.Context) -> None:
        if context.invoked_subcommand is None:
            with contextlib.redirect_stdout(sys.stderr):
                context.get_help()
            raise typer.Exit(2)

    return made
