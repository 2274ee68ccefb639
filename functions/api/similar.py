"""What is like an item: the nearest vectors to its own."""

from uuid import UUID

from pydantic import Field

from functions.api import problems
from functions.api.filters import Filters
from functions.api.question import Question
from shared import database, embeddings
from shared.embeddings import VectorModel

NO_VECTOR = "this item has no vector yet: nothing can be compared with it"

MODEL = """
SELECT embeddings.model
  FROM items
  LEFT JOIN embeddings ON embeddings.user_id = items.user_id AND embeddings.item_id = items.item_id
 WHERE items.user_id = %(user_id)s AND items.item_id = %(item_id)s
"""


class Wanted(Filters):
    """Which of the similar items are wanted."""

    limit: int = Field(20, ge=1, le=100)
    min_score: float | None = Field(
        None, ge=0, le=1, description="left out, all above 0; with 0, also what is no nearer than strangers"
    )


def model_of(user_id: str, item_id: UUID) -> VectorModel | None:
    """Return the model of an item's vector, None where it has no vector.

    Raises:
        Problem: 404, the user has no such item.
    """
    row = database.fetch_one(MODEL, {"user_id": user_id, "item_id": item_id})
    if row is None:
        raise problems.item_not_found()
    return embeddings.model(row["model"]) if row["model"] else None


def question(model: VectorModel) -> Question:
    """Return the question that asks for nothing but nearness to a vector of this model."""
    return Question("", "vector", (), model, None)
