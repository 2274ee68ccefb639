"""What the analyzer takes for a message, and whom it asks."""

from typing import Any

import pytest

from functions.analyzer import handler
from functions.analyzer.handler import Env, ToAnalyze, asked, trace_root
from shared import parameters
from shared.errors import InvalidEventError
from shared.settings import SettingsError
from tests.conftest import LambdaContext

ITEM = "5f0c9a52-6d0e-4b0e-9f43-7a6f1f6b2c3d"
VARIABLES = {
    "MEDIA_BUCKET": "media",
    "ANALYZER": "auto",
    "ANTHROPIC_MODEL": "claude-haiku-5-5",
    "ANTHROPIC_KEY_PARAMETER": "/magpie/test/anthropic-api-key",
    "BEDROCK_MODEL": "us.anthropic.claude-haiku-4-5-20251001-v1:0",
}


@pytest.mark.parametrize(
    "payload",
    [
        {"providers": []},
        {"providers": ["openai"]},
        {"run_id": ""},
        {"run_id": "nul \x00"},
        {"run_id": "x" * 129},
        {"user_id": "ana/../ben"},
        {"user_id": ""},
        {"item_id": "../../etc/passwd"},
        {"model": ""},
    ],
    ids=str,
)
def test_a_payload_that_makes_no_sense_is_refused(
    payload: dict[str, Any], lambda_context: LambdaContext
) -> None:
    with pytest.raises(InvalidEventError):
        handler.lambda_handler({"user_id": "ana", "item_id": ITEM, **payload}, lambda_context)


def names(analyzer: str, key: str | None, monkeypatch: pytest.MonkeyPatch, **payload: Any) -> list[str]:
    monkeypatch.setattr(parameters, "find", lambda name: key)
    body = ToAnalyze.model_validate({"user_id": "ana", "item_id": ITEM, **payload})
    return [provider.name for provider in asked(body, Env.model_validate(VARIABLES | {"ANALYZER": analyzer}))]


@pytest.mark.parametrize(
    ("analyzer", "key", "expected"),
    [
        ("auto", None, ["offline"]),
        ("auto", "sk-1", ["anthropic"]),
        ("offline", "sk-1", ["offline"]),
        ("anthropic", None, ["anthropic"]),
        ("bedrock,anthropic,offline", None, ["bedrock", "anthropic", "offline"]),
        ("anthropic,bedrock,anthropic", "sk-1", ["anthropic", "bedrock"]),
    ],
)
def test_who_is_asked_follows_from_the_setting(
    analyzer: str, key: str | None, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert names(analyzer, key, monkeypatch) == expected


def test_a_payload_may_say_who_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert names("auto", None, monkeypatch, providers=["bedrock", "offline"]) == ["bedrock", "offline"]


@pytest.mark.parametrize("analyzer", ["", "claude", "auto,offline", "anthropic,", "anthropic, offline"])
def test_a_setting_that_makes_no_sense_is_named(analyzer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (VARIABLES | {"ANALYZER": analyzer}).items():
        monkeypatch.setenv(name, value)
    Env.load.cache_clear()  # type: ignore[attr-defined]
    with pytest.raises(SettingsError, match="ANALYZER"):
        Env.load()
    Env.load.cache_clear()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("header", "root"),
    [
        ("Root=1-5759e988-bd862e3f;Parent=53995c3f42cd8ad8;Sampled=1", "1-5759e988-bd862e3f"),
        ("Sampled=0", None),
        ("", None),
    ],
)
def test_the_trace_is_known_by_its_root(
    header: str, root: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_X_AMZN_TRACE_ID", header)
    assert trace_root() == root
