"""SES on this machine: mail is taken, kept where a person can read it, and answered for as SES does.

    DATA/mail/<message id>.json

moto takes a mail's HTML or its text, not both, and forgets it with the process. Here every mail is on disk
before its sender hears of it, with all of it that was given, and leaves the machine never. Addresses of
AWS's mailbox simulator behave as AWS says of them; every other mailbox takes what it gets. What became of a
mail is told on the account's default bus, as a configuration set with EventBridge as its destination has it.

https://docs.aws.amazon.com/ses/latest/dg/send-an-email-from-console.html#send-email-simulator
https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html
"""

import json
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime, parseaddr
from pathlib import Path
from typing import Any

from local import bus
from local.files import write_json

PATH = "/v2/email/outbound-emails"
"""Where SES's SendEmail is asked for."""
PREFIX = "/_local/mail"
"""`GET` lists what was sent, `GET …/id` shows one."""
SIMULATOR = "simulator.amazonses.com"
MAX_RECIPIENTS = 50
MAX_BYTES = 10 * 1024 * 1024


class RefusedError(Exception):
    """What SES would not take.

    Attributes:
        code: as SES calls it.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class MailStore:
    """Every mail of a data folder.

    Args:
        folder: made when it is not there.
        account, region: of the stack, whose default bus hears what became of a mail.
    """

    def __init__(self, folder: Path, account: str, region: str) -> None:
        self.folder = folder
        self._account = account
        self._region = region
        self._lock = threading.Lock()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def send(self, request: Mapping[str, Any], region: str) -> str:
        """Take a mail, and return its message id.

        Args:
            request: of SES's SendEmail.
            region: that was asked to send it.

        Raises:
            RefusedError: SES would not take it.
        """
        mail = _read(request) | {
            "message_id": f"{uuid.uuid4()}-000000",
            "region": region,
            "sent_at": datetime.now(UTC).isoformat(),
        }
        told = [each for to in mail["to"] for each in _became(to)]
        mail["outcomes"] = [{"event": kind, "address": to} for kind, to, _ in told]
        with self._lock:
            write_json(self._path(mail["message_id"]), mail)
        if mail["configuration_set"]:
            for kind, _, what in told:
                bus.deliver(self._account, self._region, "default", self._event(mail, kind, what))
        return str(mail["message_id"])

    def list(self) -> list[dict[str, Any]]:
        """Return what was sent, the newest first, without what is in it."""
        mails = [json.loads(path.read_text(encoding="utf-8")) for path in self.folder.glob("*.json")]
        mails.sort(key=lambda mail: (mail["sent_at"], mail["message_id"]), reverse=True)
        return [
            {name: value for name, value in mail.items() if name not in ("text", "html")} for mail in mails
        ]

    def find(self, message_id: str) -> dict[str, Any] | None:
        """Return one mail with all that is in it, None where there is none."""
        path = self._path(message_id)
        if path.parent != self.folder or not path.is_file():
            return None
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found

    def _path(self, message_id: str) -> Path:
        return self.folder / f"{message_id}.json"

    def _event(self, mail: Mapping[str, Any], kind: str, what: dict[str, Any]) -> dict[str, Any]:
        """Return what SES says of a mail, as EventBridge delivers it."""
        word, detail_type = KINDS[kind]
        sent_at = datetime.fromisoformat(mail["sent_at"])
        source = f"arn:aws:ses:{mail['region']}:{self._account}:identity/{parseaddr(mail['from'])[1]}"
        headers = [
            {"name": "From", "value": mail["from"]},
            {"name": "To", "value": ", ".join(mail["to"])},
            {"name": "Subject", "value": mail["subject"]},
            {"name": "MIME-Version", "value": "1.0"},
            *({"name": name, "value": value} for name, value in mail["headers"].items()),
        ]
        return bus.envelope(
            detail_type,
            "aws.ses",
            {
                "eventType": kind,
                "mail": {
                    "timestamp": _moment(sent_at),
                    "source": mail["from"],
                    "sourceArn": source,
                    "sendingAccountId": self._account,
                    "messageId": mail["message_id"],
                    "destination": mail["to"],
                    "headersTruncated": False,
                    "headers": headers,
                    "commonHeaders": {
                        "from": [mail["from"]],
                        "date": format_datetime(sent_at),
                        "to": mail["to"],
                        "messageId": mail["message_id"],
                        "subject": mail["subject"],
                    },
                    "tags": {
                        "ses:configuration-set": [mail["configuration_set"]],
                        "ses:from-domain": [parseaddr(mail["from"])[1].rpartition("@")[2]],
                        **{name: [value] for name, value in mail["tags"].items()},
                    },
                },
                word: what,
            },
            account=self._account,
            region=mail["region"],
            resources=[source],
            time=datetime.now(UTC),
        )


KINDS = {
    "Delivery": ("delivery", "Email Delivered"),
    "Bounce": ("bounce", "Email Bounced"),
    "Complaint": ("complaint", "Email Complaint Received"),
}
"""An event's type: what its own part is called, and EventBridge's detail-type."""


def _became(address: str) -> Sequence[tuple[str, str, dict[str, Any]]]:
    """Say what becomes of a mail to an address: each event's type, the address, and the event's own part."""
    bare = parseaddr(address)[1]
    mailbox, _, domain = bare.lower().rpartition("@")
    wish = mailbox.partition("+")[0] if domain == SIMULATOR else "success"
    now = _moment(datetime.now(UTC))
    delivery = {
        "timestamp": now,
        "processingTimeMillis": 512,
        "recipients": [bare],
        "smtpResponse": "250 2.6.0 Message received",
        "remoteMtaIp": "127.0.0.1",
        "reportingMTA": "local.amazonses.com",
    }
    match wish:
        case "bounce":
            return [("Bounce", bare, _bounce(bare, now, "Permanent", "General"))]
        case "suppressionlist":
            return [("Bounce", bare, _bounce(bare, now, "Permanent", "Suppressed"))]
        case "ooto":
            return [
                ("Delivery", bare, delivery),
                ("Bounce", bare, _bounce(bare, now, "Transient", "General")),
            ]
        case "complaint":
            complaint = {
                "feedbackId": f"{uuid.uuid4()}-000000",
                "complaintSubType": None,
                "complainedRecipients": [{"emailAddress": bare}],
                "timestamp": now,
                "userAgent": "Amazon SES Mailbox Simulator",
                "complaintFeedbackType": "abuse",
                "arrivalDate": now,
            }
            return [("Delivery", bare, delivery), ("Complaint", bare, complaint)]
        case _:
            return [("Delivery", bare, delivery)]


def _bounce(address: str, now: str, kind: str, more: str) -> dict[str, Any]:
    recipient = {"emailAddress": address}
    if kind == "Permanent":
        diagnosis = "smtp; 550 5.1.1 user unknown"
        recipient |= {"action": "failed", "status": "5.1.1", "diagnosticCode": diagnosis}
    return {
        "feedbackId": f"{uuid.uuid4()}-000000",
        "bounceType": kind,
        "bounceSubType": more,
        "bouncedRecipients": [recipient],
        "timestamp": now,
        "reportingMTA": "dns; local.amazonses.com",
    }


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z"


def _read(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a request says, of the kind of message that is sent here: a simple one.

    Raises:
        RefusedError: it is none, or breaks one of SES's limits.
    """
    if len(json.dumps(request)) > MAX_BYTES:
        raise RefusedError("BadRequestException", "Message length is more than 10485760 bytes long.")
    try:
        simple = request["Content"]["Simple"]
        mail = {
            "from": str(request["FromEmailAddress"]),
            "to": [str(to) for to in request["Destination"]["ToAddresses"]],
            "subject": str(simple["Subject"]["Data"]),
            "text": simple["Body"].get("Text", {}).get("Data"),
            "html": simple["Body"].get("Html", {}).get("Data"),
            "headers": {each["Name"]: each["Value"] for each in simple.get("Headers", [])},
            "tags": {each["Name"]: each["Value"] for each in request.get("EmailTags", [])},
            "configuration_set": request.get("ConfigurationSetName"),
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise RefusedError(
            "BadRequestException", "Only Content.Simple with a sender and To addresses is sent here."
        ) from error
    if not 1 <= len(mail["to"]) <= MAX_RECIPIENTS:
        raise RefusedError("BadRequestException", "Recipient count must be from 1 to 50.")
    for address in (mail["from"], *mail["to"]):
        bare = parseaddr(address)[1]
        if not bare.isascii() or bare.count("@") != 1 or not all(bare.split("@")):
            raise RefusedError("BadRequestException", "Illegal address")
    lines = (mail["from"], mail["subject"], *mail["to"], *mail["headers"], *mail["headers"].values())
    if any(character in line for line in lines for character in "\r\n\x00"):
        raise RefusedError("BadRequestException", "Local part or header contains control or whitespace")
    return mail


def respond(
    store: MailStore, method: str, path: str, body: Callable[[], bytes], region: str
) -> tuple[int, Any]:
    """Answer a request to SES's SendEmail, or for what was sent: a status and a JSON value."""
    if path == PATH:
        try:
            return 200, {"MessageId": store.send(json.loads(body()), region)}
        except RefusedError as error:
            return 400, {"__type": error.code, "message": str(error)}
        except ValueError:
            return 400, {"__type": "BadRequestException", "message": "not JSON"}
    if method != "GET":
        return 405, {"message": "GET shows what was sent"}
    message_id = path.removeprefix(PREFIX).strip("/")
    if not message_id:
        return 200, {"mails": store.list()}
    mail = store.find(message_id)
    return (404, {"message": "no such mail"}) if mail is None else (200, mail)
