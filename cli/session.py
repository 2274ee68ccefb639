"""A signed-in user at one API: a valid access token whenever one is needed."""

import threading
import time
from contextlib import nullcontext
from typing import Any, Protocol

from cli.cognito import Cognito, SignInRefusedError
from cli.errors import CommandError
from cli.target import Target
from cli.tokens import TokenFiles, Tokens


class Session(Protocol):
    """What the API's client needs to know of a sign-in."""

    def access_token(self) -> str:
        """Return a token that has not ended."""

    def another_token(self, refused: str) -> str | None:
        """Return a token in place of one that the API refused, or None if there can be none."""


class SignedIn:
    """Tokens that are kept, and renewed by themselves.

    At the stack on this machine it also signs in by itself, by the same path, as the user that the
    stack made; everywhere else that takes `magpie login`.

    Args:
        files: where tokens are kept between commands; None keeps them in memory.
    """

    def __init__(self, target: Target, files: TokenFiles | None) -> None:
        self._target = target
        self._files = files
        self._tokens: Tokens | None = None
        self._lock = threading.Lock()

    def access_token(self) -> str:
        """Return a token that has not ended.

        Raises:
            CommandError: `signed_out`, or the sign-in service cannot be reached.
        """
        with self._lock:
            return self._current().access_token

    def another_token(self, refused: str) -> str | None:
        """Return a token in place of one that the API refused, or None if there can be none."""
        with self._lock:
            if self._tokens is not None and self._tokens.access_token != refused:
                return self._tokens.access_token
            tokens = self._tokens
            self._tokens = self._renewed(tokens) if tokens else self._signed_in()
            return self._tokens.access_token

    @property
    def tokens(self) -> Tokens:
        """The tokens themselves, fresh.

        Raises:
            CommandError: as `access_token`.
        """
        with self._lock:
            return self._current()

    def _current(self) -> Tokens:
        if self._tokens is None and self._files is not None:
            self._tokens = self._files.read(self._target.api_url)
        if self._tokens is not None and self._foreign(self._tokens):
            self._tokens = None
        if self._tokens is None:
            self._tokens = self._signed_in()
        elif not self._tokens.fresh(time.time()):
            self._tokens = self._renewed(self._tokens)
        return self._tokens

    def _foreign(self, tokens: Tokens) -> bool:
        """Whether they come from another stack that had the same address before, with users of its own."""
        stack = self._target.stack
        return stack is not None and (
            tokens.sub != stack["user"]["sub"]
            or tokens.sign_in.get("client_id") != stack["sign_in"]["client_id"]
        )

    def _renewed(self, tokens: Tokens) -> Tokens:
        with self._files.alone(self._target.api_url) if self._files else nullcontext():
            # Another command may have renewed them meanwhile, which may have ended the older refresh token.
            kept = self._files.read(self._target.api_url) if self._files else None
            other = kept is not None and kept.access_token != tokens.access_token
            if kept and other and kept.fresh(time.time()) and not self._foreign(kept):
                return kept
            try:
                return self._keep(self._cognito(tokens.sign_in).refresh(tokens))
            except SignInRefusedError:
                return self._signed_in()

    def _signed_in(self) -> Tokens:
        stack = self._target.stack
        if stack is None:
            raise signed_out(self._target.api_url)
        user = stack["user"]
        cognito = self._cognito(stack["sign_in"])
        return self._keep(
            cognito.sign_in_with_password(self._target.api_url, user["email"], user["password"])
        )

    def _cognito(self, sign_in: dict[str, str]) -> Cognito:
        return Cognito(sign_in, sign_in_endpoint(self._target, sign_in))

    def _keep(self, tokens: Tokens) -> Tokens:
        if self._files is not None:
            try:
                self._files.write(tokens)
            except OSError:
                # A home that cannot be written costs a sign-in per command, not the command.
                if self._target.stack is None:
                    raise
        return tokens


def signed_out(api_url: str) -> CommandError:
    """The one sentence for whoever has to sign in first."""
    return CommandError("signed_out", f"You are not signed in at {api_url}: run ./magpie login")


def sign_in_endpoint(target: Target, sign_in: dict[str, Any]) -> str | None:
    """Return where Cognito is, or None for AWS itself.

    Only a stack on this machine has one of its own. What a remote API might say about it is not
    followed, since passwords are sent there.
    """
    if target.stack is not None:
        return str(target.stack["aws_url"])
    return sign_in.get("endpoint") if target.on_this_machine else None
