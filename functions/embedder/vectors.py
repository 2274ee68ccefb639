"""Make the vectors of texts: by Voyage where there is a key, else offline."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from uuid import UUID

from functions.embedder import purse, voyage
from functions.embedder.purse import Reserved
from shared import embeddings, hashed_words
from shared.embeddings import OFFLINE, VOYAGE, VectorModel
from shared.errors import RejectedError

NOTHING_TO_EMBED = "There is nothing in the description of this picture that a search by meaning could use."
REFUSED = "The search service refuses the description of this picture; it can be found by its words only."


@dataclass(frozen=True)
class Made:
    """What one call brought, worth keeping at once because it was paid for.

    Attributes:
        vectors: by position of the text, in pgvector's text form.
        failures: by position, why there is no vector.
        tokens: by position, its share of what the call cost.
        reserved: what was set aside for the call, by user: free once it is charged.
    """

    vectors: Mapping[int, str]
    failures: Mapping[int, Exception] = field(default_factory=dict)
    tokens: Mapping[int, int] = field(default_factory=dict)
    reserved: Mapping[str, UUID] = field(default_factory=dict)


Maker = Callable[[Sequence[str], Sequence[str]], Iterator[Made]]
"""Makes the vectors of texts, of which each has an owner, call by call. What it raises counts for the texts
not yet spoken of."""
SetAside = Callable[[Sequence[str], Sequence[str]], Reserved]
"""Reserves what the call for texts may cost, each owner's own share."""


def choose() -> tuple[VectorModel, Maker]:
    """Return the model that makes vectors now, and how.

    Raises:
        MissingParameterError: Voyage is asked for and there is no key.
        TransientError: Parameter Store did not answer.
    """
    key = embeddings.voyage_key()
    if key is None:
        return OFFLINE, make_offline
    return VOYAGE, partial(buy, key, embeddings.EmbedderEnv.load().voyage_base_url, purse.reserve)


def make_offline(texts: Sequence[str], owners: Sequence[str]) -> Iterator[Made]:
    """Make every vector at once, without a model. It costs nobody anything."""
    vectors: dict[int, str] = {}
    failures: dict[int, Exception] = {}
    for position, text in enumerate(texts):
        vector = hashed_words.embed(text)
        if vector is None:
            failures[position] = RejectedError("not_embeddable", NOTHING_TO_EMBED)
        else:
            vectors[position] = embeddings.halfvec(vector)
    yield Made(vectors, failures)


def buy(
    key: str, base_url: str | None, set_aside: SetAside, texts: Sequence[str], owners: Sequence[str]
) -> Iterator[Made]:
    """Buy vectors, as few calls as Voyage's limits allow.

    The money for each call is set aside before it. Texts of users who have none left are not sent, and
    the others' are.

    One text that the service refuses must not cost the others their vectors: a refused batch is cut in
    half until the guilty one is alone.

    Args:
        set_aside: `purse.reserve`.
        owners: of the texts, each of its own.

    Raises:
        TransientError: the service throttles, is down or answers nonsense.
        VoyageError: it refuses us, not a text.
    """
    ask = partial(voyage.ask, key, base_url)
    waiting = list(reversed(voyage.batches(texts)))
    something_was_taken = False
    empty = [position for position, text in enumerate(texts) if not text]
    if empty:
        yield Made({}, dict.fromkeys(empty, RejectedError("not_embeddable", NOTHING_TO_EMBED)))
    while waiting:
        batch = waiting.pop()
        reserved = set_aside([texts[at] for at in batch], [owners[at] for at in batch])
        if reserved.refused:
            refused = [at for at in batch if owners[at] in reserved.refused]
            batch = [at for at in batch if owners[at] in reserved.held]
            yield Made({}, {at: reserved.refused[owners[at]] for at in refused})
            if not batch:
                continue
        try:
            with purse.released_on_error(reserved.held):
                reply = ask([texts[position] for position in batch])
        except voyage.RefusedError as refusal:
            if len(batch) > 1:
                middle = len(batch) // 2
                waiting += [batch[middle:], batch[:middle]]
                continue
            if not something_was_taken:
                # Is it the text, or all that we ask? A wrong setting must not fail a whole collection.
                voyage.ask_harmless(key, base_url)
                something_was_taken = True
            failure = RejectedError("not_embeddable", REFUSED)
            failure.__cause__ = refusal
            yield Made({}, {batch[0]: failure})
        except voyage.UnusableError as error:
            yield Made({}, dict.fromkeys(batch, error), _charged(error.tokens, batch, texts), reserved.held)
        else:
            something_was_taken = True
            vectors, failures = _checked(batch, reply.vectors)
            yield Made(vectors, failures, _charged(reply.tokens, batch, texts), reserved.held)


def _checked(
    batch: Sequence[int], received: Sequence[Sequence[float]]
) -> tuple[dict[int, str], dict[int, Exception]]:
    """Check each vector on its own: one that is none must not cost the others theirs."""
    vectors: dict[int, str] = {}
    failures: dict[int, Exception] = {}
    for position, vector in zip(batch, received, strict=True):
        try:
            vectors[position] = embeddings.halfvec(vector)
        except embeddings.InvalidVectorError as error:
            failures[position] = error
    return vectors, failures


def _charged(tokens: int, batch: Sequence[int], texts: Sequence[str]) -> dict[int, int]:
    lengths = [len(texts[position]) for position in batch]
    return dict(zip(batch, voyage.shares(tokens, lengths), strict=True))
