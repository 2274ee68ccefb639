"""Ask Voyage AI, through its SDK: what a call may hold, and what becomes of each answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from shared.embeddings import DIMENSIONS, VOYAGE, most_tokens
from shared.errors import MagpieError, TransientError

if TYPE_CHECKING:
    from voyageai.error import VoyageError as SdkError

MAX_TEXTS = 128
"""Texts in a call. The service takes 1,000 today, but its SDK still counts in batches of 128."""
MAX_TOKENS = 1_000_000
"""Tokens in a call, for voyage-3.5-lite: https://docs.voyageai.com/reference/embeddings-api"""
TIMEOUT_SECONDS = (3.05, 20.0)
"""To connect, and between two bytes. A full call takes a second or two; the function has 60."""


class RefusedError(MagpieError):
    """The service does not take these texts: a 400, whatever the reason."""


class UnusableError(TransientError):
    """The service answered, was paid, and did not say which vector is whose."""

    def __init__(self, message: str, tokens: int) -> None:
        super().__init__(message)
        self.tokens = tokens


class VoyageError(MagpieError):
    """The service refuses us: a wrong key, a blocked address, a model that it does not know."""


@dataclass(frozen=True)
class Reply:
    """Vectors in the order of the texts, as received, and the tokens of all texts together."""

    vectors: Sequence[Sequence[float]]
    tokens: int


def batches(texts: Sequence[str]) -> list[list[int]]:
    """Return the positions of the texts of each call, in order, without those of empty texts."""
    calls: list[list[int]] = []
    room = 0
    for position, text in enumerate(texts):
        if not text:
            continue
        needed = most_tokens(text)
        if not calls or needed > room or len(calls[-1]) == MAX_TEXTS:
            calls.append([])
            room = MAX_TOKENS
        calls[-1].append(position)
        room -= needed
    return calls


def ask(key: str, base_url: str | None, texts: Sequence[str]) -> Reply:
    """Ask for the vectors of texts, once: waiting and asking again is the queue's part.

    Raises:
        RefusedError: the service answered 400 or 422.
        UnusableError: it was paid for vectors that cannot be told apart.
        TransientError: it throttles, timed out, is down, or its answer cannot be read.
        VoyageError: it refuses us.
    """
    from voyageai import error as sdk
    from voyageai.api_resources.embedding import Embedding

    try:
        # What `voyageai.Client.embed` calls. It drops the index of each vector, which we check.
        answer = Embedding.create(  # type: ignore[no-untyped-call]  # theirs has no types
            input=list(texts),
            model=VOYAGE.name,
            input_type="document",
            truncation=True,
            output_dtype="float",
            output_dimension=DIMENSIONS,
            api_key=key,
            base_url=base_url,
            request_timeout=TIMEOUT_SECONDS,
        )
    except (sdk.InvalidRequestError, sdk.MalformedRequestError) as error:
        raise RefusedError(f"Voyage answered {error.http_status}") from error
    except sdk.VoyageError as error:
        raise _judged(error) from None
    except (ValueError, AttributeError, TypeError, KeyError, RecursionError) as error:
        # The SDK reads the answer without checking it.
        raise TransientError("Voyage's answer could not be read") from error
    return _read(answer, len(texts))


def ask_harmless(key: str, base_url: str | None) -> None:
    """Ask for the vector of a text that nobody can have anything against.

    Raises:
        VoyageError: it is refused too.
        TransientError: as `ask`.
    """
    try:
        ask(key, base_url, ["magpie"])
    except RefusedError as error:
        raise VoyageError(f"Voyage refuses whatever we ask: {error.__cause__}") from error


def shares(tokens: int, lengths: Sequence[int]) -> list[int]:
    """Return how many of a call's tokens each text is charged, by its length; the sum is exact."""
    total = sum(lengths)
    bounds = [0, *(tokens * length // max(total, 1) for length in accumulate(lengths))]
    return [upper - lower for lower, upper in zip(bounds, bounds[1:], strict=False)]


def _judged(error: "SdkError") -> MagpieError:
    """Tell a failure that passes from one that somebody has to mend.

    The SDK's own words are left out: they hold the whole answer, which may quote what we sent.
    """
    from voyageai import error as sdk

    passing = (
        sdk.RateLimitError,
        sdk.Timeout,
        sdk.APIConnectionError,
        sdk.ServerError,
        sdk.ServiceUnavailableError,
        sdk.TryAgain,
    )
    status = error.http_status
    name = type(error).__name__
    # An `APIError` is any other status, and any answer that is not JSON, as a proxy gives it.
    if isinstance(error, passing) or status is None or status < 400 or status >= 500:
        return TransientError(f"Voyage: {name} {status or ''}".rstrip())
    return VoyageError(f"Voyage: {name} {status}")


def _read(answer: Any, expected: int) -> Reply:
    """Put the vectors of an answer in the order of the texts.

    Raises:
        UnusableError: there are not exactly as many as texts, each with its own index.
        TransientError: it has another shape altogether.
    """
    try:
        entries = [(entry["index"], entry["embedding"]) for entry in answer["data"]]
        tokens = answer["usage"]["total_tokens"]
        by_index = dict(entries)
    except (KeyError, TypeError) as error:
        raise TransientError("Voyage's answer could not be read") from error
    if not isinstance(tokens, int) or not 0 <= tokens < 2**31:
        raise TransientError("Voyage's answer does not say what it cost")
    if len(entries) != expected or set(by_index) != set(range(expected)):
        raise UnusableError(f"Voyage answered with {len(entries)} vectors for {expected} texts", tokens)
    if not all(isinstance(vector, list) for vector in by_index.values()):
        raise UnusableError("Voyage answered with something else than vectors", tokens)
    return Reply([by_index[index] for index in range(expected)], tokens)
