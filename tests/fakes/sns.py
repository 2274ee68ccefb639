"""Amazon SNS on a loopback port: it signs with a key of its own, serves the certificate, and is confirmed."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs
from uuid import uuid4

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

ROOT = Path(__file__).resolve().parents[2]
REGION = "us-east-1"
TOPIC = "arn:aws:sns:us-east-1:123456789012:magpie-MailTopic"
CERTIFICATE = "/SimpleNotificationService-7ff5318490ec183fbaddaa2a969abfda.pem"
HOST = f"https://sns.{REGION}.amazonaws.com"
TOKEN = "2336412f37fb687f5d51e6e2425f004aef0ba2c1f3b4d5e6f7"

_CONFIRMATION = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
SIGNED = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": _CONFIRMATION,
    "UnsubscribeConfirmation": _CONFIRMATION,
}
"""As the documentation says it, and not as the code under test does."""


@cache
def key(bits: int = 2048) -> rsa.RSAPrivateKey:
    """A key that signs. Making one takes a while."""
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def stamp(moment: datetime | None = None) -> str:
    """A time as SNS writes it."""
    moment = moment or datetime.now(UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z"


def notification(message: Any, **changed: Any) -> dict[str, Any]:
    """A notification, not signed yet; `message` is an event, or any text."""
    said = {
        "Type": "Notification",
        "MessageId": str(uuid4()),
        "TopicArn": TOPIC,
        "Subject": "Amazon SES Email Event Notification",
        "Message": message if isinstance(message, str) else json.dumps(message),
        "Timestamp": stamp(),
        "SignatureVersion": "2",
        "SigningCertURL": f"{HOST}{CERTIFICATE}",
        "UnsubscribeURL": f"{HOST}/?Action=Unsubscribe&SubscriptionArn={TOPIC}:c7fe3a54",
    }
    return said | changed


def confirmation(kind: str = "SubscriptionConfirmation", **changed: Any) -> dict[str, Any]:
    """SNS asks whether a subscription is meant, or says that one has ended. Not signed yet."""
    said = notification(f"You have chosen to subscribe to the topic {TOPIC}.", Type=kind, Token=TOKEN)
    said["SubscribeURL"] = f"{HOST}/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token={TOKEN}"
    del said["Subject"], said["UnsubscribeURL"]
    return said | changed


def signed(said: dict[str, Any], by: rsa.RSAPrivateKey | None = None) -> dict[str, Any]:
    """A message with its signature."""
    names = [name for name in SIGNED[said["Type"]] if name in said]
    text = "".join(f"{name}\n{said[name]}\n" for name in names)
    made = (by or key()).sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
    return said | {"Signature": base64.b64encode(made).decode()}


def event(body: Any, *, encoded: bool = False, **headers: str) -> dict[str, Any]:
    """A delivery, as the gateway hands it on.

    Args:
        body: a message, or the text or bytes that come in its place.
        encoded: whether the gateway took it for no text.
    """
    sent = body if isinstance(body, str | bytes) else json.dumps(body)
    if encoded:
        sent = base64.b64encode(sent if isinstance(sent, bytes) else sent.encode()).decode()
    sample: dict[str, Any] = json.loads(
        (ROOT / "events" / "samples" / "email_webhook" / "notification.json").read_text()
    )
    return {**sample, "headers": sample["headers"] | headers, "body": sent, "isBase64Encoded": encoded}


def certificate(
    public: rsa.RSAPublicKey | ec.EllipticCurvePublicKey | None = None,
    begins: timedelta = timedelta(days=-1),
    ends: timedelta = timedelta(days=30),
) -> bytes:
    """A certificate of a key, signed by the one that SNS signs with here."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public or key().public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begins)
        .not_valid_after(now + ends)
        .sign(key(), hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM)


@dataclass
class Sns:
    """The server.

    Attributes:
        files: what is answered to GET, by path: a status and a body.
        asked: paths of GET, in order.
        confirmed: the parameters of each call of ConfirmSubscription.
        answer: the code of the error that ConfirmSubscription is answered with, None for none.
    """

    url: str = ""
    files: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    confirmed: list[dict[str, str]] = field(default_factory=list)
    answer: str | None = None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    sns: Sns

    def log_message(self, *_: Any) -> None:
        """Say nothing on stderr, which tests read."""

    def do_GET(self) -> None:  # noqa: N802 - the name that the base class calls
        self.sns.asked.append(self.path)
        status, body = self.sns.files.get(self.path, (404, b"not here"))
        self._answer(status, body)

    def do_POST(self) -> None:  # noqa: N802 - the name that the base class calls
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.sns.confirmed.append({name: values[0] for name, values in parse_qs(body).items()})
        if self.sns.answer is None:
            arn = f"{TOPIC}:c7fe3a54-ab0e-4ec2-88e0-db410a0f2bee"
            self._answer(
                200,
                b'<ConfirmSubscriptionResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/">'
                b"<ConfirmSubscriptionResult><SubscriptionArn>" + arn.encode() + b"</SubscriptionArn>"
                b"</ConfirmSubscriptionResult></ConfirmSubscriptionResponse>",
            )
            return
        status = 500 if self.sns.answer == "InternalError" else 400
        self._answer(
            status,
            b'<ErrorResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><Error><Type>Sender</Type><Code>'
            + self.sns.answer.encode()
            + b"</Code><Message>no</Message></Error></ErrorResponse>",
        )

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        if 300 <= status < 400:
            self.send_header("Location", f"{self.sns.url}{CERTIFICATE}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serve() -> Iterator[Sns]:
    """Run the server; its one certificate is the one that messages name."""
    sns = Sns(files={CERTIFICATE: (200, certificate())})
    handler = type("Handler", (_Handler,), {"sns": sns})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    sns.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield sns
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
