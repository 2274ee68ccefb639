"""What a command says when it cannot do what was asked."""

from typing import Any


class CommandError(Exception):
    """A trouble that is expected, told in one sentence and never with a traceback.

    Args:
        code: a short constant for programs, `snake_case`.
        message: one sentence for a person: what is wrong and, where it helps, how to mend it.
        exit_code: 1 failed, 2 wrong usage, 130 interrupted.
        more: further keys for the JSON document, such as what had been done before the trouble.
    """

    def __init__(
        self, code: str, message: str, *, exit_code: int = 1, more: dict[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.exit_code = exit_code
        self.more = more or {}


class UsageError(CommandError):
    """The command line itself makes no sense."""

    def __init__(self, message: str) -> None:
        super().__init__("usage", message, exit_code=2)
