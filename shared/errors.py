"""The exceptions of Magpie. What a handler raises decides what becomes of its message.

    MagpieError
    ├── TransientError          worth another try: the message goes back to its queue
    │   └── PublishError        the bus did not take every entry
    ├── RejectedError           permanent, and the item's own fault: becomes a row and `ItemRejected`
    └── InvalidEventError       nobody's item: the message ends in the dead-letter queue, which alarms

The state machine names `TransientError` in its Retry, so the class keeps this name.
"""

from shared.events import RejectionCode


class MagpieError(Exception):
    """Base of every exception that Magpie raises itself."""


class TransientError(MagpieError):
    """A throttle, a time-out, a lost connection: the same call may succeed later."""


class PublishError(TransientError):
    """`PutEvents` answered, but did not accept every entry."""


class InvalidEventError(MagpieError):
    """An event or payload that no contract describes."""


class RejectedError(MagpieError):
    """This item can never be processed as it is.

    Args:
        code: one of the closed list in `shared.events.RejectionCode`.
        sentence: why, in words for the person who uploaded it.
    """

    def __init__(self, code: RejectionCode, sentence: str) -> None:
        super().__init__(sentence)
        self.code: RejectionCode = code
        self.sentence = sentence
