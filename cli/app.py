"""The command line as a whole: what commands there are, and how every one of them ends."""

import contextlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.exceptions import TyperException

from cli.add import add
from cli.browse import list_items, search, show
from cli.cost import cost
from cli.demo import demo
from cli.dlq import app as dlq
from cli.doctor import doctor
from cli.errors import CommandError
from cli.evaluate import evaluate
from cli.evaluate_analyses import evaluate_analyses
from cli.exporting import export
from cli.importing import import_collection
from cli.mail import app as mail
from cli.reprocess import reprocess
from cli.runs import app as runs
from cli.scans import app as scans
from cli.sign_in import login, logout, token, whoami
from cli.tick import tick
from cli.up import up
from cli.usage import usage
from cli.webhooks import app as webhooks

PROGRAM = "magpie"

app = typer.Typer(
    name=PROGRAM,
    epilog="With --json every command prints one JSON document on stdout. "
    "Exit codes: 0 done, 1 failed, 2 wrong usage.",
    rich_markup_mode="markdown",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _say_version(wanted: bool) -> None:
    if wanted:
        import tomllib

        from cli.target import ROOT

        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        sys.stdout.write(f"{PROGRAM} {project['version']}\n")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_say_version, is_eager=True)
    ] = False,
) -> None:
    """Pictures from upload to search, on this machine or at a deployment."""


ON_THIS_MACHINE, PICTURES, DEPLOYMENTS = "On this machine", "Pictures", "Deployments"
RUNS_AND_SCANS = "Runs and scans"
MEASURES = "Measuring"
app.command(rich_help_panel=ON_THIS_MACHINE)(up)
app.command(rich_help_panel=ON_THIS_MACHINE)(demo)
app.command(rich_help_panel=ON_THIS_MACHINE)(doctor)
app.command(rich_help_panel=ON_THIS_MACHINE)(tick)
app.command(rich_help_panel=PICTURES)(add)
app.command("list", rich_help_panel=PICTURES)(list_items)
app.command(rich_help_panel=PICTURES)(show)
app.command(rich_help_panel=PICTURES)(search)
app.command("import", rich_help_panel=PICTURES)(import_collection)
app.command(rich_help_panel=PICTURES)(export)
app.command(rich_help_panel=RUNS_AND_SCANS)(reprocess)
app.add_typer(runs, name="runs", rich_help_panel=RUNS_AND_SCANS)
app.add_typer(scans, name="scans", rich_help_panel=RUNS_AND_SCANS)
app.add_typer(dlq, name="dlq", rich_help_panel=RUNS_AND_SCANS)
app.command(rich_help_panel=MEASURES)(usage)
app.command(rich_help_panel=MEASURES)(cost)
app.command("eval", rich_help_panel=MEASURES)(evaluate)
app.command("eval-analyses", rich_help_panel=MEASURES)(evaluate_analyses)
app.command(rich_help_panel=DEPLOYMENTS)(login)
app.command(rich_help_panel=DEPLOYMENTS)(logout)
app.command(rich_help_panel=DEPLOYMENTS)(whoami)
app.command(rich_help_panel=DEPLOYMENTS)(token)
app.add_typer(mail, name="mail", rich_help_panel=DEPLOYMENTS)
app.add_typer(webhooks, name="webhooks", rich_help_panel=DEPLOYMENTS)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in given[: given.index("--") if "--" in given else None]
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A name that the terminal's encoding lacks must not end the command.
            stream.reconfigure(errors="replace")
    try:
        if not given:
            with contextlib.redirect_stdout(sys.stderr):
                app(args=["--help"], prog_name=PROGRAM, standalone_mode=False)
            return 2
        result = app(args=given, prog_name=PROGRAM, standalone_mode=False)
        if result == INTERRUPTED:
            return _fail(as_json, CommandError("interrupted", "Interrupted.", exit_code=INTERRUPTED))
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except CommandError as error:
        return _fail(as_json, error)
    except TyperException as error:
        return _usage(as_json, error)
    except (KeyboardInterrupt, typer.Abort):
        return _fail(as_json, CommandError("interrupted", "Interrupted.", exit_code=INTERRUPTED))
    except BrokenPipeError:
        # Whoever read stdout has enough, as `head` does. Python would complain at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        name = f": {error.filename}" if error.filename else ""
        failure = CommandError("io_error", f"{error.strerror or error}{name}")
        try:
            return _fail(as_json, failure)
        except OSError:  # stdout itself is what cannot be written to
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return _fail(False, failure)
    except Exception as error:  # noqa: BLE001 - the last resort: with --json even a bug is a document
        traceback.print_exc()
        return _fail(as_json, CommandError("internal", f"This is a bug in Magpie: {type(error).__name__}"))


INTERRUPTED = 130
"""The shell's exit code for Ctrl-C."""


def _fail(as_json: bool, error: CommandError) -> int:
    from cli.output import plain, write_json

    if as_json:
        write_json({"error": {"code": error.code, "message": error.message}, **error.more})
    else:
        sys.stderr.write(plain(error.message) + "\n")
    return error.exit_code


def _usage(as_json: bool, error: TyperException) -> int:
    """Say what is wrong with a command line, and how the command is used."""
    # The values' types are checked by pydantic, whose preface says nothing to a person.
    message = error.format_message().replace("Value error, ", "")
    context: Any = getattr(error, "ctx", None)
    if context is not None and not as_json:
        sys.stderr.write(f"{context.get_usage()}\nTry '{context.command_path} --help'.\n")
    return _fail(as_json, CommandError("usage", message, exit_code=error.exit_code))
