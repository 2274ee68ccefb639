"""The certificate of the key that a message is signed with: where it is, and whether it holds today.

A message only names it. The host has to be the one of the region of the topic, which is one of ours, and the
path is all that is taken from a message: it is fetched from where the SDK would speak to SNS.
"""

import re
from datetime import datetime
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from shared import clients
from shared.errors import TransientError
from shared.incoming import RefusedError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.x509 import Certificate
    from urllib3 import PoolManager

MAX_BYTES = 16 * 1024
"""Of a certificate; Amazon's have two thousand."""
SECONDS_TO_CONNECT, SECONDS_TO_READ = 2.0, 3.0
MIN_KEY_BITS = 2048

_PATH = re.compile(r"/SimpleNotificationService-[0-9a-f]{1,64}\.pem")


def path(url: str, region: str, suffix: str) -> str:
    """Return the path of a certificate, of the one host that it may be on.

    Compared as text, and not taken apart: whatever has a port, a user, a query or another way to write
    the same host is not the same text.

    Args:
        region: of the topic.
        suffix: of the hosts of AWS's partition.

    Raises:
        RefusedError: it is elsewhere.
    """
    host = f"https://sns.{region}.{suffix}"
    if not url.startswith(host) or not _PATH.fullmatch(url.removeprefix(host)):
        raise RefusedError("not signed by them")
    return url.removeprefix(host)


def key(region: str, path: str, now: datetime) -> "RSAPublicKey":
    """Return the public key of a certificate.

    Raises:
        RefusedError: there is no such certificate, it is not valid now, or its key is none that SNS has.
        TransientError: SNS did not answer.
    """
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    certificate = _certificate(f"{clients.sns(region).meta.endpoint_url}{path}")
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise RefusedError("not signed by them")
    key = certificate.public_key()
    if not isinstance(key, RSAPublicKey) or key.key_size < MIN_KEY_BITS:
        raise RefusedError("not signed by them")
    return key


@lru_cache(maxsize=8)
def _certificate(url: str) -> "Certificate":
    """Fetch a certificate once. Amazon renews its own about once a year, under another name."""
    from cryptography.x509 import load_pem_x509_certificate

    try:
        return load_pem_x509_certificate(_fetch(url))
    except ValueError as error:
        raise RefusedError("not signed by them") from error


def _fetch(url: str) -> bytes:
    from urllib3 import Timeout
    from urllib3.exceptions import HTTPError

    patience = Timeout(connect=SECONDS_TO_CONNECT, read=SECONDS_TO_READ)
    try:
        answer = _http().request(
            "GET", url, timeout=patience, retries=False, redirect=False, preload_content=False
        )
        try:
            content = answer.read(MAX_BYTES + 1)
        finally:
            answer.close()
    except HTTPError as error:
        raise TransientError(f"no certificate from SNS: {type(error).__name__}") from error
    if answer.status >= 500 or answer.status == 429:
        raise TransientError(f"no certificate from SNS: it answered {answer.status}")
    if answer.status != 200 or len(content) > MAX_BYTES:
        raise RefusedError("not signed by them")
    return content


@cache
def _http() -> "PoolManager":
    from urllib3 import PoolManager

    return PoolManager()
