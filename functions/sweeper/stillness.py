"""Decide what is to be done about an item that sits still."""

from enum import Enum, auto

from functions.sweeper.rows import Stuck
from shared.events import Stage

STAGES: dict[str, Stage] = {
    "pending": "image_processor",
    "processed": "analyzer",
    "analyzed": "embedder",
}
"""The stage that an item of each status waits for."""


class Todo(Enum):
    WAIT = auto()
    SEND = auto()
    ASK = auto()


def to_do(item: Stuck, queue_is_empty: bool, times: int, anyway_seconds: float) -> Todo:
    """Return what is to be done: wait, send it round again, or ask its stage for the last time.

    While the stage's queue holds messages, the item's own may be among them, held back by a model that
    throttles: then it is only sent after so long that no message can be left.

    Args:
        times: that an item is sent round before its stage is asked directly.
        anyway_seconds: after which it does not matter what the queue holds.
    """
    if not queue_is_empty and item.still_seconds < anyway_seconds:
        return Todo.WAIT
    return Todo.SEND if item.times < times else Todo.ASK
