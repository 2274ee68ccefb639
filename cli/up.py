"""`magpie up`: the whole of Magpie on this machine, until Ctrl-C."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.errors import CommandError, UsageError
from cli.options import Data, Json

if TYPE_CHECKING:
    from cli.output import Output
    from local.stack import Stack

OWN_MACHINE = {"DefaultTier": "team"}
"""Parameters of the template here, unless somebody says otherwise: the room is that of one's own disk."""

API_PORT = 8787
AWS_PORT = 4566


def up(
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the API; 0 takes any free one.")
    ] = API_PORT,
    aws_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the AWS endpoint; 0 takes any free one.")
    ] = AWS_PORT,
    parameter: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="A parameter of template.yaml, such as ModelBudgetUsd=5. Repeatable.",
            show_default=False,
        ),
    ] = None,
    data: Data = None,
    json: Json = False,
) -> int:
    """Start Magpie on this machine, and keep it running until Ctrl-C."""
    from cli.output import Output
    from cli.target import data_folder

    out = Output(json)
    parameters = OWN_MACHINE | _parameters(parameter or [])
    announced = False

    def announce(stack: "Stack") -> None:
        nonlocal announced
        _announce(out, stack)
        announced = True

    try:
        with stack_troubles():
            from local.stack import Stack

            stack = Stack(data_folder(data), port, aws_port, parameters=parameters, say=out.step)
            stack.run(ready=announce)
    except CommandError as error:
        if not (announced and json):
            raise
        out.note(error.message, "red")  # stdout holds its one document already
        return error.exit_code
    if not announced:
        raise KeyboardInterrupt
    out.note("Magpie is stopped.")
    return 0


def _parameters(given: list[str]) -> dict[str, str]:
    """Read `NAME=VALUE`; the template itself says which names and values there are.

    Raises:
        UsageError: one is nothing of the kind, or comes twice.
    """
    read: dict[str, str] = {}
    for pair in given:
        name, equals, value = pair.partition("=")
        if not (name and equals):
            raise UsageError(f"--parameter takes NAME=VALUE, such as ModelBudgetUsd=5, not {pair!r}.")
        if name in read:
            raise UsageError(f"--parameter {name} is given twice.")
        read[name] = value
    return read


@contextmanager
def stack_troubles() -> Iterator[None]:
    """Turn what `local` raises into a command's one sentence."""
    from local.stack import DataDirInUseError, PortTakenError, StackError
    from local.template import ParameterError, TemplateError

    try:
        yield
    except ParameterError as error:
        raise UsageError(f"--parameter: {error}") from None
    except PortTakenError as error:
        raise CommandError("port_taken", str(error)) from None
    except DataDirInUseError as error:
        raise CommandError("already_running", str(error)) from None
    except TemplateError as error:
        raise CommandError("template", f"template.yaml cannot be run here: {error}") from None
    except StackError as error:
        raise CommandError("stack_failed", str(error)) from None


def _announce(out: "Output", stack: "Stack") -> None:
    document: dict[str, Any] = {
        "api_url": stack.api_url,
        "page_url": f"{stack.api_url}/",
        "aws_url": stack.aws_url,
        "uploads_bucket": stack.uploads_bucket,
        "media_bucket": stack.media_bucket,
        "data": str(stack.data_dir),
        "logs": str(stack.data_dir / "logs"),
        "stack_file": str(stack.data_dir / "stack.json"),
        "user": {"email": stack.user["email"], "sub": stack.user["sub"]},
        "seconds": round(stack.start_seconds, 1),
    }
    if out.as_json:
        out.document(document)
        return
    from rich.text import Text

    from cli.output import facts, styled
    from cli.target import data_folder

    out.show(
        styled(f"Magpie is up, after {stack.start_seconds:.1f} s.", "bold green"),
        facts(
            [
                ("page", f"{document['page_url']} where one click signs you in as {stack.user['email']}"),
                ("API", stack.api_url),
                ("AWS endpoint", stack.aws_url),
                ("uploads bucket", f"s3://{stack.uploads_bucket}/{stack.user['sub']}/"),
                ("logs", document["logs"]),
                ("password", f"of {stack.user['email']}: in {document['stack_file']}"),
            ]
        ),
        Text(),
        styled("Next, in another terminal:", "bold"),
    )
    option = "" if stack.data_dir == data_folder(None) else f" --data {shlex.quote(str(stack.data_dir))}"
    for command in ("add ~/Pictures", "list", 'search "what you remember"'):
        out.line(f"  ./magpie {command}{option}")
    out.show(Text(), styled("Ctrl-C stops it.", "dim"))
