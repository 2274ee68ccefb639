"""Give every task of a batch its vector, and pay for no text twice."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from time import monotonic
from uuid import UUID

from aws_lambda_powertools import Logger

from functions.embedder import store, verdict
from functions.embedder.vectors import Maker
from functions.embedder.verdict import Ignored, Key, Outcome, Task, Waiting
from shared.embeddings import VectorModel
from shared.erasures import AccountDeletedError
from shared.errors import RejectedError, TransientError
from shared.quotas import OverQuotaError

logger = Logger(child=True)

Made = Sequence[tuple[Task, str]]
Failed = Sequence[tuple[Task, Exception]]


def embed(tasks: Sequence[Task], model: VectorModel, make: Maker, started: float) -> dict[Key, Outcome]:
    """Give every task its vector: one that came with it, one that the user already has, or a new one."""
    came = store.imported(tasks, model) if tasks else {}
    outcomes = keep(
        [(task, came[task.key][0]) for task in tasks if task.key in came],
        model,
        started,
        made_at={key: made_at for key, (_, made_at) in came.items()},
    )
    tasks = [task for task in tasks if task.key not in outcomes]
    had = store.same_text(tasks, model) if tasks else {}
    outcomes |= keep([(task, had[text]) for task in tasks if (text := same(task)) in had], model, started)
    # Tasks of one user with the same text share one vector, which is made once.
    sharing: dict[tuple[str, str], list[Task]] = {}
    for task in tasks:
        if task.key not in outcomes:
            sharing.setdefault(same(task), []).append(task)
    groups = list(sharing.values())
    try:
        texts, owners = [group[0].text for group in groups], [group[0].user_id for group in groups]
        for made in make(texts, owners) if groups else ():
            outcomes |= keep(
                [(task, vector) for place, vector in made.vectors.items() for task in groups[place]],
                model,
                started,
                [(task, error) for place, error in made.failures.items() for task in groups[place]],
                {groups[place][0].key: tokens for place, tokens in made.tokens.items()},
                reserved=made.reserved,
            )
    except Exception as error:  # noqa: BLE001 - handed back: it counts for what is not done yet, only
        for task in tasks:
            outcomes.setdefault(task.key, error)
    return outcomes


def same(task: Task) -> tuple[str, str]:
    """Return what tasks that may share a vector have in common: never across users."""
    return task.user_id, task.source_hash


def keep(
    made: Made,
    model: VectorModel,
    started: float,
    failed: Failed = (),
    tokens: Mapping[Key, int] | None = None,
    made_at: Mapping[Key, datetime] | None = None,
    reserved: Mapping[str, UUID] | None = None,
) -> dict[Key, Outcome]:
    """Commit what a call brought, or vectors that were there already, and say what became of each task.

    Args:
        started: when the batch began, by `time.monotonic`.
        tokens: what the call cost, by the item that is charged; None where there was no call.
        made_at: when vectors were made, of those that were not made now.
        reserved: what was set aside for the call, by user.
    """
    if not (made or failed):
        return {}
    kept = store.keep(
        model,
        made,
        reused=tokens is None,
        took=timedelta(seconds=monotonic() - started),
        ended=[(task, error) for task, error in failed if isinstance(error, RejectedError)],
        over=[(task, error) for task, error in failed if isinstance(error, OverQuotaError)],
        reserved=reserved,
        tokens=tokens,
        made_at=made_at,
    )
    logger.info(
        "vectors kept", model=model.name, ready=len(kept.ready), failed=len(failed), paid=tokens is not None
    )
    ended = {(event.user_id, event.item_id): event for event in kept.ended}
    outcomes: dict[Key, Outcome] = {
        task.key: verdict.embedded(task, model) if task.key in kept.ready else _overtaken(task, kept)
        for task, _ in made
    }
    for task, error in failed:
        if isinstance(error, RejectedError):
            outcomes[task.key] = ended.get(task.key) or _overtaken(task, kept)
        elif isinstance(error, OverQuotaError):
            waits = task.key in kept.waiting
            outcomes[task.key] = Waiting(task.user_id, error) if waits else _overtaken(task, kept)
        elif isinstance(error, AccountDeletedError):
            outcomes[task.key] = Ignored("deleted account")
        else:
            outcomes[task.key] = error
    return outcomes


def _overtaken(task: Task, kept: store.Kept) -> Outcome:
    """Return what becomes of a task that others were faster than.

    A newer version has a message of its own. So has a correction; but that may have been acknowledged
    already, by a worker that found the vector as this one had left it.
    """
    if task.key in kept.outdated:
        return TransientError("somebody corrected the item while its vector was made")
    return Ignored("overtaken")
