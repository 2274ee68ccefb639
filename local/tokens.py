"""API Gateway's JWT authorizer, by its rules, and stricter where they leave a choice.

https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-jwt-authorizer.html

What it does not look at, as API Gateway does not: whether a token is an access token. On both,
`functions/api/identity.py` does.
"""

import base64
import json
import logging
import math
import re
import threading
import time
import urllib.request
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jwt

from local.functions import Authorizer

logger = logging.getLogger(__name__)

KEYS_SECONDS = 2 * 3600.0
"""How long keys are kept. API Gateway: two hours."""
REFRESH_SECONDS = 5.0
"""A token with an unknown key id makes the keys be read again, but no more often than this."""
MAX_TOKEN_BYTES = 16 * 1024
ALGORITHMS = frozenset({"RS256"})
"""What Cognito signs with, and nothing else is looked at."""

_PART = re.compile(r"[A-Za-z0-9_-]+")
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""The stack's own endpoint is not behind this machine's proxy."""


class UnauthorizedError(Exception):
    """There is no token, or not one that this authorizer accepts."""


class ForbiddenError(Exception):
    """The token is good and has none of the scopes that the route asks for."""


@dataclass(frozen=True)
class Key:
    """A public key, and the one algorithm that it is for."""

    algorithm: str
    key: Any


class KeySet:
    """The public keys of one issuer. Thread-safe.

    When they cannot be read nobody is let in: not by keys that are too old, and not by one that is not there.

    Args:
        url: of the JWKS document.
        clock: seconds, of any beginning.
    """

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: dict[str, Key] = {}
        self._read_at = self._tried_at = float("-inf")

    def find(self, kid: str) -> Key | None:
        """Return the public key of an id, or None."""
        with self._lock:
            now = self._clock()
            stale = now - self._read_at > KEYS_SECONDS
            if (stale or kid not in self._keys) and now - self._tried_at > REFRESH_SECONDS:
                self._tried_at = now
                try:
                    self._keys = self._read()
                except (OSError, ValueError, KeyError, TypeError, jwt.PyJWTError) as error:
                    logger.error("the keys of %s cannot be read: %s", self._url, error)  # noqa: TRY400
                else:
                    self._read_at, stale = now, False
            return None if stale else self._keys.get(kid)

    def _read(self) -> dict[str, Key]:
        with _DIRECT.open(self._url, timeout=5) as answer:
            keys = json.load(answer)["keys"]
        return {key["kid"]: found for key in keys if (found := read_key(key)) and found.algorithm == "RS256"}


def read_key(key: Mapping[str, Any]) -> Key | None:
    """Return what a JWK can check, or None: it is not for signatures.

    Raises:
        jwt.PyJWTError: it is no key at all.
    """
    if key.get("use", "sig") != "sig" or "verify" not in key.get("key_ops", ["verify"]):
        return None
    algorithm = key.get("alg") or ("RS256" if key.get("kty") == "RSA" else None)
    return Key(algorithm, jwt.PyJWK.from_dict(dict(key), algorithm).key) if algorithm else None


def verify(token: str, find: Callable[[str], Key | None], algorithms: Collection[str] = ALGORITHMS) -> bytes:
    """Return what a JSON Web Signature in compact form signs, after checking that it does.

    Nothing in the header chooses how it is checked: the key says by which algorithm, and keys that a token
    brings along are not looked at.

    Args:
        find: gives the key of a key id, or None.

    Raises:
        UnauthorizedError: it is not signed by one of these keys, or not written as it has to be.
    """
    if len(token) > MAX_TOKEN_BYTES:
        raise UnauthorizedError("the token is too long")
    parts = token.split(".")
    if len(parts) != 3:
        raise UnauthorizedError("a token has three parts")
    decoded = [_decode(part) for part in parts]
    header = _object(decoded[0], "header")
    if "crit" in header:
        raise UnauthorizedError("the header has critical extensions, of which none is known")
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in algorithms:
        raise UnauthorizedError("another algorithm")
    if not isinstance(kid, str) or not kid:
        raise UnauthorizedError("the token names no key")
    key = find(kid)
    if key is None:
        raise UnauthorizedError("nobody knows the key")
    if key.algorithm != algorithm:
        raise UnauthorizedError("the key is for another algorithm")
    signed = f"{parts[0]}.{parts[1]}".encode("ascii")
    if not jwt.get_algorithm_by_name(algorithm).verify(signed, key.key, decoded[2]):
        raise UnauthorizedError("the signature is not right")
    return decoded[1]


def _decode(part: str) -> bytes:
    """Base64url as RFC 7515 has it: no padding, no other characters, no bits left over."""
    if not _PART.fullmatch(part):
        raise UnauthorizedError("a part is not base64url")
    try:
        value = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except ValueError as error:
        raise UnauthorizedError("a part is not base64url") from error
    if base64.urlsafe_b64encode(value).rstrip(b"=").decode() != part:
        raise UnauthorizedError("a part is not the one way to write its bytes")
    return value


def _object(text: bytes, what: str) -> dict[str, Any]:
    """A JSON object in UTF-8 whose names each stand there once."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a name stands there twice")
        return found

    def no_constant(name: str) -> None:
        raise ValueError(f"{name} is no JSON")

    try:
        value = json.loads(text.decode("utf-8"), object_pairs_hook=once, parse_constant=no_constant)
    except (ValueError, RecursionError) as error:
        raise UnauthorizedError(f"the {what} is no JSON object") from error
    if not isinstance(value, dict):
        raise UnauthorizedError(f"the {what} is no JSON object")
    return value


def authorize(
    authorizer: Authorizer,
    scopes: Sequence[str],
    request: Mapping[str, Mapping[str, str]],
    keys: Callable[[str], Key | None],
    now: float | None = None,
) -> dict[str, Any]:
    """Check a request's token and return its claims.

    Args:
        scopes: of which the token must have one, when there are any.
        request: `header` and `querystring` values by lower-case name.
        keys: gives the key of a key id, or None.

    Raises:
        UnauthorizedError: why the token was not accepted.
        ForbiddenError: none of the scopes is the token's.
    """
    now = time.time() if now is None else now
    kind, _, name = authorizer.identity_source.removeprefix("$request.").partition(".")
    values = request.get(kind, {})
    token = values.get(name.lower() if kind == "header" else name, "")
    if token[:7].lower() == "bearer ":
        token = token[7:]
    if not token:
        raise UnauthorizedError("there is no token")
    claims = _object(verify(token, keys), "payload")
    if claims.get("iss") != authorizer.issuer:
        raise UnauthorizedError("another issuer")
    # `client_id` counts only where there is no `aud`.
    audience = claims.get("aud", claims.get("client_id"))
    audiences = audience if isinstance(audience, list) else [audience]
    if not any(one in authorizer.audience for one in audiences):
        raise UnauthorizedError("for another audience")
    for claim, holds in (
        ("exp", lambda value: value > now),
        ("nbf", lambda value: value <= now),
        ("iat", lambda value: value <= now),
    ):
        if claim not in claims and claim != "exp":
            continue
        value = claims.get(claim)
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not number or not holds(value):
            raise UnauthorizedError(f"{claim} does not hold")
    if scopes and not set(scopes) & set(token_scopes(claims)):
        raise ForbiddenError("none of the route's scopes")
    return claims


def token_scopes(claims: Mapping[str, Any]) -> list[str]:
    """The scopes of a token, from `scp` or `scope`."""
    value = claims.get("scp", claims.get("scope", ""))
    return [str(scope) for scope in value] if isinstance(value, list) else str(value).split()
