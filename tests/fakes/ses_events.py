"""What SES says became of a mail, in the shapes that AWS documents.

https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-examples.html
https://docs.aws.amazon.com/ses/latest/dg/monitoring-eventbridge.html
"""

from typing import Any

ADDRESS = "ada.lovelace@example.com"
MAIL = "0100019a9f3c7d21-1b2c3d4e-5f60-4718-9a2b-3c4d5e6f7081-000000"
SENT = "2026-11-20T09:20:00.512Z"
LATER = "2026-11-20T09:20:03.104Z"
FEEDBACK = "0100019a9f3c8a10-9d8c7b6a-5f4e-4d3c-8b2a-1f0e9d8c7b6a-000000"

DETAIL_TYPES = {
    "Bounce": "Email Bounced",
    "Complaint": "Email Complaint Received",
    "Delivery": "Email Delivered",
    "DeliveryDelay": "Email Delivery Delayed",
    "Reject": "Email Rejected",
    "Rendering Failure": "Email Rendering Failed",
}


def mail(user_id: str | None = "alice", *, message_id: str = MAIL, to: str = ADDRESS) -> dict[str, Any]:
    tags = {"ses:configuration-set": ["magpie-dev"], "ses:from-domain": ["example.org"], "kind": ["scan"]}
    if user_id is not None:
        tags["user_id"] = [user_id]
    return {
        "timestamp": SENT,
        "source": "Magpie <magpie@example.org>",
        "sourceArn": "arn:aws:ses:us-east-1:123456789012:identity/example.org",
        "sendingAccountId": "123456789012",
        "messageId": message_id,
        "destination": [to],
        "headersTruncated": False,
        "headers": [{"name": "To", "value": to}, {"name": "Subject", "value": "Your scan is done"}],
        "commonHeaders": {"from": ["magpie@example.org"], "to": [to], "subject": "Your scan is done"},
        "tags": tags,
    }


def bounce(kind: str = "Permanent", more: str = "General", to: str = ADDRESS, **about: Any) -> dict[str, Any]:
    return {
        "eventType": "Bounce",
        "mail": mail(to=to, **about),
        "bounce": {
            "feedbackId": FEEDBACK,
            "bounceType": kind,
            "bounceSubType": more,
            "bouncedRecipients": [
                {
                    "emailAddress": to,
                    "action": "failed",
                    "status": "5.1.1",
                    "diagnosticCode": f"smtp; 550 5.1.1 <{to}>... User unknown",
                }
            ],
            "timestamp": LATER,
            "reportingMTA": "dsn; a8-50.smtp-out.amazonses.com",
        },
    }


def complaint(
    feedback_type: str | None = "abuse", more: str | None = None, to: str = ADDRESS, **about: Any
) -> dict[str, Any]:
    said = {
        "feedbackId": FEEDBACK,
        "complaintSubType": more,
        "complainedRecipients": [{"emailAddress": to}],
        "timestamp": LATER,
        "userAgent": "ExampleCorp Feedback Loop (V0.01)",
        "arrivalDate": SENT,
    }
    if feedback_type is not None:
        said["complaintFeedbackType"] = feedback_type
    return {"eventType": "Complaint", "mail": mail(to=to, **about), "complaint": said}


def delivery(to: str = ADDRESS, **about: Any) -> dict[str, Any]:
    return {
        "eventType": "Delivery",
        "mail": mail(to=to, **about),
        "delivery": {
            "timestamp": LATER,
            "processingTimeMillis": 2592,
            "recipients": [to],
            "smtpResponse": f"250 ok <{to}>",
            "reportingMTA": "a8-70.smtp-out.amazonses.com",
        },
    }


def delay(to: str = ADDRESS, **about: Any) -> dict[str, Any]:
    return {
        "eventType": "DeliveryDelay",
        "mail": mail(to=to, **about),
        "deliveryDelay": {
            "timestamp": LATER,
            "delayType": "TransientCommunicationFailure",
            "expirationTime": "2026-11-20T23:25:00.000Z",
            "delayedRecipients": [
                {"emailAddress": to, "status": "4.4.1", "diagnosticCode": f"smtp; 421 {to}"}
            ],
        },
    }


def reject(**about: Any) -> dict[str, Any]:
    return {"eventType": "Reject", "mail": mail(**about), "reject": {"reason": "Bad content"}}


def rendering_failure(**about: Any) -> dict[str, Any]:
    failure = {
        "templateName": "scan",
        "errorMessage": "Attribute 'name' is not present in the rendering data.",
    }
    return {"eventType": "Rendering Failure", "mail": mail(**about), "failure": failure}


def older(event: dict[str, Any]) -> dict[str, Any]:
    """The same as a notification of an identity tells it: another name, and no tags."""
    told = {**event, "mail": {name: value for name, value in event["mail"].items() if name != "tags"}}
    told["notificationType"] = told.pop("eventType")
    return told


def envelope(event: dict[str, Any]) -> dict[str, Any]:
    """The same as EventBridge brings it."""
    return {
        "version": "0",
        "id": "12a18625-3328-fafd-2aa8-a5e16004f2be",
        "detail-type": DETAIL_TYPES[event["eventType"]],
        "source": "aws.ses",
        "account": "123456789012",
        "time": "2026-11-20T09:20:04Z",
        "region": "us-east-1",
        "resources": ["arn:aws:ses:us-east-1:123456789012:configuration-set/magpie-dev"],
        "detail": event,
    }
