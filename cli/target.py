"""Which Magpie a command speaks to: the stack on this machine, or a deployment."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cli.errors import CommandError, UsageError

ROOT = Path(__file__).resolve().parent.parent
"""The project's folder."""

NOT_RUNNING = "Magpie is not running here: start it with ./magpie up"


@dataclass(frozen=True)
class Target:
    """A Magpie.

    Attributes:
        api_url: of its API, without a slash at the end.
        stack: what the stack on this machine says about itself in `stack.json`; None of a deployment.
    """

    api_url: str
    stack: dict[str, Any] | None = None

    @property
    def on_this_machine(self) -> bool:
        """Whether its address is a loopback one, which no proxy may come between."""
        return is_loopback(self.api_url)


def data_folder(option: Path | None) -> Path:
    """Where the stack on this machine keeps everything: as the option says, or the environment."""
    return (option or Path(os.environ.get("MAGPIE_DATA") or ROOT / ".magpie")).expanduser().absolute()


def not_running() -> CommandError:
    """The one line for every command that needs a stack and finds none."""
    return CommandError("not_running", NOT_RUNNING)


def choose(data: Path | None, api_url: str | None) -> Target:
    """Return the Magpie that options and environment name.

    An option wins over the environment, and there the address of a deployment over a data folder.

    Args:
        data: `--data`, when given on the command line.
        api_url: `--api-url`, when given on the command line.

    Raises:
        UsageError: both were given, or the address is none.
        CommandError: `not_running`.
    """
    if data is not None and api_url is not None:
        raise UsageError("--data means this machine and --api-url another Magpie: give one of them.")
    if api_url is None and data is None:
        api_url = os.environ.get("MAGPIE_API_URL") or None
    stack = running_stack(data_folder(data)) if api_url is None or is_loopback(api_url) else None
    here = Target(stack["api_url"].rstrip("/"), stack) if stack else None
    if api_url is not None:
        chosen = deployment(api_url)
        # The address of the Magpie that runs here anyway: its user is known.
        return here if here and _same_place(here.api_url, chosen.api_url) else chosen
    if here is None:
        raise not_running()
    return here


def deployment(api_url: str) -> Target:
    """Return the Magpie at an address.

    Raises:
        UsageError: it is no address, or one over which tokens would travel in the clear.
    """
    api_url = api_url.strip().rstrip("/")
    try:
        parts = urlsplit(api_url)
        sound = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound or parts.query or parts.fragment or parts.username:
        raise UsageError(f"{api_url!r} is not the address of an API: it looks like https://….")
    if parts.scheme == "http" and not is_loopback(api_url):
        raise UsageError(f"{api_url} would send your password and tokens in the clear: use https://.")
    return Target(api_url)


def _same_place(one: str, other: str) -> bool:
    """Whether two addresses lead to the same Magpie: this machine goes by several names."""
    both_here = is_loopback(one) and is_loopback(other)
    return one == other or (both_here and urlsplit(one).port == urlsplit(other).port)


def is_loopback(url: str) -> bool:
    """Whether a URL leads to this very machine."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return False
    return host in {"localhost", "::1"} or host.startswith("127.")


def running_stack(folder: Path) -> dict[str, Any] | None:
    """Return what the stack with this data folder says about itself, or None when it does not run."""
    try:
        stack: dict[str, Any] = json.loads((folder / "stack.json").read_text(encoding="utf-8"))
        if not alive(int(stack["pid"])):
            return None
        if not (stack["api_url"] and stack["user"]["email"] and stack["user"]["password"]):
            return None
    except FileNotFoundError:
        return None
    except PermissionError:
        raise CommandError(
            "not_yours", f"{folder} belongs to another user's Magpie: choose another one with --data."
        ) from None
    except (OSError, ValueError, KeyError, TypeError):
        # Half written by a stack that was killed while it started: the same as none.
        return None
    return stack


def alive(pid: int) -> bool:
    """Whether a process of this number exists."""
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
