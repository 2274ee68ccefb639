"""Claude, through Anthropic's API or Amazon Bedrock: the same SDK, two clients.

The SDK repeats nothing by itself (`max_retries=0`): the queue does, with backoff that outlives this
process, and a repeated call may be paid for twice.
"""

import base64
import io
import logging
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from functions.analyzer import models, prompt
from functions.analyzer.analysis import schema
from functions.analyzer.providers import (
    DeclinedError,
    MisconfiguredError,
    Picture,
    UnavailableError,
)
from functions.analyzer.reply import Reply
from shared.events import ProviderName

if TYPE_CHECKING:
    from anthropic import Anthropic, AnthropicBedrock, APIStatusError

BEDROCK_API_VERSION = "bedrock-2023-05-31"
"""The SDK would send its own `2026-10-21`, which Bedrock's models up to Claude 4.6 answer with 400.
https://platform.claude.com/docs/en/build-with-claude/claude-on-amazon-bedrock-legacy"""

MAX_JPEG_BYTES = 3_700_000
"""In base64 just below the 5 MB that Bedrock takes for one picture; Anthropic's API takes 10."""
QUALITIES = (85, 70, 50)

TRANSIENT_STATUS = {408, 409, 424, 425, 429}
"""Besides all of 500 and above: time-outs, conflicts, Bedrock's ModelErrorException, throttles."""

ABOUT_THE_PICTURE = re.compile(r"content filter|could not process image", re.IGNORECASE)
"""What a 400 says when it is about this picture, or what would be said of it, and not about how we ask."""

CONNECT_SECONDS = 5.0


class Claude:
    """A `Provider`.

    Args:
        connect: makes the client; raises MisconfiguredError where that is impossible.
        extra_body: fields that the SDK does not know.
    """

    costs = True

    def __init__(
        self,
        name: ProviderName,
        model: str,
        connect: "Callable[[], Anthropic | AnthropicBedrock]",
        extra_body: dict[str, Any] | None = None,
    ) -> None:
        self.name: ProviderName = name
        self.model = model
        self._connect = connect
        self._extra_body = extra_body or {}

    def describe(self, picture: Picture, max_tokens: int, seconds: float) -> Reply:
        client = self._connect()
        import httpx2
        from anthropic import AnthropicError, APIConnectionError, APIError, APIStatusError, APITimeoutError
        from botocore.exceptions import BotoCoreError

        known = models.known(self.model)
        data = base64.b64encode(fitting(picture.jpeg, known)).decode("ascii")
        request = dict(known.request)
        output: Any = {
            **request.pop("output_config", {}),
            "format": {"type": "json_schema", "schema": schema()},
        }
        try:
            answer = client.messages.with_raw_response.create(
                model=self.model,
                max_tokens=max_tokens,
                system=prompt.system(),
                messages=[
                    {
                        "role": "user",
                        "content": [
                            {
                                "type": "image",
                                "source": {"type": "base64", "media_type": "image/jpeg", "data": data},
                            },
                            {"type": "text", "text": prompt.REQUEST},
                        ],
                    }
                ],
                output_config=output,
                extra_body=self._extra_body,
                timeout=httpx2.Timeout(seconds, connect=CONNECT_SECONDS),
                **request,
            )
            body = answer.http_response.content
        except APIStatusError as error:
            if error.status_code in TRANSIENT_STATUS or error.status_code >= 500:
                raise UnavailableError(_status(error)) from None
            if error.status_code == 400 and ABOUT_THE_PICTURE.search(str(error.api_message or "")):
                raise DeclinedError(_status(error)) from None
            raise MisconfiguredError(_status(error)) from None
        except APITimeoutError:
            raise UnavailableError("timed out") from None
        except APIConnectionError:
            raise UnavailableError("the connection failed") from None
        except APIError as error:
            raise UnavailableError(type(error).__name__) from None
        except (AnthropicError, BotoCoreError, RuntimeError, ValueError) as error:
            # Raised before anything was sent: no region, no credentials, no such profile.
            raise MisconfiguredError(f"no request could be made: {error}") from error
        try:
            return Reply.parse(body)
        except ValueError:
            # Some gateway's page. What the model wrote never comes without its envelope.
            raise UnavailableError("answered with something that is no message") from None


def _status(error: "APIStatusError") -> str:
    """Return what the API says of an error, for an operator: never what was sent."""
    said = " ".join(str(error.api_message or _aws_message(error.body) or "").split())
    request_id = error.request_id or error.response.headers.get("x-amzn-requestid", "unknown")
    return " ".join(filter(None, [str(error.status_code), error.type, said[:300], f"(request {request_id})"]))


def _aws_message(body: object) -> object:
    """AWS puts it at the top: `{"message": ...}`."""
    return body.get("message") or body.get("Message") if isinstance(body, dict) else None


def fitting(jpeg: bytes, model: models.Model) -> bytes:
    """Return a JPEG of the largest size that the model sees whole.

    A larger one would be scaled down over there, only later and not by us; a smaller one is sent as is.
    """
    from PIL import Image

    with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as image:
        size = model.fit(*image.size)
        if size == image.size and len(jpeg) <= MAX_JPEG_BYTES:
            return jpeg
        image.draft("RGB", size)
        scaled = image.convert("RGB").resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    scaled.info = {}
    for quality in QUALITIES:
        out = io.BytesIO()
        scaled.save(out, "JPEG", quality=quality, optimize=True)
        if out.tell() <= MAX_JPEG_BYTES:
            break
    return out.getvalue()


def anthropic(model: str, key: Callable[[], str | None], key_parameter: str) -> Claude:
    """Return Claude through Anthropic's API.

    Args:
        key: finds the API key.
        key_parameter: where it ought to be, for the message when it is not there.
    """

    def connect() -> "Anthropic":
        found = key()
        if not found:
            raise MisconfiguredError(f"there is no parameter {key_parameter}")
        return _anthropic_client(found)

    return Claude("anthropic", model, connect)


def bedrock(model: str) -> Claude:
    """Return Claude through Amazon Bedrock, with the function's own role."""

    def connect() -> "AnthropicBedrock":
        try:
            return _bedrock_client()
        except ValueError as error:
            raise MisconfiguredError(str(error)) from error

    return Claude("bedrock", model, connect, {"anthropic_version": BEDROCK_API_VERSION})


_clients: "dict[str, tuple[str, Anthropic | AnthropicBedrock]]" = {}
"""The client of each provider, kept for its connections, and the key that it was made with."""


def _anthropic_client(api_key: str) -> "Anthropic":
    from anthropic import Anthropic

    made_with, client = _clients.get("anthropic", ("", None))
    if isinstance(client, Anthropic) and made_with == api_key:
        return client
    if client is not None:
        client.close()
    _hush()
    client = Anthropic(api_key=api_key, max_retries=0)
    _clients["anthropic"] = (api_key, client)
    return client


def _bedrock_client() -> "AnthropicBedrock":
    from anthropic import AnthropicBedrock

    _, client = _clients.get("bedrock", ("", None))
    if not isinstance(client, AnthropicBedrock):
        _hush()
        client = AnthropicBedrock(max_retries=0)
        _clients["bedrock"] = ("", client)
    return client


def _hush() -> None:
    """Keep requests, with the picture in them, out of the log whatever the level of the rest is."""
    for name in ("anthropic", "httpx2", "httpcore2"):
        logging.getLogger(name).setLevel(logging.WARNING)


def forget() -> None:
    """Close the clients; they are made anew at their next use."""
    while _clients:
        _, (_, client) = _clients.popitem()
        client.close()
