"""What an operator sees of a body: what happened, and no person."""

import json
from typing import Any

import pytest

from functions.webhooks.masking import MASK, masked


def shown(value: Any, name: str = "field") -> Any:
    return masked(json.dumps({name: value}))[name]


@pytest.mark.parametrize(
    "value",
    [
        "evt_1SV",
        "customer.subscription.updated",
        "2026-11-20T10:00:00+00:00",
        "usd",
        "",
        900,
        0.5,
        True,
        None,
    ],
)
def test_ids_codes_numbers_and_times_stay(value: Any) -> None:
    assert shown(value) == value


@pytest.mark.parametrize(
    "value",
    ["ada@example.com", "Ada Lovelace", "Müller", "12 Main St", "https://pay.example/x", "x" * 256, "a\nb"],
)
def test_everything_else_is_masked_wherever_it_stands(value: str) -> None:
    assert shown(value) == MASK
    assert shown([{"deep": [value]}]) == [{"deep": [MASK]}]


@pytest.mark.parametrize("name", ["name", "Name", "email", "phone", "line1", "postal_code", "description"])
def test_what_looks_like_a_code_and_is_a_person_is_masked_by_its_name(name: str) -> None:
    assert shown("Ada", name) == MASK
    assert shown(["Ada"], name) == [MASK]
    assert shown({"id": "Ada"}, name) == {"id": "Ada"}


def test_a_document_within_a_text_is_looked_into() -> None:
    inner = json.dumps({"eventType": "Bounce", "mail": {"destination": ["ada@example.com"]}})
    assert shown(inner) == {"eventType": "Bounce", "mail": {"destination": [MASK]}}
    assert shown("{no document") == MASK


@pytest.mark.parametrize("body", ["", "no JSON", "[" * 100_000])
def test_what_is_no_json_is_not_shown(body: str) -> None:
    assert masked(body) == MASK
