"""Give a mail to SES, in the first region that takes it, and tell what a refusal means.

https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_SendEmail.html, and which headers may be one's own:
https://docs.aws.amazon.com/ses/latest/dg/header-fields.html
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import formataddr
from http import HTTPStatus
from typing import Any

from aws_lambda_powertools import Logger
from botocore.exceptions import BotoCoreError, ClientError

from shared import clients
from shared.errors import MagpieError, TransientError

logger = Logger(child=True)

SENDER = "Magpie"
REFUSALS = {
    "BadRequestException",
    "MailFromDomainNotVerifiedException",
    "MessageRejected",
    "NotFoundException",
}
"""Codes of what no other try would change: the message, the identity, or what it names."""
AWAY = {
    "AccountSuspendedException",
    "LimitExceededException",
    "SendingPausedException",
    "TooManyRequestsException",
}
"""Codes of a region that sends nothing now, and may later: AWS has paused it, or we are too fast."""
_TAG = re.compile(r"[A-Za-z0-9_-]{1,256}")


@dataclass(frozen=True)
class Mail:
    """What is sent.

    Attributes:
        tags: come back with every event about it, as far as SES takes their values.
        unsubscribe: where it is switched off.
    """

    sender: str
    recipient: str
    subject: str
    text: str
    html: str
    unsubscribe: str
    configuration_set: str
    tags: dict[str, str]


@dataclass(frozen=True)
class Sent:
    """That SES took it: under which id, and where."""

    message_id: str
    region: str


class RefusedError(MagpieError):
    """SES will never take this message as it is; says its code."""


def send(mail: Mail, regions: Sequence[str]) -> Sent:
    """Give a mail to the first region, or to the next where that is away.

    Of a call that gave no answer nobody knows whether it was heard: the mail may then be sent twice.

    Args:
        regions: at least one. Only the first one's refusal is final: in another one the identity may not be
            set up yet, which is no reason to lose a mail.

    Raises:
        RefusedError: no further try would change anything.
        TransientError: no region takes it now.
    """
    request = _request(mail)
    for region in regions:
        try:
            answer = clients.ses(region).send_email(**request)
        except (ClientError, BotoCoreError) as error:
            code = _code(error)
            if region == regions[0] and code in REFUSALS:
                raise RefusedError(code) from error
            if region == regions[0] and not _is_away(error):
                raise
            logger.warning("region does not send", region=region, reason=code)
        else:
            return Sent(answer["MessageId"], region)
    raise TransientError(f"no mail is sent now from {', '.join(regions)}")


def _is_away(error: ClientError | BotoCoreError) -> bool:
    """Whether the same request may be taken later, or elsewhere."""
    if isinstance(error, BotoCoreError):  # no connection, or no answer in time
        return True
    status = error.response["ResponseMetadata"].get("HTTPStatusCode", 0)
    return _code(error) in AWAY or status == HTTPStatus.TOO_MANY_REQUESTS or status >= 500


def _code(error: ClientError | BotoCoreError) -> str:
    return error.response["Error"]["Code"] if isinstance(error, ClientError) else type(error).__name__


def _request(mail: Mail) -> dict[str, Any]:
    return {
        "FromEmailAddress": formataddr((SENDER, mail.sender)),
        "Destination": {"ToAddresses": [mail.recipient]},
        "ConfigurationSetName": mail.configuration_set,
        "Content": {
            "Simple": {
                "Subject": _utf8(mail.subject),
                "Body": {"Text": _utf8(mail.text), "Html": _utf8(mail.html)},
                "Headers": [
                    {"Name": "List-Unsubscribe", "Value": f"<{mail.unsubscribe}>"},
                    # Nobody's answering machine is to answer.
                    {"Name": "Auto-Submitted", "Value": "auto-generated"},
                ],
            }
        },
        "EmailTags": [
            {"Name": name, "Value": value} for name, value in mail.tags.items() if _TAG.fullmatch(value)
        ],
    }


def _utf8(text: str) -> dict[str, str]:
    return {"Data": text, "Charset": "UTF-8"}
