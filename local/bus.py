"""EventBridge delivers as AWS does: the whole event, untouched, in AWS's shape, and nothing of it lost.

moto builds what it delivers by replacing `<detail>`, `<source>`, ... in a text, so that an event which
holds such a word itself arrives changed, leaves `account` out, hears rules that are disabled, takes a
schedule for a rule that every event matches, and keeps silent about errors.
"""

import json
import uuid
from datetime import UTC, datetime
from typing import Any

from local.patches import Patches


def envelope(
    detail_type: str,
    source: str,
    detail: dict[str, Any],
    *,
    account: str,
    region: str,
    resources: list[str],
    time: datetime,
    event_id: str | None = None,
) -> dict[str, Any]:
    """Return an event in the shape and order of EventBridge.

    https://docs.aws.amazon.com/eventbridge/latest/ref/overiew-event-structure.html
    """
    return {
        "version": "0",
        "id": event_id or str(uuid.uuid4()),
        "detail-type": detail_type,
        "source": source,
        "account": account,
        "time": f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "region": region,
        "resources": resources,
        "detail": detail,
    }


def deliver(account: str, region: str, bus: str, event: dict[str, Any]) -> int:
    """Send an event to the queues of every rule that matches; returns how many took it."""
    from moto.events.models import events_backends

    rules = list(events_backends[account][region].event_buses[bus].rules.values())
    return sum(_deliver_by(rule, event) for rule in rules)


def _deliver_by(rule: Any, event: dict[str, Any]) -> int:
    from moto.sqs.models import sqs_backends

    if not _hears(rule) or not rule.event_pattern.matches_event(event):
        return 0
    # A lone surrogate is no character, and nobody could read the message that holds it.
    text = json.dumps(event, ensure_ascii=False).encode("utf-8", "replace").decode()
    taken = 0
    for target in rule.targets:
        _, _, service, region, account, resource = target["Arn"].split(":", 5)
        if service == "sqs":
            sqs_backends[account][region].send_message(resource, text)
            taken += 1
    return taken


def _hears(rule: Any) -> bool:
    """Say whether a rule listens to events at all: it is enabled, and no mere schedule."""
    return rule.state == "ENABLED" and bool(rule.event_pattern.get_pattern())


def install(patches: Patches) -> None:
    """Have moto's buses deliver this way. Targets other than queues stay moto's."""
    from moto.events.models import Rule

    def send_to_targets(rule: Any, event: dict[str, Any], transform_input: bool = True) -> None:
        if all(target["Arn"].split(":")[2] == "sqs" and len(target) == 2 for target in rule.targets):
            _deliver_by(rule, _exact(event))
        elif _hears(rule):
            original(rule, event, transform_input)

    original = patches.replace(Rule, "send_to_targets", send_to_targets)


def _exact(event: dict[str, Any]) -> dict[str, Any]:
    """moto's event as AWS would write it: `time` is a number or a text there, and ingestion is moto's."""
    time = event["time"]
    if not isinstance(time, str):
        time = datetime.fromtimestamp(float(time), UTC)
    else:
        time = datetime.fromisoformat(time)
    return envelope(
        event["detail-type"],
        event["source"],
        event["detail"],
        account=event["account"],
        region=event["region"],
        resources=event["resources"],
        time=time,
        event_id=event["id"],
    )
