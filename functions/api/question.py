"""Read a question: the words to look for, and the vector of what it means."""

import base64
import json
import re
import struct
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from aws_lambda_powertools import Logger

from shared import database, embeddings, hashed_words
from shared.embeddings import DIMENSIONS, OFFLINE, VOYAGE, VectorModel
from shared.errors import MagpieError
from shared.text import clean

if TYPE_CHECKING:
    from urllib3 import PoolManager

logger = Logger(child=True)

TIMEOUT_SECONDS = 2.0
"""For one vector of one question, usually there in 0.2: words alone now are better than both later."""
KEPT_VECTORS = 256
"""Bought vectors that an execution environment remembers: whoever pages or tries again pays once."""
NO_WORDS = "there is no word in the question to look for"
WORDS_ONLY = "meaning search is unavailable, words only"

_WORDS = re.compile(r"[^\W_]+")

CHARGE = """
INSERT INTO usage_ledger (user_id, stage, provider, model, input_tokens, cost_usd)
VALUES (%(user_id)s, 'api', %(provider)s, %(model)s, %(tokens)s, %(cost_usd)s)
"""


@dataclass(frozen=True)
class Question:
    """A question, ready to be searched for.

    Attributes:
        text: as it was asked, cleaned.
        words: what full text looks for; may be empty.
        model: whose vectors can be compared.
        vector: in pgvector's text form; None where there is none, and then words alone decide.
        note: for the person who asks, why there is no vector although there should be one.
    """

    text: str
    words: str
    model: VectorModel
    vector: str | None
    note: str | None = None


def read(user_id: str, asked: str) -> Question:
    """Return what a question looks for. That its meaning cannot be had never fails it.

    Raises:
        TransientError: the database, which the search needs too, cannot take the charge for a vector.
    """
    text = clean(asked).strip()
    words = content_words(text)
    if not words:
        # Nothing but punctuation has no meaning to be searched for either.
        return Question(text, words, OFFLINE, None, NO_WORDS)
    try:
        key = embeddings.voyage_key()
    except MagpieError as error:
        logger.error("no key for vectors", reason=str(error))
        return Question(text, words, OFFLINE, None, WORDS_ONLY)
    if key is None:
        vector = hashed_words.embed(text)
        return Question(text, words, OFFLINE, embeddings.halfvec(vector) if vector else None)
    try:
        base_url = embeddings.EmbedderEnv.load().voyage_base_url
        return Question(text, words, VOYAGE, bought_vector(key, base_url, user_id, text))
    except NoVectorError as error:
        logger.warning("question without a vector", reason=str(error))
        return Question(text, words, VOYAGE, None, WORDS_ONLY)


def content_words(text: str) -> str:
    """Return the words of a question that say what is looked for.

    `show me photos of cats` looks for cats: a picture whose description says "photo" and "shows" must
    not come before one that says "cat". Where nothing else is left, every word counts.
    """
    words = _WORDS.findall(text)
    return " ".join([word for word in words if word.casefold() not in hashed_words.STOP_WORDS] or words)


class NoVectorError(MagpieError):
    """Voyage does not answer, or not with a vector."""


@lru_cache(maxsize=KEPT_VECTORS)
def bought_vector(key: str, base_url: str | None, user_id: str, text: str) -> str:
    """Return Voyage's vector of a question, and charge the user for it.

    One HTTPS call with what the runtime brings along: the SDK has 158 MB, and belongs to the embedder.

    Args:
        user_id: also keeps what one user asked from answering another any faster.

    Raises:
        NoVectorError: it is not to be had.
        TransientError: the database does not take the charge.
    """
    import urllib3

    # As the SDK decides it: keys made in MongoDB Atlas are for MongoDB's own door.
    default = "https://ai.mongodb.com/v1" if key.startswith("al-") else "https://api.voyageai.com/v1"
    request = {
        "input": [text],
        "model": VOYAGE.name,
        "input_type": "query",
        "truncation": True,
        "output_dimension": DIMENSIONS,
        "encoding_format": "base64",
    }
    try:
        answer = _pool().request(
            "POST",
            f"{base_url or default}/embeddings",
            body=json.dumps(request).encode(),
            headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
            redirect=False,
        )
        if answer.status != 200:
            raise NoVectorError(f"Voyage answered {answer.status}")
        found = json.loads(answer.data)
        received = base64.b64decode(found["data"][0]["embedding"], validate=True)
        vector = embeddings.halfvec(struct.unpack(f"<{len(received) // 4}f", received))
        tokens = int(found["usage"]["total_tokens"])
    except urllib3.exceptions.HTTPError as error:
        raise NoVectorError(f"Voyage did not answer: {type(error).__name__}") from error
    except (ValueError, TypeError, LookupError, struct.error, RecursionError) as error:
        raise NoVectorError("Voyage's answer could not be read") from error
    except embeddings.InvalidVectorError as error:
        raise NoVectorError(str(error)) from error
    with database.transaction() as cursor:
        cursor.execute(
            CHARGE,
            {
                "user_id": user_id,
                "provider": VOYAGE.provider,
                "model": VOYAGE.name,
                "tokens": tokens,
                "cost_usd": embeddings.cost_usd(VOYAGE, tokens),
            },
        )
    return vector


@cache
def _pool() -> "PoolManager":
    from urllib3 import PoolManager, Timeout

    return PoolManager(timeout=Timeout(total=TIMEOUT_SECONDS), retries=False)
