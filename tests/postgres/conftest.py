"""Two people who are signed in, on a real database and the template's buckets."""

from collections.abc import Callable

import pytest

from tests.fakes.http_api import Caller


@pytest.fixture
def environment(function_env: Callable[..., dict[str, str]]) -> dict[str, str]:
    return function_env("Api", EMBEDDER="offline")


@pytest.fixture
def alice(environment: dict[str, str]) -> Caller:
    return Caller("alice", environment["USER_POOL_CLIENT_ID"])


@pytest.fixture
def bob(environment: dict[str, str]) -> Caller:
    return Caller("bob", environment["USER_POOL_CLIENT_ID"])
