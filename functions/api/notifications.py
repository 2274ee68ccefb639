"""What somebody wants to be written to about: nothing, until they say so."""

from typing import TYPE_CHECKING

from pydantic import ConfigDict, Field, field_validator, model_validator

from shared import database, erasures, profiles
from shared.models import Model
from shared.settings import Settings

if TYPE_CHECKING:
    from psycopg import Cursor
    from psycopg.rows import DictRow

WISH = "SELECT notifications FROM user_profiles WHERE user_id = %(user_id)s"

CHANGE = """
UPDATE user_profiles
   SET notifications = notifications || %(wish)s, updated_at = now()
 WHERE user_id = %(user_id)s
"""


class MailEnv(Settings):
    """Whether mail is sent from here; empty where it is not."""

    mail_from: str = Field(alias="MAIL_FROM")


class Notifications(Model):
    """What the caller is written to about."""

    scan_complete: bool = Field(description="what a run of theirs came to")
    quota: bool = Field(description="that something does not fit into their plan any more")


class Wish(Model):
    """What is to be different; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    scan_complete: bool | None = None
    quota: bool | None = None

    @field_validator("scan_complete", "quota", mode="before")
    @classmethod
    def _is_one_or_the_other(cls, value: object) -> object:
        if value is None:
            raise ValueError("say true or false, or leave it out")
        return value

    @model_validator(mode="after")
    def _says_something(self) -> "Wish":
        if not self.model_fields_set:
            raise ValueError("there is nothing in it to change")
        return self


class Change(Model):
    """What is to be different about the caller."""

    model_config = ConfigDict(extra="forbid")

    notifications: Wish


def of(cursor: "Cursor[DictRow]", user_id: str) -> Notifications:
    """Return what somebody has asked for."""
    row = cursor.execute(WISH, {"user_id": user_id}).fetchone()
    known = row["notifications"] if row else {}
    return Notifications(scan_complete=known.get("scan_complete") is True, quota=known.get("quota") is True)


def change(user_id: str, wish: Wish) -> None:
    """Note what somebody wants.

    Raises:
        AccountDeletedError: they are written to no more.
    """
    from psycopg.types.json import Jsonb

    with database.transaction() as cursor:
        erasures.refuse_erased(cursor, user_id)
        profiles.ensure(cursor, user_id)
        cursor.execute(CHANGE, {"user_id": user_id, "wish": Jsonb(wish.model_dump(exclude_unset=True))})


def are_sent() -> bool:
    """Say whether this deployment sends mail at all."""
    return bool(MailEnv.load().mail_from)
