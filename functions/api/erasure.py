"""The end of the caller's account: asked for, waited for, and shown as a receipt."""

from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Literal
from uuid import UUID, uuid4

from pydantic import Field

from functions.api.problems import Problem
from shared import bus, database, erasures
from shared.events import ErasureRequested
from shared.models import Model

if TYPE_CHECKING:
    from psycopg.rows import DictRow


class Removed(Model):
    """What is gone by now."""

    rows: dict[str, int] = Field(description="of each table")
    objects: int = Field(
        description="versions of originals, derivatives and exports, delete markers included"
    )
    bytes: int
    cognito_user: bool = Field(description="whether there was a user to sign in with")


class Receipt(Model):
    """What becomes, or became, of a request to delete everything."""

    receipt_id: UUID
    status: Literal["running", "finished"]
    requested_at: datetime
    finished_at: datetime | None
    removed: Removed


def begin(user_id: str, correlation_id: str) -> Receipt:
    """Bar the account, have everything of it deleted, and return the receipt so far.

    Asked again, it is the same erasure; as long as it is not finished it is said once more, for whoever
    said it first may have died before.
    """
    with database.transaction() as cursor:
        row = erasures.begin(cursor, user_id, uuid4())
    if row["finished_at"] is None:
        bus.publish([ErasureRequested(user_id=user_id, erasure_id=row["erasure_id"])], correlation_id)
    return _receipt(row)


def receipt(user_id: str) -> Receipt:
    """Return the caller's receipt.

    Raises:
        Problem: 404, nothing was asked for.
    """
    with database.transaction() as cursor:
        row = erasures.find(cursor, user_id)
    if row is None:
        raise Problem(
            HTTPStatus.NOT_FOUND, "erasure-not-found", "DELETE /me deletes the account; nobody asked for it."
        )
    return _receipt(row)


def is_finished(receipt: Receipt) -> bool:
    return receipt.finished_at is not None


def _receipt(row: "DictRow") -> Receipt:
    return Receipt(
        receipt_id=row["erasure_id"],
        status="finished" if row["finished_at"] else "running",
        requested_at=row["requested_at"],
        finished_at=row["finished_at"],
        removed=row["removed"],
    )
