"""How deep the machine of random people goes: `--hypothesis-profile=deep` for minutes instead of seconds."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.conftest import Aws
from tests.fakes import stripe_server

settings.register_profile("deep", max_examples=100, stateful_step_count=50, print_blob=True)


@pytest.fixture
def stripe_url(aws: Aws) -> Iterator[str]:
    """Where the API finds a Stripe that takes its key."""
    with stripe_server.running() as server:
        aws.put_parameter("/magpie/dev/stripe-secret-key", stripe_server.KEY)
        yield server.base_url
