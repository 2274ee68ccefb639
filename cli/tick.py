"""`magpie tick`: fire a schedule of the stack on this machine now."""

from typing import Annotated

import typer

from cli.errors import CommandError, UsageError
from cli.options import Data, Json


def tick(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="The schedule, such as sweeper; left out, all are named."),
    ] = None,
    json: Json = False,
    data: Data = None,
) -> int:
    """Fire a schedule of the Magpie on this machine now, and wait for what comes of it."""
    from cli.endpoint import ask
    from cli.output import Output
    from cli.target import data_folder, not_running, running_stack

    out = Output(json)
    stack = running_stack(data_folder(data))
    if stack is None:
        raise not_running()
    url = f"{stack['aws_url']}/_local/schedules"
    if name is None:
        names = ask("GET", url)["schedules"]
        if json:
            out.document({"schedules": names})
        else:
            for each in names:
                out.line(each)
        return 0
    if not name.replace("_", "").replace(".", "").isalnum():
        raise UsageError(f"{name!r} is no schedule's name: magpie tick names them all.")
    result = ask("POST", f"{url}/{name}")
    if result["error"] is not None:
        told = result["answer"] if isinstance(result["answer"], dict) else {}
        sentence = f"{told.get('errorType', 'Error')}: {told.get('errorMessage', '')}".rstrip(": ")
        raise CommandError("failed", f"{name} failed with {sentence}", more={"answer": result["answer"]})
    if json:
        out.document({"schedule": name, "answer": result["answer"]})
        return 0
    counts = result["answer"] if isinstance(result["answer"], dict) else {}
    said = ", ".join(f"{key} {value}" for key, value in counts.items()) or "done"
    out.line(f"{name}: {said}")
    return 0
