"""What a provider replied, and what that means.

A reply is kept as it came: the JSON of a message in the form of Anthropic's Messages API, which all
three providers speak. A refusal and a truncated answer are successful calls, and paid for.
"""

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from functions.analyzer import analysis
from functions.analyzer.analysis import Analysis, InvalidAnalysisError


class Outcome(StrEnum):
    """What became of a reply; the words of `model_replies.outcome`."""

    VALID = "valid"
    REFUSAL = "refusal"
    MAX_TOKENS = "max_tokens"
    MALFORMED = "malformed"


@dataclass(frozen=True)
class Reply:
    """One reply.

    Attributes:
        raw: the message as received, in ASCII JSON.
        text: what the model wrote, without what it thought.
        stop_reason: why it stopped, in the API's words.
        input_tokens, output_tokens: what was used, everything counted.
    """

    raw: str
    text: str
    stop_reason: str | None
    input_tokens: int
    output_tokens: int

    @classmethod
    def parse(cls, body: str | bytes) -> Self:
        """Read a message.

        Raises:
            ValueError: it is not one.
        """
        try:
            message = json.loads(body)
            # Written again: one form for whatever spacing and escaping the sender liked, and no NUL.
            raw = json.dumps(message)
        except RecursionError:
            raise ValueError("nested beyond reason") from None
        if not isinstance(message, dict) or not isinstance(message.get("content"), list):
            raise ValueError("not a message")
        blocks = [block for block in message["content"] if isinstance(block, dict)]
        texts = [block.get("text") for block in blocks if block.get("type") == "text"]
        used = message.get("usage")
        usage = used if isinstance(used, dict) else {}
        stop_reason = message.get("stop_reason")
        return cls(
            raw=raw,
            text="".join(text for text in texts if isinstance(text, str)),
            stop_reason=stop_reason if isinstance(stop_reason, str) else None,
            input_tokens=sum(
                _tokens(usage, key)
                for key in ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
            ),
            output_tokens=_tokens(usage, "output_tokens"),
        )


def _tokens(usage: dict[str, Any], key: str) -> int:
    """Return a count; what is no count, or more than the column holds, is none."""
    count = usage.get(key)
    return count if isinstance(count, int) and 0 <= count < 2**30 else 0


def judge(reply: Reply) -> tuple[Outcome, Analysis | None]:
    """Say what a reply means, with the analysis when it holds one."""
    if reply.stop_reason == "refusal":
        return Outcome.REFUSAL, None
    if reply.stop_reason in {"max_tokens", "model_context_window_exceeded"}:
        return Outcome.MAX_TOKENS, None
    try:
        return Outcome.VALID, analysis.read(reply.text)
    except InvalidAnalysisError:
        return Outcome.MALFORMED, None
