"""`magpie tick`: fire a schedule of the stack on this machine now."""

from typing import Annotated, Any

import typer

from cli.errors import CommandError, UsageError
from cli.options import Data, Json

SECONDS = 320.0
"""The longest that a function of a schedule may take, and a little."""


def tick(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="The schedule, such as sweeper; left out, all are named."),
    ] = None,
    json: Json = False,
    data: Data = None,
) -> int:
    """Fire a schedule of the Magpie on this machine now, and wait for what comes of it."""
    from cli.output import Output
    from cli.target import data_folder, not_running, running_stack

    out = Output(json)
    stack = running_stack(data_folder(data))
    if stack is None:
        raise not_running()
    url = f"{stack['aws_url']}/_local/schedules"
    if name is None:
        names = _ask("GET", url)["schedules"]
        if json:
            out.document({"schedules": names})
        else:
            for each in names:
                out.line(each)
        return 0
    if not name.replace("_", "").replace(".", "").isalnum():
        raise UsageError(f"{name!r} is no schedule's name: magpie tick names them all.")
    result = _ask("POST", f"{url}/{name}")
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


def _ask(method: str, url: str) -> dict[str, Any]:
    import httpx2

    from cli.target import not_running

    try:
        # The stack is on this very machine: no proxy comes between.
        with httpx2.Client(trust_env=False, timeout=SECONDS) as http:
            answer = http.request(method, url)
            told: dict[str, Any] = answer.json()
    except httpx2.ConnectError:
        raise not_running() from None
    except (httpx2.HTTPError, ValueError) as error:
        raise CommandError("failed", f"The stack did not answer ({type(error).__name__}).") from None
    if answer.status_code == 404:
        raise CommandError("not_found", f"{str(told.get('message', '')).capitalize()}.")
    if answer.status_code != 200:
        raise CommandError("failed", f"The stack refused: {told.get('message', answer.status_code)}.")
    return told
