"""What Stripe says, through the whole system: gateway, function, bus, and an operator's commands."""

import json

import psycopg
import pytest
import urllib3

from cli.app import main
from tests.fakes.stripe_webhooks import BODIES, body, header
from tests.local.running import Running, wait_until

pytestmark = pytest.mark.stack


def test_a_signed_delivery_needs_no_token_and_ends_as_a_published_event(
    system: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = system.info["stripe_webhook_secret"]
    assert secret.startswith("whsec_local")
    event_id = "evt_1SVthroughTheGateway"
    signed = body("customer.subscription.deleted", id=event_id, more="Grüße")

    def post(signature: str, kind: str) -> urllib3.BaseHTTPResponse:
        headers = {"Stripe-Signature": signature, "Content-Type": kind}
        return system.request("POST", "/webhooks/stripe", body=signed.encode(), headers=headers)

    refused = post(header(signed, "whsec_somebody_elses"), "application/json; charset=utf-8")
    assert (refused.status, refused.json()) == (400, {"received": False})
    # As text, and as what the gateway hands on in base64.
    for kind in ("application/json; charset=utf-8", "application/octet-stream"):
        answer = post(header(signed, secret), kind)
        assert (answer.status, answer.json()) == (200, {"received": True})
    assert system.request("GET", "/webhooks/stripe").status == 401, "it takes nothing but deliveries"

    with psycopg.connect(system.info["database_url"], autocommit=True) as database:

        def handled() -> tuple[str, bool] | None:
            return database.execute(
                "SELECT body, published_at IS NOT NULL FROM webhook_events WHERE event_id = %s", (event_id,)
            ).fetchone()

        assert wait_until(handled) == (signed, True)

    def ask(*arguments: str) -> dict[str, object]:
        capsys.readouterr()
        assert main(["webhooks", *arguments, "--json", "--data", str(system.data)]) == 0
        told: dict[str, object] = json.loads(capsys.readouterr().out)
        return told

    file = str(BODIES / "checkout.session.completed.json")
    assert ask("send", "stripe", file)["event_id"] == "evt_1SVexampleCheckout"
    (listed,) = ask("list", "--type", "checkout.session.completed")["events"]  # type: ignore[misc]
    assert listed["event_id"] == "evt_1SVexampleCheckout"
    assert ask("replay", event_id)["replayed"] == 1
    (shown,) = ask("show", event_id, "--body")["events"]  # type: ignore[misc]
    assert shown["body"] == signed
