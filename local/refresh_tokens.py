"""What signs tokens here, and which refresh tokens are still good.

moto signs with a key that everybody has, and forgets its refresh tokens when it ends. So each data folder
has a key of its own, and a refresh token says itself, signed, whose it is and until when. Only what ended
one early is written down.
"""

import base64
import hashlib
import hmac
import json
import secrets
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.files import write_json

API_SCOPE = "aws.cognito.signin.user.admin"
"""Of a sign-in by Cognito's API; one at the sign-in page has what the page asked for."""
LONGEST_SECONDS = 3650 * 86400
"""The longest life that Cognito gives a refresh token."""


@dataclass(frozen=True)
class Refresh:
    """What a refresh token says.

    Attributes:
        origin: of every token that came of the same sign-in, as their `origin_jti`.
        issued_at, ends_at: seconds since 1970.
    """

    client_id: str
    sub: str
    origin: str
    scope: str
    issued_at: float
    ends_at: float


class RefreshTokens:
    """The keys and the ended tokens of one data folder. Thread-safe.

    Args:
        path: a file for its owner only, made when it is not there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        if path.exists():
            self._kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        else:
            self._kept = {"key": _new_key(), "secret": secrets.token_hex(32), "ended": {}, "signed_out": {}}
            write_json(path, self._kept)
        self._secret = bytes.fromhex(self._kept["secret"])

    @property
    def private_key(self) -> dict[str, str]:
        """The key that signs tokens, as a JWK."""
        return dict(self._kept["key"])

    @property
    def public_keys(self) -> dict[str, Any]:
        """The JWKS document."""
        return {"keys": [{name: self._kept["key"][name] for name in ("kty", "n", "e", "kid", "alg", "use")}]}

    def issue(self, client_id: str, sub: str, scope: str, seconds: float) -> tuple[str, str]:
        """Return a new token, and the id of the sign-in that it belongs to."""
        now = time.time()
        origin = secrets.token_urlsafe(16)
        said = _encode(json.dumps([client_id, sub, origin, scope, now, now + seconds]).encode())
        return f"{said}.{self._sign(said)}", origin

    def read(self, token: str) -> Refresh | None:
        """Return what a token says, or None: it is none of ours, is over, or was ended."""
        said, _, signature = token.partition(".")
        if not hmac.compare_digest(self._sign(said).encode(), signature.encode("utf-8", "replace")):
            return None
        refresh = Refresh(*json.loads(base64.urlsafe_b64decode(said + "=" * (-len(said) % 4))))
        with self._lock:
            ended = (
                refresh.origin in self._kept["ended"]
                or self._kept["signed_out"].get(refresh.sub, 0) >= refresh.issued_at
            )
        return None if ended or refresh.ends_at <= time.time() else refresh

    def end(self, refresh: Refresh) -> None:
        """End one sign-in, for good."""
        self._change("ended", refresh.origin, refresh.ends_at)

    def end_all(self, sub: str) -> None:
        """End every sign-in of a user until now, for good."""
        self._change("signed_out", sub, time.time())

    def _change(self, what: str, name: str, until: float) -> None:
        now = time.time()
        with self._lock:
            self._kept[what][name] = until
            self._kept["ended"] = {n: end for n, end in self._kept["ended"].items() if end > now}
            oldest = now - LONGEST_SECONDS
            self._kept["signed_out"] = {n: at for n, at in self._kept["signed_out"].items() if at > oldest}
            write_json(self._path, self._kept)

    def _sign(self, said: str) -> str:
        said_bytes = said.encode("utf-8", "replace")
        return _encode(hmac.new(self._secret, said_bytes, hashlib.sha256).digest())


def _encode(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _new_key() -> dict[str, str]:
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_numbers()
    numbers = {
        "n": key.public_numbers.n,
        "e": key.public_numbers.e,
        "d": key.d,
        "p": key.p,
        "q": key.q,
        "dp": key.dmp1,
        "dq": key.dmq1,
        "qi": key.iqmp,
    }
    texts = {
        name: _encode(value.to_bytes((value.bit_length() + 7) // 8, "big")) for name, value in numbers.items()
    }
    # moto writes this key id into every token.
    return {"kty": "RSA", "kid": "dummy", "alg": "RS256", "use": "sig", **texts}
