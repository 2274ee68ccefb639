"""Say yes to a subscription that SNS asks about, by the API: no address that a message names is called."""

from botocore.exceptions import BotoCoreError, ClientError

from shared import clients
from shared.errors import TransientError
from shared.incoming import RefusedError

UNKNOWN = {"InvalidParameter", "InvalidParameterException", "NotFound", "NotFoundException"}
"""What SNS answers to a token that is too old or of no subscription, and to a topic that is gone."""


def confirm(topic: str, region: str, token: str) -> None:
    """Confirm a subscription; the second time changes nothing.

    From then on only the topic's owner can end it: the link in every message that would do so does nothing.

    Raises:
        RefusedError: nobody waits for this.
        TransientError: SNS did not answer, or we may not; it asks again.
    """
    try:
        clients.sns(region).confirm_subscription(
            TopicArn=topic, Token=token, AuthenticateOnUnsubscribe="true"
        )
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in UNKNOWN:
            raise RefusedError("not for us") from None
        raise TransientError(f"the subscription was not confirmed: {code}") from None
    except BotoCoreError as error:
        raise TransientError(f"the subscription was not confirmed: {type(error).__name__}") from None
