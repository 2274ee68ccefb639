"""Wait for what another function is doing, for no longer than somebody wants to."""

import time
from collections.abc import Callable
from typing import TypeVar

from functions.api import request

PAUSES = (0.05, 0.1, 0.2, 0.4)
"""Seconds between two looks; the last one again and again."""
RESERVE_SECONDS = 2.0
"""Kept back from the function's time-out, for the answer."""

T = TypeVar("T")


def until(done: Callable[[T], bool], look: Callable[[], T], seconds: float) -> T:
    """Look until it is done or the time is over, at least once, and return what was seen last."""
    left = request.router().lambda_context.get_remaining_time_in_millis() / 1000 - RESERVE_SECONDS
    deadline = time.monotonic() + min(seconds, left)
    pauses = iter(PAUSES)
    pause = next(pauses)
    while not done(seen := look()):
        if time.monotonic() + pause > deadline:
            break
        time.sleep(pause)
        pause = next(pauses, pause)
    return seen
