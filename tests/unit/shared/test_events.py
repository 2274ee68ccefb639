"""The event models, as listeners rely on them."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from pydantic import ValidationError

from shared.events import EmbeddingComplete, ItemRejected, detail

ITEM = UUID("0193f000-0000-7000-8000-000000000001")


def test_detail_is_metadata_and_data() -> None:
    event = EmbeddingComplete(
        user_id="u", item_id=ITEM, object_version="v1", analysis_version=1, model="m", dimensions=1024
    )
    assert detail(event, "c-1", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)) == {
        "metadata": {"version": "1", "correlation_id": "c-1", "occurred_at": "2026-01-02T03:04:05Z"},
        "data": {
            "user_id": "u",
            "item_id": str(ITEM),
            "object_version": "v1",
            "analysis_version": 1,
            "model": "m",
            "dimensions": 1024,
        },
    }


@pytest.mark.parametrize("user_id", ["", "a/b", "nul\x00", "x" * 129])
def test_a_user_id_that_could_leave_its_folder_is_refused(user_id: str) -> None:
    with pytest.raises(ValidationError):
        ItemRejected(user_id=user_id, item_id=ITEM, stage="analyzer", code="refused", message="no")


def test_a_code_outside_the_closed_list_is_refused() -> None:
    with pytest.raises(ValidationError):
        ItemRejected.model_validate(
            {"user_id": "u", "item_id": ITEM, "stage": "analyzer", "code": "because", "message": "no"}
        )


def test_a_time_without_zone_is_refused() -> None:
    event = EmbeddingComplete(user_id="u", item_id=ITEM, analysis_version=1, model="m", dimensions=1)
    with pytest.raises(ValidationError):
        detail(event, "c-1", datetime(2026, 1, 2))  # noqa: DTZ001 - the point of the test
