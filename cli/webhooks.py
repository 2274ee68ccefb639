"""`magpie webhooks`: what providers told, what became of it, and the way to have it handled once more."""

from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.errors import CommandError, UsageError
from cli.groups import group
from cli.options import ApiUrl, Data, Json
from cli.places import StackName

if TYPE_CHECKING:
    from rich.text import Text

    from cli.output import Output

Event = dict[str, Any]


class Provider(StrEnum):
    """Who tells."""

    STRIPE = "stripe"
    SNS = "sns"


class Outcome(StrEnum):
    """What can have become of an event."""

    APPLIED = "applied"
    IGNORED = "ignored"
    WAITING = "waiting"
    FAILED = "failed"
    NONE = "none"


FUNCTION = "Webhooks"
"""The function that knows, by its name in the template."""
WIDE = 120
"""Columns from which on there is room for reasons in a list."""
STYLES = {"applied": "green", "waiting": "yellow", "failed": "red"}

OfProvider = Annotated[
    Provider | None, typer.Option("--provider", help="Only of this provider.", show_default=False)
]
OfType = Annotated[
    str | None,
    typer.Option("--type", metavar="TYPE", help="Only of this type: invoice.paid.", show_default=False),
]
WithOutcome = Annotated[
    Outcome | None,
    typer.Option(
        "--outcome",
        help="Only those of which this became; none: nobody has handled them yet.",
        show_default=False,
    ),
]
Since = Annotated[
    str | None,
    typer.Option(
        "--since", metavar="WHEN", help="Only received since: 2h, 7d, 2026-01-31T14:00.", show_default=False
    ),
]

app = group("What providers told by webhooks, and what became of it. Needs an operator's credentials.")


@app.command("list")
def list_events(
    provider: OfProvider = None,
    kind: OfType = None,
    outcome: WithOutcome = None,
    since: Since = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many, the newest first.")] = 20,
    json: Json = False,
    data: Data = None,
    api_url: ApiUrl = None,
    stack_name: StackName = None,
) -> int:
    """List what came, the newest first."""
    from cli import places
    from cli.output import Output

    out = Output(json)
    asked = {"action": "list", "limit": limit, **_chosen(provider, kind, outcome, since)}
    answer = places.find(data, api_url, stack_name).invoke(FUNCTION, asked)
    if json:
        out.document({"events": answer["events"], "more": answer["next"] is not None})
        return 0
    if not answer["events"]:
        out.note("Nothing came yet." if len(asked) == 2 else "Nothing that came fits this.")
        return 0
    _show_list(out, answer["events"])
    if answer["next"] is not None:
        out.note("There are more: --limit N shows them, --since and the others narrow it down.")
    return 0


@app.command()
def show(
    event_id: Annotated[str, typer.Argument(metavar="EVENT_ID", help="The provider's id of the event.")],
    provider: OfProvider = None,
    body: Annotated[
        bool, typer.Option("--body", help="Print the body as it came, with names and addresses.")
    ] = False,
    json: Json = False,
    data: Data = None,
    api_url: ApiUrl = None,
    stack_name: StackName = None,
) -> int:
    """Show one event: when it came, what became of it and why, and its body with persons masked."""
    from cli import places
    from cli.output import Output

    out = Output(json)
    asked = {"action": "show", "event_id": event_id, "whole": body}
    if provider:
        asked["provider"] = provider.value
    events = places.find(data, api_url, stack_name).invoke(FUNCTION, asked)["events"]
    if not events:
        raise CommandError("not_found", f"Nothing came with the id {event_id}: ./magpie webhooks list.")
    if json:
        out.document({"events": events})
        return 0
    for event in events:
        _show_one(out, event, body=body)
    return 0


@app.command()
def replay(
    event_ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="[EVENT_ID]", help="Which ones.", show_default=False),
    ] = None,
    provider: OfProvider = None,
    kind: OfType = None,
    outcome: WithOutcome = None,
    since: Since = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many at most, the oldest first.")] = 100,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which ones it would be.")] = False,
    json: Json = False,
    data: Data = None,
    api_url: ApiUrl = None,
    stack_name: StackName = None,
) -> int:
    """Have events handled once more: those that are named, or all that fit.

    What is done already is found done.
    """
    from cli import places
    from cli.output import Output, listed

    out = Output(json)
    chosen = _chosen(provider, kind, outcome, since)
    if not event_ids and not chosen:
        raise UsageError("Say which: name events, or use --provider, --type, --outcome or --since.")
    asked = {"action": "replay", "limit": max(limit, len(event_ids or ())), "dry_run": dry_run, **chosen}
    if event_ids:
        asked["event_ids"] = list(dict.fromkeys(event_ids))
    answer = places.find(data, api_url, stack_name).invoke(FUNCTION, asked)
    found = answer["events"]
    missing = sorted(set(event_ids or ()) - {event["event_id"] for event in found})
    if json:
        out.document(
            {"events": found, "replayed": answer["replayed"], "more": answer["more"], "missing": missing}
        )
        return 1 if missing else 0
    if found:
        _show_list(out, found)
    told = "would be handled once more" if dry_run else "sent round again: ./magpie webhooks list tells"
    out.line(f"{listed(len(found), 'event')} {told}.", "" if dry_run else "green" if found else "dim")
    if answer["more"]:
        out.note(
            "There are more that fit: --since with the last one's time goes on, --limit takes up to 1,000."
        )
    if missing:
        out.note(f"Nothing came with the id {', '.join(missing)}, or it does not fit the rest.", "red")
    return 1 if missing else 0


@app.command()
def send(
    provider: Annotated[Provider, typer.Argument(help="Whose event it is: stripe.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The event as JSON: docs/examples/stripe.")],
    new: Annotated[
        bool,
        typer.Option("--new", help="Under a new id and as of now; otherwise the second time is a duplicate."),
    ] = False,
    json: Json = False,
    data: Data = None,
) -> int:
    """Send an event to the Magpie on this machine, signed as its provider would.

    The word USER_ID in it becomes the id of the first user here.
    """
    from cli.output import Output
    from cli.target import data_folder, not_running, running_stack

    out = Output(json)
    stack = running_stack(data_folder(data))
    if stack is None:
        raise not_running()
    if provider is not Provider.STRIPE:
        raise UsageError("Only events of stripe can be signed here.")
    text, event_id = _event(file, str(stack["user"]["sub"]), new=new)
    status, answer = _deliver(stack, text)
    if status != 200:
        raise CommandError("refused", f"It was answered with {status}: {answer.get('detail', 'refused')}")
    if json:
        out.document({"event_id": event_id, "status": status})
    else:
        out.line(f"{event_id} was taken: ./magpie webhooks show {event_id} tells what became of it.", "green")
    return 0


def _chosen(
    provider: Provider | None, kind: str | None, outcome: Outcome | None, since: str | None
) -> dict[str, Any]:
    from cli.selecting import moment

    when = moment("--since ", since, datetime.now(UTC)).isoformat() if since else None
    said = {"provider": provider and provider.value, "type": kind, "outcome": outcome and outcome.value}
    return {name: value for name, value in {**said, "since": when}.items() if value}


def _show_list(out: "Output", events: list[Event]) -> None:
    from cli.output import age, styled, table

    now = datetime.now(UTC)
    wide = out.console.width >= WIDE
    columns = ["Age", "Event", "Type", "Outcome", *(("Reason",) if wide else ())]
    listing = table(*columns, right=("Age",), whole=("Age", "Event", "Outcome"))
    for event in events:
        more = (styled(event["reason"] or "", "dim"),) if wide else ()
        listing.add_row(
            styled(age(event["received_at"], now), "dim"),
            styled(event["event_id"]),
            styled(event["event_type"]),
            _outcome(event),
            *more,
        )
    out.show(listing)


def _outcome(event: Event) -> "Text":
    from cli.output import styled

    if event["outcome"] is None:
        return styled("unhandled" if event["published_at"] else "unpublished", "yellow")
    return styled(event["outcome"], STYLES.get(event["outcome"], "dim"))


def _show_one(out: "Output", event: Event, *, body: bool) -> None:
    import json

    from cli.output import facts, styled

    out.show(
        facts(
            [
                ("event", event["event_id"]),
                ("provider", event["provider"]),
                ("type", event["event_type"]),
                ("about", event["subject"]),
                ("user", event["user_id"]),
                ("outcome", _outcome(event)),
                ("reason", event["reason"]),
                ("occurred", event["occurred_at"]),
                ("received", event["received_at"]),
                ("published", event["published_at"] or "not yet: the provider sends it again, or replay it"),
                ("handled", event["handled_at"]),
            ]
        )
    )
    text = event["body"] if body else json.dumps(event["body"], indent=2, ensure_ascii=False)
    for line in ("", *str(text).splitlines()):
        out.console.print(styled(line), soft_wrap=True, highlight=False)
    if not body:
        out.note("Names, addresses and texts are masked: --body prints it as it came.")


def _event(file: Path, user_id: str, *, new: bool) -> tuple[str, str]:
    """Return the text to sign, and its event's id.

    Raises:
        UsageError: the file holds no event.
    """
    import json
    import secrets
    import time

    text = file.read_text(encoding="utf-8").replace("USER_ID", user_id)
    try:
        event = json.loads(text)
        if new:
            event |= {"id": f"evt_local{secrets.token_hex(8)}", "created": int(time.time())}
            text = json.dumps(event, indent=2)
        return text, str(event["id"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UsageError(f"{file} holds no event: a JSON object with an id is needed.") from None


def _deliver(stack: dict[str, Any], text: str) -> tuple[int, dict[str, Any]]:
    """Post a signed event to the stack on this machine, and return what it answers."""
    import httpx2
    from stripe import WebhookSignature

    signature = WebhookSignature.generate_signature_header(text, stack["stripe_webhook_secret"])
    try:
        # The stack is on this very machine: no proxy comes between.
        with httpx2.Client(trust_env=False, timeout=30) as http:
            answer = http.post(
                f"{stack['api_url']}/webhooks/stripe",
                content=text.encode(),
                headers={"Content-Type": "application/json; charset=utf-8", "Stripe-Signature": signature},
            )
            told = answer.json()
    except (httpx2.HTTPError, ValueError) as error:
        raise CommandError("failed", f"The stack did not answer ({type(error).__name__}).") from None
    return answer.status_code, told if isinstance(told, dict) else {}
