"""From the options of a command to an API that it can ask."""

from pathlib import Path

from cli.client import Api
from cli.session import SignedIn
from cli.target import choose
from cli.tokens import TokenFiles


def connect(data: Path | None, api_url: str | None) -> Api:
    """Return the API that options and environment name, as the user who is signed in there.

    Raises:
        CommandError: as `target.choose`.
    """
    target = choose(data, api_url)
    return Api(target, SignedIn(target, TokenFiles()))
