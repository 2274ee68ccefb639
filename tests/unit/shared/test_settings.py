"""The environment as a validated model."""

import pytest
from pydantic import Field

from shared.settings import Settings, SettingsError


def test_every_missing_variable_is_named_and_no_value_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    class Env(Settings):
        bucket: str = Field(alias="TEST_BUCKET")
        limit: int = Field(alias="TEST_LIMIT")

    monkeypatch.delenv("TEST_BUCKET", raising=False)
    monkeypatch.setenv("TEST_LIMIT", "hush-hush")
    with pytest.raises(SettingsError) as caught:
        Env.load()
    assert "TEST_BUCKET" in str(caught.value)
    assert "TEST_LIMIT" in str(caught.value)
    assert "hush-hush" not in str(caught.value)


def test_the_environment_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Env(Settings):
        bucket: str = Field(alias="TEST_BUCKET")

    monkeypatch.setenv("TEST_BUCKET", "first")
    assert Env.load().bucket == "first"
    monkeypatch.setenv("TEST_BUCKET", "second")
    assert Env.load().bucket == "first"
