"""Whether a key has signed a message."""

from typing import TYPE_CHECKING

from functions.email_webhook.message import Message
from shared.incoming import RefusedError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey


def verify(message: Message, key: "RSAPublicKey") -> None:
    """Refuse a message that the key has not signed: RSA over SHA-256, by PKCS #1 v1.5.

    Raises:
        RefusedError: it has not.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.hashes import SHA256

    try:
        key.verify(message.signature, message.signed(), PKCS1v15(), SHA256())
    except InvalidSignature as error:
        raise RefusedError("not signed by them") from error
