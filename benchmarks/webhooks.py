"""How long Stripe waits for an answer: `python -m benchmarks.webhooks [--quick] [--json]`.

Signed deliveries through the gateway of a local stack, one after the other, as Stripe sends them: the first
one starts the function, half of the others are duplicates. What is measured is all that Stripe waits for but
the internet: the signature, the row, and the bus having taken the event.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import urllib3

from benchmarks.local_stack import running

ROOT = Path(__file__).resolve().parent.parent
BODY = ROOT / "docs" / "examples" / "stripe" / "customer.subscription.created.json"
DELIVERIES, QUICK_DELIVERIES = 400, 60
MOST_MS = 1000
"""An answer is to come well within a second."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print it; the exit code is 1 where one of twenty answers takes a second."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.webhooks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="some deliveries only")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    given = parser.parse_args(arguments)
    found = measure(QUICK_DELIVERIES if given.quick else DELIVERIES)
    if given.json:
        sys.stdout.write(json.dumps(found, indent=1) + "\n")
    else:
        for name, value in found.items():
            sys.stdout.write(f"{name:24} {value:8.1f}\n")
    return int(found["new_p95_ms"] > MOST_MS)


def measure(deliveries: int) -> dict[str, float]:
    """Return milliseconds to the answer: of the first one, of new ones and of duplicates."""
    took: dict[str, list[float]] = {"new": [], "duplicate": []}
    with running() as stack:
        http = urllib3.PoolManager()
        secret = stack.about["stripe_webhook_secret"]
        recorded: dict[str, Any] = json.loads(BODY.read_text())
        first = deliver(http, stack.about["api_url"], secret, recorded)
        for number in range(deliveries // 2):
            event = {**recorded, "id": f"evt_{number}"}
            for kind in took:
                took[kind].append(deliver(http, stack.about["api_url"], secret, event))
    found = {"deliveries": float(deliveries), "first_ms": first}
    for kind, milliseconds in took.items():
        found[f"{kind}_p50_ms"] = statistics.median(milliseconds)
        found[f"{kind}_p95_ms"] = statistics.quantiles(milliseconds, n=20)[-1]
    return found


def deliver(http: urllib3.PoolManager, api_url: str, secret: str, event: dict[str, Any]) -> float:
    """Deliver an event, and return how many milliseconds its answer took."""
    from stripe import WebhookSignature

    body = json.dumps(event, indent=2)
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        "Stripe-Signature": WebhookSignature.generate_signature_header(body, secret),
    }
    began = time.perf_counter()
    answer = http.request("POST", f"{api_url}/webhooks/stripe", body=body.encode(), headers=headers)
    took = (time.perf_counter() - began) * 1000
    if answer.status != 200:
        raise SystemExit(f"a delivery was answered with {answer.status}: {answer.data.decode()}")
    return took


if __name__ == "__main__":
    sys.exit(main())
