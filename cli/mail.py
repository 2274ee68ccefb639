"""`magpie mail`: what was sent on this machine, what one is written about, and who is written to no more."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.errors import CommandError, UsageError
from cli.groups import group
from cli.options import ApiUrl, Data, Json
from cli.places import StackName

if TYPE_CHECKING:
    from cli.output import Output

Mail = dict[str, Any]

MailId = Annotated[str, typer.Argument(metavar="ID", help="A mail's id, or the first characters of one.")]
Address = Annotated[
    str, typer.Argument(metavar="ADDRESS", help="An address, or the key that the list shows.")
]

STYLES = {"Delivery": "green", "Bounce": "red", "Complaint": "red"}
OUTCOMES = {"Delivery": "delivered", "Bounce": "bounced", "Complaint": "complained of"}

app = group("Mail: what was sent on this machine, and what is written to whom.")
suppressed = group("Addresses that nothing is sent to: they bounced, or somebody complained.")
app.add_typer(suppressed, name="suppressed")


@app.command("list")
def list_mails(
    limit: Annotated[int, typer.Option(min=1, help="How many, the newest first.")] = 20,
    json: Json = False,
    data: Data = None,
) -> int:
    """List the mails that the Magpie on this machine has sent. They went no further than its data folder."""
    from cli.output import Output, age, short_ids, styled, table

    out = Output(json)
    mails = _mails(data)
    shown = mails[:limit]
    if json:
        out.document({"mails": shown, "more": len(mails) > limit})
        return 0
    if not shown:
        out.note("No mail yet: ./magpie mail notify --scans has you written to when a run ends.")
        return 0
    now = datetime.now(UTC)
    # Of all of them: what is shown has to be found again.
    short = dict(zip(_ids(mails), short_ids(_ids(mails)), strict=True))
    listing = table(
        "ID", "Sent", "To", "Subject", "Region", "Outcome", right=("Sent",), whole=("ID", "Region")
    )
    for mail in shown:
        listing.add_row(
            styled(short[mail["message_id"]], "dim"),
            styled(age(mail["sent_at"], now)),
            styled(", ".join(mail["to"])),
            styled(mail["subject"], "bold"),
            styled(mail["region"], "dim"),
            _outcome(mail),
        )
    out.show(listing)
    if len(mails) > limit:
        out.note(f"{len(mails) - limit:,} more: --limit N shows them.")
    return 0


@app.command()
def show(
    mail_id: MailId,
    html: Annotated[
        Path | None,
        typer.Option(
            "--html", metavar="FILE", help="Write its HTML there, to open in a browser.", show_default=False
        ),
    ] = None,
    text: Annotated[bool, typer.Option("--text", help="Print its text, and nothing else.")] = False,
    json: Json = False,
    data: Data = None,
) -> int:
    """Show one mail that the Magpie on this machine has sent."""
    from cli.output import Output

    if [html is not None, text, json].count(True) > 1:
        raise UsageError("Give one of --html, --text and --json.")
    out = Output(json)
    mail = _find(mail_id, data)
    if json:
        out.document(mail)
    elif html is not None:
        html.write_text(mail["html"] or "", encoding="utf-8")
        out.line(f"Written to {html}", "green")
    elif text:
        _show_text(out, mail)
    else:
        _show_mail(out, mail)
    return 0


@app.command()
def notify(
    scans: Annotated[
        bool | None,
        typer.Option("--scans/--no-scans", help="When a run has ended.", show_default=False),
    ] = None,
    quota: Annotated[
        bool | None,
        typer.Option("--quota/--no-quota", help="When something does not fit any more.", show_default=False),
    ] = None,
    json: Json = False,
    data: Data = None,
    api_url: ApiUrl = None,
) -> int:
    """Say what you want to be written to about; without an option, show it."""
    from cli.connect import connect
    from cli.output import Output, facts, styled

    out = Output(json)
    wish = {name: value for name, value in (("scan_complete", scans), ("quota", quota)) if value is not None}
    with connect(data, api_url) as api:
        me = api.change_me({"notifications": wish}) if wish else api.me()
    if json:
        out.document({name: me[name] for name in ("email", "notifications", "sends_mail")})
        return 0

    def said(name: str) -> Any:
        return styled("yes", "green") if me["notifications"][name] else styled("no", "dim")

    out.show(
        facts(
            [
                ("when a run has ended", said("scan_complete")),
                ("when something does not fit any more", said("quota")),
                ("to", me["email"] or "nobody: this account has no address"),
            ]
        )
    )
    if not me["sends_mail"]:
        out.note("This Magpie sends no mail: whoever runs it sets the parameter MailFrom.", "yellow")
    return 0


@suppressed.command("list")
def list_suppressed(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, the newest first.")] = 100,
    json: Json = False,
    data: Data = None,
    api_url: ApiUrl = None,
    stack_name: StackName = None,
) -> int:
    """List the addresses that nothing is sent to. Kept are only keys, which do not say what they are of."""
    from cli.output import Output, age, styled, table

    out = Output(json)
    told = _ask({"action": "suppressed", "limit": limit}, data, api_url, stack_name)
    if json:
        out.document({"addresses": told["addresses"], "more": told["next"] is not None})
        return 0
    if not told["addresses"]:
        out.note("No address is suppressed.")
        return 0
    now = datetime.now(UTC)
    listing = table("Key of the address", "Because of", "Since", right=("Since",), whole=("Because of",))
    for each in told["addresses"]:
        listing.add_row(
            styled(each["address_key"]),
            styled(each["reason"], "red"),
            styled(age(each["suppressed_at"], now)),
        )
    out.show(listing)
    if told["next"] is not None:
        out.note("There are more: --limit N shows them.")
    return 0


@suppressed.command()
def remove(
    address: Address,
    json: Json = False,
    data: Data = None,
    api_url: ApiUrl = None,
    stack_name: StackName = None,
) -> int:
    """Take an address off the list: it is written to again. SES has a list of its own, on AWS."""
    from cli.output import Output

    out = Output(json)
    told = _ask({"action": "lift", "address": address}, data, api_url, stack_name)
    if not told["lifted"]:
        raise CommandError("not_found", f"{address} is not on the list.")
    if json:
        out.document(told)
    else:
        out.line(f"{address} is written to again.", "green")
    return 0


def _ask(
    payload: dict[str, Any], data: Path | None, api_url: str | None, stack_name: str | None
) -> dict[str, Any]:
    from cli import places

    told: dict[str, Any] = places.find(data, api_url, stack_name).invoke("EmailEvents", payload)
    return told


def _endpoint(data: Path | None) -> str:
    """Return where the stack on this machine tells of its mail.

    Raises:
        CommandError: `not_running`; `local_only`, a deployment is meant.
    """
    from cli.target import choose

    target = choose(data, None)
    if target.stack is None:
        raise CommandError(
            "local_only",
            f"{target.api_url} sends its mail and keeps none: the table mails says what went out, and "
            "email_events what became of it. This command shows the mail of the Magpie on this machine.",
        )
    return f"{target.stack['aws_url']}/_local/mail"


def _mails(data: Path | None) -> list[Mail]:
    from cli.endpoint import ask

    mails: list[Mail] = ask("GET", _endpoint(data))["mails"]
    return mails


def _find(beginning: str, data: Path | None) -> Mail:
    from urllib.parse import quote

    from cli.endpoint import ask

    wanted = beginning.strip().lower()
    found = [each for each in _ids(_mails(data)) if wanted and each.startswith(wanted)]
    if not found:
        raise CommandError(
            "not_found", f"No mail has an id that begins with {beginning}: ./magpie mail list."
        )
    if len(found) > 1:
        raise CommandError("ambiguous", f"{len(found)} mails have an id that begins with {beginning}.")
    return ask("GET", f"{_endpoint(data)}/{quote(found[0], safe='')}")


def _ids(mails: list[Mail]) -> list[str]:
    return [mail["message_id"] for mail in mails]


def _outcome(mail: Mail) -> Any:
    from rich.text import Text

    said = [each["event"] for each in mail["outcomes"]]
    return Text(", ").join(
        [Text(OUTCOMES.get(event, event.lower()), style=STYLES.get(event, "")) for event in said]
    )


def _show_mail(out: "Output", mail: Mail) -> None:
    from rich.text import Text

    from cli.output import facts, styled

    tags = ", ".join(f"{name} {value}" for name, value in mail["tags"].items())
    out.show(
        facts(
            [
                ("subject", styled(mail["subject"], "bold")),
                ("to", ", ".join(mail["to"])),
                ("from", mail["from"]),
                ("sent", f"{mail['sent_at'][:19].replace('T', ' ')} UTC, from {mail['region']}"),
                ("outcome", _outcome(mail)),
                ("tags", tags),
                ("message id", mail["message_id"]),
            ]
        ),
        Text(),
    )
    _show_text(out, mail)


def _show_text(out: "Output", mail: Mail) -> None:
    for line in (mail["text"] or "").rstrip().split("\n"):
        out.line(line)
