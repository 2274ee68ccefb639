"""What a search leaves out: the filters, and the conditions that they put to an item's row."""

from collections.abc import Collection
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from functions.api.answers import Status
from shared.models import Model
from shared.text import clean

Kind = Literal["image"]

SEARCHABLE = ("processed", "analyzed", "ready", "failed", "over_quota")
"""Statuses of what can be found: rejected pictures cannot be shown, and pending ones are not there yet.

Of what waits for room the same is true: what came as far as to be found is, and the rest has no words yet.
"""


def _a_day(value: Any) -> date | None:
    """Return the day that a text names, and None where it names a moment or nothing."""
    if not isinstance(value, str):
        return None
    try:
        return date.fromisoformat(value)
    except ValueError:
        return None


def _moment(value: Any) -> Any:
    """Return the moment that a text names, of a day its first.

    Read here: pydantic would take a number for seconds since 1970, and in a body, which is read strictly,
    takes no text that a validator has had in its hands.
    """
    if not isinstance(value, str):
        return value
    try:
        return datetime.fromisoformat(value.upper())
    except ValueError as error:
        raise ValueError("names neither a day nor a moment, such as 2026-11-20T18:30:00Z") from error


def _end_of_day(value: Any) -> Any:
    day = _a_day(value)
    if day is None:
        return _moment(value)
    if day == date.max:
        return datetime.combine(day, time.max)
    return datetime.combine(day + timedelta(days=1), time())


def _in_utc(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value


def _on_the_clock(value: datetime) -> datetime:
    return value.replace(tzinfo=None)


_DAY_OR_MOMENT = WithJsonSchema(
    {"type": "string", "anyOf": [{"format": "date"}, {"format": "date-time"}], "examples": ["2026-11-20"]}
)
_DAY_OR_CLOCK = WithJsonSchema({"type": "string", "examples": ["2026-11-20", "2026-11-20T18:30:00"]})

Moment = Annotated[datetime, BeforeValidator(_moment), AfterValidator(_in_utc), _DAY_OR_MOMENT]
EndMoment = Annotated[datetime, BeforeValidator(_end_of_day), AfterValidator(_in_utc), _DAY_OR_MOMENT]
ClockTime = Annotated[datetime, BeforeValidator(_moment), AfterValidator(_on_the_clock), _DAY_OR_CLOCK]
EndClockTime = Annotated[datetime, BeforeValidator(_end_of_day), AfterValidator(_on_the_clock), _DAY_OR_CLOCK]


class Filters(Model):
    """Which items may be found. Whatever is left out lets everything pass.

    Times are ISO 8601, a day or a moment. `_from` is the first moment that passes, `_to` the first that
    does not; a day as `_to` passes as a whole.
    """

    category: Annotated[str | None, AfterValidator(lambda value: value and clean(value))] = Field(
        None, min_length=1, max_length=200, description="as it is shown: the corrected one where there is one"
    )
    kind: Kind | None = Field(None, description="what an item is")
    status: Status | None = Field(None, description="a search finds no `pending` and no `rejected` items")
    created_from: Moment | None = Field(None, description="without a zone it is UTC")
    created_to: EndMoment | None = Field(
        None, description="the first moment that does not pass; a day passes as a whole"
    )
    captured_from: ClockTime | None = Field(
        None, description="by the camera's clock, which knows no zone: one that is given is left out"
    )
    captured_to: EndClockTime | None = Field(None, description="as `created_to`, by the camera's clock")
    duplicate: bool | None = Field(None, description="whether the same bytes had been uploaded before")

    def conditions(self, but_for: Collection[str] = ()) -> str:
        """Return what a row of `items` must hold, for the end of a WHERE; every part begins with AND.

        Args:
            but_for: names of filters that are seen to elsewhere.
        """
        asked = [
            condition
            for name, condition in _CONDITIONS.items()
            if getattr(self, name) is not None and name not in but_for
        ]
        if self.duplicate is not None:
            asked.append(f"items.duplicate_of IS {'NOT ' if self.duplicate else ''}NULL")
        return " ".join(f"AND {condition}" for condition in asked)

    def parameters(self) -> dict[str, Any]:
        """Return what the conditions refer to."""
        return {name: getattr(self, name) for name in _CONDITIONS}


_CONDITIONS = {
    "category": "items.category = %(category)s",
    "kind": "items.kind = %(kind)s",
    "status": "items.status = %(status)s",
    "created_from": "items.created_at >= %(created_from)s",
    "created_to": "items.created_at < %(created_to)s",
    # As an index has it; of what has no such time none is said to be before another.
    "captured_from": "coalesce(items.captured_at, '-infinity') >= %(captured_from)s::timestamp",
    "captured_to": "items.captured_at IS NOT NULL"
    " AND coalesce(items.captured_at, '-infinity') < %(captured_to)s::timestamp",
}
