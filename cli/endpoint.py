"""What the stack on this machine answers besides AWS: its schedules, its mail."""

from typing import Any

from cli.errors import CommandError

SECONDS = 320.0
"""The longest that a function of a schedule may take, and a little."""


def ask(method: str, url: str) -> dict[str, Any]:
    """Ask the stack's AWS endpoint for something of its own.

    Raises:
        CommandError: `not_running`; `not_found`, with what the stack says of it; `failed`.
    """
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
