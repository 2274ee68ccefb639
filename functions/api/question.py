"""Read a question: the words to look for, and the vector of what it means."""

import base64
import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Literal
from uuid import UUID

from aws_lambda_powertools import Logger

from functions.api import terms
from functions.api.spelling import Meant
from functions.api.terms import Term
from shared import database, embeddings, erasures, hashed_words, ledger, quotas
from shared.embeddings import DIMENSIONS, OFFLINE, VOYAGE, VectorModel
from shared.errors import MagpieError
from shared.ledger import Charge
from shared.quotas import OverQuotaError
from shared.text import clean

if TYPE_CHECKING:
    from urllib3 import PoolManager

logger = Logger(child=True)

TIMEOUT_SECONDS = 2.0
"""For one vector of one question, usually there in 0.2: words alone now are better than both later."""
RESERVED_FOR = timedelta(seconds=30)
"""What is set aside for a vector, by whoever died meanwhile: a little over the function's time-out."""
KEPT_VECTORS = 256
"""Bought vectors that an execution environment remembers: whoever pages or tries again pays once."""
MAX_TERMS = 32
"""Different words of a question that are looked for; the rest could not change the order any more."""
NO_WORDS = "there is no word in the question to look for"
TOO_MANY_WORDS = f"only the first {MAX_TERMS} different words of the question were looked for"
WORDS_ONLY = "meaning search is unavailable, words only"
NO_MEANING = "meaning search is unavailable"

Mode = Literal["hybrid", "text", "vector"]
"""Search by words and by meaning, by words only, by meaning only."""


@dataclass(frozen=True)
class Question:
    """A question, ready to be searched for.

    Attributes:
        text: as it was asked, cleaned.
        mode: what can be done of what was asked for.
        terms: what full text looks for; empty where words do not count, or there are none.
        model: whose vectors can be compared.
        vector: in pgvector's text form; None where meaning does not count, or cannot be had.
        notes: for the person who asks, what is not as it was asked for.
        meant: what words were taken to be meant for, that no document holds.
    """

    text: str
    mode: Mode
    terms: tuple[Term, ...]
    model: VectorModel
    vector: str | None
    notes: tuple[str, ...] = ()
    meant: Mapping[str, Sequence[Meant]] = field(default_factory=dict)


def read(
    user_id: str, asked: str, mode: Mode = "hybrid", spellings: terms.Spellings | None = None
) -> Question:
    """Return what a question looks for. That its meaning cannot be had never fails it.

    Args:
        spellings: what words were taken to be meant for when the first page was found; None for that one.

    Raises:
        TransientError: the database, which the search needs too, cannot read it or take the charge for a
            vector.
    """
    text = clean(asked).strip()
    if not terms.split(text):
        # Nothing but punctuation has no meaning to be searched for either.
        return Question(text, mode, (), OFFLINE, None, (NO_WORDS,))
    wanted, meant = terms.read(user_id, text, spellings) if mode != "vector" else ((), {})
    notes = [NO_WORDS] if mode != "vector" and not wanted else []
    if len(wanted) > MAX_TERMS:
        wanted = wanted[:MAX_TERMS]
        notes.append(TOO_MANY_WORDS)
    if mode == "text":
        return Question(text, mode, wanted, OFFLINE, None, tuple(notes), meant)
    model, vector = read_meaning(user_id, text)
    if vector is None:
        notes.append(WORDS_ONLY if mode == "hybrid" else NO_MEANING)
    possible: Mode = "text" if vector is None and mode == "hybrid" else mode
    return Question(text, possible, wanted, model, vector, tuple(notes), meant)


def read_meaning(user_id: str, text: str) -> tuple[VectorModel, str | None]:
    """Return the model whose vectors can be compared, and a text's vector, None where it is not to be had.

    Raises:
        TransientError: the database does not take the charge.
    """
    try:
        key = embeddings.voyage_key()
    except MagpieError as error:
        logger.error("no key for vectors", reason=str(error))
        return OFFLINE, None
    if key is None:
        vector = hashed_words.embed(text)
        return OFFLINE, embeddings.halfvec(vector) if vector else None
    try:
        return VOYAGE, bought_vector(key, embeddings.EmbedderEnv.load().voyage_base_url, user_id, text)
    except NoVectorError as error:
        logger.warning("question without a vector", reason=str(error))
        return VOYAGE, None


class NoVectorError(MagpieError):
    """Voyage does not answer, or not with a vector, or cannot be paid any more this month."""


@lru_cache(maxsize=KEPT_VECTORS)
def bought_vector(key: str, base_url: str | None, user_id: str, text: str) -> str:
    """Return Voyage's vector of a question, and charge the user for it.

    One HTTPS call with what the runtime brings along: the SDK has 158 MB, and belongs to the embedder.
    No more is bought than the month's money is enough for.

    Args:
        user_id: also keeps what one user asked from answering another any faster.

    Raises:
        NoVectorError: it is not to be had.
        AccountDeletedError: there is nothing left to be searched for.
        TransientError: the database does not take the charge.
    """
    with _reserved(user_id, text) as reservation:
        vector, tokens = _buy(key, base_url, text)
        with database.transaction() as cursor:
            erasures.refuse_erased(cursor, user_id)
            cost = embeddings.cost_usd(VOYAGE, tokens)
            ledger.write(cursor, [Charge(user_id, None, "api", VOYAGE.provider, VOYAGE.name, tokens, cost)])
            quotas.free(cursor, user_id, reservation)
    return vector


@contextmanager
def _reserved(user_id: str, text: str) -> Iterator[UUID]:
    """Set aside what a vector may cost at the most; it is given back where none was bought.

    Raises:
        NoVectorError: the month's money is used up.
        TransientError: the database gave up.
    """
    try:
        most = embeddings.most_usd(VOYAGE, text)
        reservation = quotas.reserve_money(user_id, "api", most, RESERVED_FOR)
    except OverQuotaError as error:
        raise NoVectorError("the month's money for models is used up") from error
    try:
        yield reservation
    except NoVectorError:
        quotas.release(user_id, reservation)
        raise


def _buy(key: str, base_url: str | None, text: str) -> tuple[str, int]:
    """Return a vector in pgvector's text form, and the tokens that it cost.

    Raises:
        NoVectorError: it is not to be had.
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
        return vector, int(found["usage"]["total_tokens"])
    except urllib3.exceptions.HTTPError as error:
        raise NoVectorError(f"Voyage did not answer: {type(error).__name__}") from error
    except (ValueError, TypeError, LookupError, struct.error, RecursionError) as error:
        raise NoVectorError("Voyage's answer could not be read") from error
    except embeddings.InvalidVectorError as error:
        raise NoVectorError(str(error)) from error


@cache
def _pool() -> "PoolManager":
    from urllib3 import PoolManager, Timeout

    return PoolManager(timeout=Timeout(total=TIMEOUT_SECONDS), retries=False)
