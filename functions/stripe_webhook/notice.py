"""What an event of Stripe says about itself. What happened is for others to read.

https://docs.stripe.com/api/events/object
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StringConstraints, ValidationError

from shared.incoming import RefusedError

LATEST = 253_402_300_799
"""The last second that a date of Python's can name."""

Name = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,255}$")]


class _Data(BaseModel):
    what: Mapping[str, Any] = Field(alias="object")


class Notice(BaseModel):
    """An event, as far as everybody needs it.

    Attributes:
        live: whether it is about money; else it is from a sandbox.
    """

    model_config = ConfigDict(frozen=True)

    kind: Literal["event"] = Field(alias="object")
    event_id: Name = Field(alias="id")
    event_type: Name = Field(alias="type")
    created: Annotated[StrictInt, Field(gt=0, le=LATEST)]
    live: StrictBool = Field(alias="livemode")
    data: _Data

    @property
    def occurred_at(self) -> datetime:
        """When it happened, by Stripe's clock; for a test clock of Stripe's, by that one."""
        return datetime.fromtimestamp(self.created, UTC)

    @property
    def subject(self) -> str:
        """The customer that it is about, '' where it is about none."""
        about = self.data.what
        found = about.get("id") if about.get("object") == "customer" else about.get("customer")
        return found if isinstance(found, str) and found.isascii() and found.isprintable() else ""


def read(document: Mapping[str, Any]) -> Notice:
    """Return what a verified document says.

    Raises:
        RefusedError: it is no event, or one of the kind that only names what to fetch ("thin").
    """
    try:
        return Notice.model_validate(document)
    except ValidationError as error:
        raise RefusedError("not readable") from error
