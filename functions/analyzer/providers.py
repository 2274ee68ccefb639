"""The seam: who can describe a picture, and what they may answer with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from functions.analyzer.reply import Reply
from shared.errors import MagpieError, TransientError
from shared.events import ProviderName


class UnavailableError(TransientError):
    """The provider throttled, failed or did not answer: the same call may succeed later."""


class DeclinedError(MagpieError):
    """The provider will never answer about this very picture, and says so by an error."""


class MisconfiguredError(MagpieError):
    """The provider will answer no call as things are: key, permission, model or request is wrong."""


@dataclass(frozen=True)
class Picture:
    """A picture to describe.

    Attributes:
        jpeg: the web image.
        camera, captured_at: from the original, for whoever only reports; no model is told.
    """

    jpeg: bytes
    camera: str | None = None
    captured_at: datetime | None = None


class Provider(Protocol):
    """Whoever describes pictures.

    Attributes:
        name, model: stand on every row that came of it.
        costs: whether a call costs money.
    """

    @property
    def name(self) -> ProviderName: ...

    @property
    def model(self) -> str: ...

    @property
    def costs(self) -> bool: ...

    def describe(self, picture: Picture, max_tokens: int, seconds: float) -> Reply:
        """Ask once.

        Args:
            max_tokens: the most that may be written.
            seconds: to wait for the answer.

        Raises:
            UnavailableError: worth another try later.
            DeclinedError: never, for this picture.
            MisconfiguredError: not before somebody mends it.
        """
        ...


def chosen(
    setting: str,
    anthropic: Callable[[], Provider],
    bedrock: Callable[[], Provider],
    offline: Callable[[], Provider],
    has_key: Callable[[], bool],
) -> Sequence[Provider]:
    """Return who is asked, in order.

    Args:
        setting: `auto` (Anthropic when there is a key, else offline), or names in order, by comma.
        has_key: whether there is a key for Anthropic.
    """
    makers: dict[str, Callable[[], Provider]] = {
        "anthropic": anthropic,
        "bedrock": bedrock,
        "offline": offline,
    }
    if setting == "auto":
        setting = "anthropic" if has_key() else "offline"
    return [makers[name]() for name in dict.fromkeys(setting.split(","))]
