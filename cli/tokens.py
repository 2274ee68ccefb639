"""Tokens on disk: one file per API, readable by its owner only."""

import base64
import fcntl
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

EARLY_SECONDS = 60
"""An access token this close to its end is renewed first, so that it cannot end on the way."""


@dataclass(frozen=True)
class Tokens:
    """What a sign-in at one API gave.

    Attributes:
        api_url: whose they are.
        email: who signed in.
        sign_in: `{"region", "user_pool_id", "client_id"}` of the user pool that signed them.
        expires_at: end of the access token, in seconds since 1970.
    """

    api_url: str
    email: str
    sign_in: dict[str, str]
    access_token: str
    refresh_token: str
    expires_at: float

    @property
    def sub(self) -> str | None:
        """The user id, as the access token says it; nothing here checks the token's signature."""
        try:
            body = self.access_token.split(".")[1]
            claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        except (IndexError, ValueError):
            return None
        sub = claims.get("sub") if isinstance(claims, dict) else None
        return sub if isinstance(sub, str) else None

    def fresh(self, now: float) -> bool:
        """Whether the access token can still be used."""
        return now < self.expires_at - EARLY_SECONDS

    def renewed(self, access_token: str, expires_at: float, refresh_token: str | None) -> "Tokens":
        """Return these with a new access token; a pool that rotates refresh tokens sends one too."""
        return replace(
            self,
            access_token=access_token,
            expires_at=expires_at,
            refresh_token=refresh_token or self.refresh_token,
        )


class TokenFiles:
    """The folder of token files.

    Args:
        folder: `config_folder() / "tokens"` unless a test says otherwise.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or config_folder() / "tokens"

    def path(self, api_url: str) -> Path:
        """The file of one API: named for its host, told apart by a hash of its whole address."""
        host = re.sub(r"[^A-Za-z0-9.-]", "-", urlsplit(api_url).netloc)[:80]
        return self.folder / f"{host}-{hashlib.sha256(api_url.encode()).hexdigest()[:12]}.json"

    def read(self, api_url: str) -> Tokens | None:
        """Return the tokens kept for an API, or None where there are none that can be read."""
        try:
            kept: Any = json.loads(self.path(api_url).read_text(encoding="utf-8"))
            tokens = Tokens(**kept)
            sound = (
                tokens.api_url == api_url
                and isinstance(tokens.sign_in, dict)
                and isinstance(tokens.expires_at, int | float)
                and all(isinstance(each, str) for each in (tokens.access_token, tokens.refresh_token))
            )
        except (OSError, ValueError, TypeError):
            return None
        return tokens if sound else None

    def write(self, tokens: Tokens) -> None:
        """Keep tokens, replacing older ones in one step.

        Raises:
            OSError: the folder cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder.chmod(0o700)
        # mkstemp makes files of mode 0600, and the rename keeps a reader from seeing half of one.
        handle, name = tempfile.mkstemp(dir=self.folder, prefix=".", suffix=".json")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(asdict(tokens), file)
            Path(name).replace(self.path(tokens.api_url))
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    @contextmanager
    def alone(self, api_url: str) -> Iterator[None]:
        """Keep other commands from renewing the tokens of an API meanwhile.

        Where nothing can be written, nobody else renews tokens that are kept there either.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(self.path(api_url).with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        except OSError:
            yield
            return
        with os.fdopen(descriptor) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def forget(self, api_url: str) -> None:
        """Drop the tokens of an API."""
        self.path(api_url).unlink(missing_ok=True)


def config_folder() -> Path:
    """The user's folder for Magpie's settings, by the XDG base directory specification."""
    configured = os.environ.get("XDG_CONFIG_HOME", "")
    # The specification says to ignore a relative one.
    base = Path(configured) if Path(configured).is_absolute() else Path.home() / ".config"
    return base / "magpie"
