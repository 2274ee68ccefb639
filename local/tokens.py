"""API Gateway's JWT authorizer, by its rules.

https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-jwt-authorizer.html
"""

import json
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jwt

from local.functions import Authorizer

KEYS_SECONDS = 2 * 3600.0
"""How long keys are kept. API Gateway: two hours."""
REFRESH_SECONDS = 5.0
"""A token with an unknown key id makes the keys be read again, but no more often than this."""

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""The stack's own endpoint is not behind this machine's proxy."""


class UnauthorizedError(Exception):
    """There is no token, or not one that this authorizer accepts."""


class ForbiddenError(Exception):
    """The token is good and has none of the scopes that the route asks for."""


class KeySet:
    """The public keys of one issuer. Thread-safe.

    Args:
        url: of the JWKS document.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._keys: dict[str, Any] = {}
        self._read_at = float("-inf")

    def find(self, kid: str) -> Any:
        """Return the public key of an id, or None."""
        with self._lock:
            age = time.monotonic() - self._read_at
            if age > KEYS_SECONDS or (kid not in self._keys and age > REFRESH_SECONDS):
                with _DIRECT.open(self._url, timeout=5) as answer:
                    keys = json.load(answer)["keys"]
                self._keys = {
                    key["kid"]: jwt.PyJWK.from_dict(key, "RS256").key for key in keys if key["kty"] == "RSA"
                }
                self._read_at = time.monotonic()
            return self._keys.get(kid)


def authorize(
    authorizer: Authorizer,
    scopes: Sequence[str],
    request: Mapping[str, Mapping[str, str]],
    keys: Callable[[str], Any],
    now: float | None = None,
) -> dict[str, Any]:
    """Check a request's token and return its claims.

    Args:
        scopes: of which the token must have one, when there are any.
        request: `header` and `querystring` values by lower-case name.
        keys: gives the public key of a key id, or None.

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
    try:
        header = jwt.get_unverified_header(token)
        if header.get("alg") != "RS256":
            raise UnauthorizedError(f"the algorithm is {header.get('alg')}")
        key = keys(str(header.get("kid")))
        if key is None:
            raise UnauthorizedError("nobody knows the key")
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=["RS256"],
            # Times and audience by the gateway's rules, below.
            options={
                "verify_aud": False,
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
                "verify_iss": False,
            },
        )
    except jwt.PyJWTError as error:
        raise UnauthorizedError(str(error)) from error
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
        if isinstance(value, bool) or not isinstance(value, int | float) or not holds(value):
            raise UnauthorizedError(f"{claim} does not hold")
    if scopes and not set(scopes) & set(token_scopes(claims)):
        raise ForbiddenError("none of the route's scopes")
    return claims


def token_scopes(claims: Mapping[str, Any]) -> list[str]:
    """The scopes of a token, from `scp` or `scope`."""
    value = claims.get("scp", claims.get("scope", ""))
    return [str(scope) for scope in value] if isinstance(value, list) else str(value).split()
