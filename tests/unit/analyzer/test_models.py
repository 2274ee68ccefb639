"""Sizes that models see, and what calls cost."""

import json
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from functions.analyzer import models
from functions.analyzer.models import Model, Price

HIGH = Model(2576, 4784)
STANDARD = Model(1568, 1568)
TODAY = date(2026, 11, 20)


@pytest.mark.parametrize(
    ("model", "size", "seen"),
    [
        # The table of https://platform.claude.com/docs/en/build-with-claude/vision#evaluate-image-size
        (STANDARD, (200, 200), (200, 200)),
        (STANDARD, (1092, 1092), (1092, 1092)),
        (STANDARD, (1920, 1080), (1456, 819)),
        (STANDARD, (2000, 1500), (1269, 952)),
        (STANDARD, (1075, 1520), (924, 1307)),
        (HIGH, (1920, 1080), (1920, 1080)),
        (HIGH, (2000, 1500), (2000, 1500)),
        (HIGH, (3840, 2160), (2576, 1449)),
    ],
)
def test_a_picture_is_scaled_to_what_the_model_sees(
    model: Model, size: tuple[int, int], seen: tuple[int, int]
) -> None:
    width, height = model.fit(*size)
    assert abs(width - seen[0]) <= 1
    assert abs(height - seen[1]) <= 1


@pytest.mark.parametrize("size", [(1, 1), (1, 2048), (2048, 1), (2048, 3), (2048, 2048)])
def test_odd_shapes_keep_a_pixel_and_stay_within_the_limits(size: tuple[int, int]) -> None:
    for model in (HIGH, STANDARD):
        width, height = model.fit(*size)
        assert 1 <= width <= min(size[0], model.long_edge)
        assert 1 <= height <= min(size[1], model.long_edge)
        assert -(-width // 28) * -(-height // 28) <= model.visual_tokens


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("claude-haiku-5-5", "claude-haiku-5-5"),
        ("claude-haiku-4-5-20251001", "claude-haiku-4-5"),
        ("us.anthropic.claude-haiku-4-5-20251001-v1:0", "claude-haiku-4-5"),
        ("global.anthropic.claude-opus-4-6-v1", "claude-opus-4-6"),
        ("anthropic.claude-haiku-5-5", "claude-haiku-5-5"),
        (
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/eu.anthropic.claude-haiku-4-5-20251001-v1:0",
            "claude-haiku-4-5",
        ),
    ],
)
def test_a_model_is_known_under_all_its_names(name: str, family: str) -> None:
    assert models.family(name) == family
    assert models.known(name).prices


def test_a_call_costs_its_tokens() -> None:
    assert models.cost("anthropic", "claude-haiku-5-5", 5210, 312, TODAY) == Decimal("0.000677")
    assert models.cost("anthropic", "claude-haiku-4-5", 1_000_000, 1_000_000, TODAY) == Decimal(6)


def test_bedrock_costs_a_tenth_more_unless_it_may_run_anywhere() -> None:
    here = models.cost("bedrock", "us.anthropic.claude-haiku-4-5-20251001-v1:0", 1_000_000, 0, TODAY)
    anywhere = models.cost("bedrock", "global.anthropic.claude-haiku-4-5-20251001-v1:0", 1_000_000, 0, TODAY)
    assert (here, anywhere) == (Decimal("1.1"), Decimal(1))


def test_the_price_of_an_unknown_model_is_unknown() -> None:
    assert models.cost("anthropic", "claude-next", 1, 1, TODAY) is None


def test_the_price_is_that_of_the_day(monkeypatch: pytest.MonkeyPatch) -> None:
    prices = (
        Price(date(2026, 1, 1), Decimal(2), Decimal(10)),
        Price(date(2026, 12, 1), Decimal(1), Decimal(5)),
    )
    monkeypatch.setattr(models, "known", lambda name: Model(prices=prices))
    assert models.cost("anthropic", "m", 1_000_000, 0, date(2025, 12, 31)) is None
    assert models.cost("anthropic", "m", 1_000_000, 0, date(2026, 11, 30)) == Decimal(2)
    assert models.cost("anthropic", "m", 1_000_000, 0, date(2026, 12, 1)) == Decimal(1)


def test_the_facts_name_their_sources_and_are_in_order() -> None:
    facts = json.loads(Path(models.__file__).with_name("models.json").read_text())
    assert date.fromisoformat(facts["read"]) <= TODAY
    assert all(source.startswith("https://") for source in facts["sources"].values())
    assert facts["models"]
    for name in facts["models"]:
        days = [price.since or date.min for price in models.known(name).prices]
        assert days
        assert days == sorted(days)


def test_the_templates_models_are_known() -> None:
    from local import template

    parameters = template.load(Path(models.__file__).parents[2] / "template.yaml").parameters
    for name in ("AnthropicModel", "BedrockModel"):
        assert models.known(parameters[name]).prices
