"""What moto holds, taken down once and put back for each test: copying is far faster than making."""

import copy
import copyreg
import threading
from dataclasses import dataclass
from typing import Any, TypeVar

from moto.core.base_backend import BackendDict

T = TypeVar("T")

# A copy of what is locked has locks of its own; a condition is one with its lock.
copyreg.pickle(type(threading.Lock()), lambda _: (threading.Lock, ()))
copyreg.pickle(type(threading.RLock()), lambda _: (threading.RLock, ()))
copyreg.pickle(threading.Condition, lambda condition: (threading.Condition, (condition._lock,)))  # type: ignore[attr-defined]


@dataclass(frozen=True)
class State:
    """Everything that moto holds, and an object of ours that speaks of it.

    Attributes:
        services: with each, what it knows besides its backends (S3: whose a bucket is), and those by
            account and region.
        ours: nothing of it is anything of moto's.
        shared: stays what it is: it is not copied.
    """

    services: list[tuple[BackendDict[Any], dict[str, Any], dict[str, dict[str, Any]]]]
    ours: Any
    shared: tuple[object, ...]


def take(ours: object, *shared: object) -> State:
    """Return a copy of what moto holds now."""
    # The list is moto's own: of those services that have been asked for something.
    services: list[Any] = [
        (service, dict(vars(service)), {account: dict(regions) for account, regions in service.items()})
        for service in BackendDict._instances  # type: ignore[misc]
    ]
    return _copied(State(services, ours, shared))


def put_back(state: State) -> Any:
    """Make moto, which has just been emptied, hold what it held; return the copy of our own object."""
    copied = _copied(state)
    for service, known, accounts in copied.services:
        vars(service).update(known)
        for account, regions in accounts.items():
            dict.update(service[account], regions)
    return copied.ours


def _copied(state: State) -> State:
    services = [service for service, _, _ in state.services]
    kept = {id(each): each for each in (*services, *state.shared)}
    copied = copy.deepcopy((state.services, state.ours), kept)
    return State(*copied, state.shared)
