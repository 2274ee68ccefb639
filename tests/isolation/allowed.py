"""The statements that touch tenant tables of all users, on purpose. Each with its reason.

An entry names a constant of a module, so that it ends when the statement changes or goes: an entry that
allows nothing any more fails a test.
"""

import importlib
from functools import cache
from typing import NamedTuple


class Allowed(NamedTuple):
    """A statement that is not held to a user.

    Attributes:
        module, constant: where its text is.
        reason: why it may be so, and what keeps others' rows from showing.
    """

    module: str
    constant: str
    reason: str


_OPERATOR = (
    "a run of the operator, whose owner is '*', is over everybody's items; no token says '*', and no route "
    "of the API shows such a run"
)

_SCHEDULE = (
    "a schedule finds work of everybody, and does each piece by statements of its own user; nobody is shown "
    "anything of it"
)

_OF_AGE = (
    "everybody's rows of some kind go when they are of an age, whoever they belong to; nobody is shown "
    "anything of them"
)

STATEMENTS: tuple[Allowed, ...] = (
    Allowed(
        "functions.pre_sign_up.handler",
        "TAKEN",
        "before there is a user: whether anybody has this mailbox, which is a yes or a no",
    ),
    Allowed("functions.scan_planner.selection", "SELECT_OF_ALL", _OPERATOR),
    Allowed("functions.scan_planner.selection", "COUNT_OF_ALL", _OPERATOR),
    Allowed("functions.scan_planner.selection", "AVERAGE_OF_ALL", _OPERATOR),
    Allowed("functions.scan_checker.store", "USERS_OF_ALL", _OPERATOR),
    Allowed("functions.scan_reporter.closing", "FINDINGS_OF_ALL", _OPERATOR),
    Allowed("functions.scan_reporter.closing", "FOUND_OF_ALL", _OPERATOR),
    Allowed("shared.progress", "COUNTS_OF_ALL", _OPERATOR),
    Allowed("shared.progress", "CAUSES_OF_ALL", _OPERATOR),
    Allowed("shared.progress", "FAILURES_OF_ALL", _OPERATOR),
    Allowed("functions.sweeper.rows", "STUCK_OF_ALL", _SCHEDULE),
    Allowed("functions.sweeper.executions", "OPEN_OF_ALL", _SCHEDULE),
    Allowed("functions.nightly.abandoned", "ABANDONED_OF_ALL", _SCHEDULE),
    Allowed("functions.nightly.unfinished", "HALF_DONE_OF_ALL", _SCHEDULE),
    Allowed("functions.nightly.unfinished", "UNFINISHED_OF_ALL", _SCHEDULE),
    Allowed("functions.nightly.forgotten", "MARKS_OF_ALL", _OF_AGE),
    Allowed("functions.nightly.forgotten", "RECEIPTS_OF_ALL", _OF_AGE),
    Allowed("functions.nightly.forgotten", "RESULTS_OF_ALL", _OF_AGE),
    Allowed("functions.nightly.forgotten", "FINDINGS_OF_ALL", _OF_AGE),
    Allowed("functions.nightly.forgotten", "OLD_RUNS_OF_ALL", _SCHEDULE),
    Allowed("functions.scan_tick.due", "DUE_OF_ALL", _SCHEDULE),
)

SENDERS = {
    "functions/migrate/runner.py": "sends the migrations, whose functions are checked where they are written",
}
"""Files whose statements are not looked at as they are sent; those written in them are still read."""


@cache
def statements() -> frozenset[str]:
    """Texts of the allowed statements, whitespace made even."""
    return frozenset(" ".join(text(entry).split()) for entry in STATEMENTS)


def text(entry: Allowed) -> str:
    """Return the statement itself.

    Raises:
        AttributeError: it is gone.
    """
    return str(getattr(importlib.import_module(entry.module), entry.constant))
