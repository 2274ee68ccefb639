"""SES on loopback, and boto3 as a function of Lambda has it."""

from collections.abc import Iterator

import pytest

from shared import clients
from tests.fakes import ses_server
from tests.fakes.ses_server import SesServer


@pytest.fixture
def ses(monkeypatch: pytest.MonkeyPatch) -> Iterator[SesServer]:
    with ses_server.running() as server:
        for name, value in (
            ("AWS_ENDPOINT_URL_SESV2", server.url),
            ("AWS_ACCESS_KEY_ID", "testing"),
            ("AWS_SECRET_ACCESS_KEY", "testing"),
        ):
            monkeypatch.setenv(name, value)
        clients.ses.cache_clear()
        yield server
        clients.ses.cache_clear()
