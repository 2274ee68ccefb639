"""Ask a Magpie the questions of a retrieval set, and decide which of its answers count."""

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from cli.client import Api, ApiError, UnreachableError
from cli.measures import Query

MODES = ("text", "vector", "hybrid")
TRIES = 3
"""Of a question whose meaning could not be searched for: a model that was slow may answer the next time."""
HOPELESS = 3
"""Questions at the beginning that all cannot be searched by meaning: the rest is not asked any more."""
LOOKUPS = 4
"""Items that are looked for at once."""
NO_MEANING = "meaning search is unavailable"
"""How a note of the API begins where a vector of the question could not be had."""


@dataclass(frozen=True)
class Answered:
    """What one question found.

    Attributes:
        hits: as the API tells them, the best first.
        milliseconds: from asking to the end of the answer.
    """

    query: Query
    hits: list[dict[str, Any]]
    milliseconds: float

    @property
    def ranking(self) -> list[str]:
        return [str(hit["item_id"]) for hit in self.hits]


@dataclass
class Asked:
    """A whole set, asked in one mode.

    Attributes:
        unscored: why a question's answer does not count, by its id; there is nothing of it in `answered`.
    """

    mode: str
    answered: list[Answered] = field(default_factory=list)
    unscored: dict[str, str] = field(default_factory=dict)


class _NotInThisModeError(Exception):
    """The API answered in another way than it was asked to."""


def ask(
    api: Api,
    queries: Sequence[Query],
    mode: str,
    limit: int,
    *,
    told: Callable[[int], None] = lambda _: None,
    pause: Callable[[float], None] = time.sleep,
) -> Asked:
    """Ask every question, one after the other, so that none waits for another.

    Args:
        limit: hits of each.
        told: is told how many questions are done.
        pause: how to wait between two tries; tests pass their own.

    Raises:
        CommandError: the API cannot be reached, is busy for longer than the client is patient, or nobody is
            signed in.
    """
    asked = Asked(mode)
    for position, query in enumerate(queries, start=1):
        try:
            if position == 1:
                # Once for nothing: it opens the connection and warms what is cold.
                _answer(api, query, mode, limit, pause)
            hits, milliseconds = _answer(api, query, mode, limit, pause)
            asked.answered.append(Answered(query, hits, milliseconds))
        except _NotInThisModeError as error:
            asked.unscored[query.query_id] = str(error)
            if not asked.answered and len(asked.unscored) == HOPELESS:
                rest = queries[position:]
                asked.unscored |= {each.query_id: f"not asked: {error}" for each in rest}
                told(len(queries))
                break
        except ApiError as error:
            # Not this question's fault: the next one would fare no better.
            if isinstance(error, UnreachableError) or error.status in (0, 401, 404):
                raise
            asked.unscored[query.query_id] = error.message
        told(position)
    return asked


def _answer(
    api: Api, query: Query, mode: str, limit: int, pause: Callable[[float], None]
) -> tuple[list[dict[str, Any]], float]:
    why = ""
    for attempt in range(TRIES):
        if attempt:
            pause(float(attempt))
        answer, milliseconds = api.timed_search(query.text, mode, limit)
        why = departure(answer, mode)
        if not why:
            return answer["hits"], milliseconds
    raise _NotInThisModeError(why)


def departure(answer: dict[str, Any], mode: str) -> str:
    """Say how an answer is not one of this mode; empty where it is."""
    notes = [str(note) for note in answer.get("notes") or []]
    lacking = [note for note in notes if note.startswith(NO_MEANING)]
    if mode != "text" and lacking:
        return lacking[0]
    used = answer.get("mode")
    return "" if used == mode else f"it was searched by {used} instead"


def look_up(api: Api, item_ids: Iterable[str]) -> dict[str, dict[str, Any] | None]:
    """Return items by their ids; None for what the collection does not hold.

    Raises:
        CommandError: the API does not answer.
    """

    def one(item_id: str) -> dict[str, Any] | None:
        try:
            UUID(item_id)
        except ValueError:
            return None
        try:
            return api.item(item_id)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    wanted = list(dict.fromkeys(item_ids))
    with ThreadPoolExecutor(LOOKUPS) as threads:
        return dict(zip(wanted, threads.map(one, wanted), strict=True))
