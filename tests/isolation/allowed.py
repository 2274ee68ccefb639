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

_WEBHOOK = (
    "what a provider told is not known to be anybody's before it has been read; it is named by the provider "
    "and the event's id, and nobody is shown anything of it"
)

_CUSTOMER = (
    "events of one of Stripe's customers say themselves whose they are; only then anything is written for "
    "that user, and nobody is shown anything of it"
)

_OPERATOR_ASKS = (
    "what an operator asks for by `magpie webhooks`, with credentials that may invoke the function; no route "
    "of the API leads there"
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
    Allowed("functions.sweeper.held", "WAITING_OF_ALL", _SCHEDULE),
    Allowed("functions.nightly.abandoned", "ABANDONED_OF_ALL", _SCHEDULE),
    Allowed("functions.nightly.unfinished", "HALF_DONE_OF_ALL", _SCHEDULE),
    Allowed("functions.nightly.unfinished", "UNFINISHED_OF_ALL", _SCHEDULE),
    Allowed("functions.nightly.forgotten", "MARKS_OF_ALL", _OF_AGE),
    Allowed("functions.nightly.forgotten", "RECEIPTS_OF_ALL", _OF_AGE),
    Allowed("functions.nightly.forgotten", "RESULTS_OF_ALL", _OF_AGE),
    Allowed("functions.nightly.forgotten", "FINDINGS_OF_ALL", _OF_AGE),
    Allowed("functions.nightly.forgotten", "WEBHOOKS_OF_ALL", _OF_AGE),
    Allowed("functions.nightly.forgotten", "MAILS_OF_ALL", _OF_AGE),
    Allowed("functions.nightly.forgotten", "MAIL_EVENTS_OF_ALL", _OF_AGE),
    Allowed("functions.nightly.forgotten", "OLD_RUNS_OF_ALL", _SCHEDULE),
    Allowed("functions.scan_tick.due", "DUE_OF_ALL", _SCHEDULE),
    Allowed("shared.webhooks", "STORE_OF_ALL", _WEBHOOK),
    Allowed("shared.webhooks", "PUBLISHED_OF_ALL", _WEBHOOK),
    Allowed("shared.webhooks", "MARK_OF_ALL", _WEBHOOK),
    Allowed("shared.outcomes", "HANDLED_OF_ALL", _WEBHOOK),
    Allowed("functions.billing.store", "EVENT_OF_ALL", _WEBHOOK),
    Allowed("functions.billing.store", "EVENTS_OF_ALL", _CUSTOMER),
    Allowed("functions.billing.store", "LINKED_OF_ALL", _CUSTOMER),
    Allowed("functions.billing.store", "ATTRIBUTE_OF_ALL", _CUSTOMER),
    Allowed("functions.billing.store", "FORGET_OF_ALL", _CUSTOMER),
    Allowed("functions.webhooks.rows", "NEWEST_OF_ALL", _OPERATOR_ASKS),
    Allowed("functions.webhooks.rows", "OLDEST_OF_ALL", _OPERATOR_ASKS),
    Allowed("functions.webhooks.rows", "NAMED_OF_ALL", _OPERATOR_ASKS),
    Allowed("functions.webhooks.rows", "PUBLISHED_OF_ALL", _OPERATOR_ASKS),
    Allowed("functions.email_events.deliveries", "BODY_OF_ALL", _WEBHOOK),
    Allowed("functions.email_events.deliveries", "FORGET_OF_ALL", _WEBHOOK),
    Allowed(
        "functions.email_events.store",
        "KEEP_OF_ALL",
        "SES names a mail and an event, and only some of its events say whose they are: that is added where "
        "it was missing, and never changed",
    ),
    Allowed("shared.quotas", "EXPIRED_OF_ALL", _OF_AGE),
    Allowed(
        "shared.quotas",
        "BUDGET_OF_ALL",
        "the counter of the whole deployment, whose owner '*' is nobody; a user hears that it is used up",
    ),
)

FUNCTIONS = {
    "count_money_of_all": "the counter of the whole deployment, whose owner '*' is nobody: a sum and no more",
}
"""Functions of the database that write a row of no user, each with its reason."""

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
