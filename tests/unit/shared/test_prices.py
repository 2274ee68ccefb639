"""Prices of vectors: data with a day, a source, and the day it was read."""

import json
from datetime import date
from decimal import Decimal

from shared import embeddings
from tests.contract.conftest import ROOT


def test_every_model_that_is_paid_has_a_price_with_its_source() -> None:
    told = json.loads((ROOT / "shared" / "vector_prices.json").read_text())
    assert told["source"].startswith("https://")
    assert date.fromisoformat(told["read"])
    assert embeddings.price(embeddings.VOYAGE.name, date(2026, 11, 20)) == Decimal("0.02")
    assert embeddings.price(embeddings.OFFLINE.name, date(2026, 11, 20)) == 0


def test_a_price_is_that_of_the_day() -> None:
    listed = [{"from": None, "tokens": "0.02"}, {"from": "2027-01-01", "tokens": "0.03"}]
    embeddings._prices()["raised"] = {"usd_per_million": listed}
    try:
        assert embeddings.price("raised", date(2026, 12, 31)) == Decimal("0.02")
        assert embeddings.price("raised", date(2027, 1, 1)) == Decimal("0.03")
    finally:
        del embeddings._prices()["raised"]
