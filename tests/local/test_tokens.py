"""The JWT authorizer lets in what API Gateway lets in, and nothing else."""

import base64
import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from local.functions import Authorizer
from local.tokens import ForbiddenError, Key, KeySet, UnauthorizedError, authorize

ISSUER = "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_pool"
AUTHORIZER = Authorizer("Tokens", "$request.header.Authorization", ISSUER, ("client",))
NOW = 1_800_000_000
OURS = rsa.generate_private_key(public_exponent=65537, key_size=2048)
THEIRS = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PUBLIC_PEM = OURS.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)

ACCESS = {
    "iss": ISSUER,
    "sub": "user",
    "client_id": "client",
    "token_use": "access",
    "scope": "aws.cognito.signin.user.admin items.read",
    "iat": NOW - 10,
    "exp": NOW + 3600,
}


def sign(key: Any = OURS, algorithm: str = "RS256", kid: str | None = "ours", **changes: Any) -> str:
    claims = {name: value for name, value in {**ACCESS, **changes}.items() if value is not None}
    return jwt.encode(claims, key, algorithm=algorithm, headers={"kid": kid} if kid else None)


def check(token: str, *scopes: str, header: str | None = None) -> dict[str, Any]:
    request = {"header": {"authorization": header if header is not None else f"Bearer {token}"}}
    return authorize(AUTHORIZER, scopes, request, {"ours": Key("RS256", OURS.public_key())}.get, NOW)


def test_an_access_token_of_the_pool_is_let_in():
    assert check(sign())["sub"] == "user"


def test_the_word_bearer_may_be_left_out_or_be_written_small():
    assert check(sign(), header=sign())["sub"] == "user"
    assert check(sign(), header=f"bearer {sign()}")["sub"] == "user"


def test_an_id_token_is_let_in_for_the_function_to_refuse():
    claims = check(sign(client_id=None, aud="client", token_use="id"))
    assert claims["token_use"] == "id"


def test_one_of_several_audiences_is_enough():
    assert check(sign(client_id=None, aud=["other", "client"]))


def unsigned() -> str:
    parts = [{"alg": "none", "kid": "ours"}, ACCESS]
    return (
        ".".join(base64.urlsafe_b64encode(json.dumps(p).encode()).rstrip(b"=").decode() for p in parts) + "."
    )


def tampered() -> str:
    head, _, signature = sign().split(".")
    claims = (
        base64.urlsafe_b64encode(json.dumps({**ACCESS, "sub": "somebody else"}).encode())
        .rstrip(b"=")
        .decode()
    )
    return f"{head}.{claims}.{signature}"


def with_public_key_as_secret() -> str:
    import hashlib
    import hmac

    def encode(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    signed = f"{encode({'alg': 'HS256', 'kid': 'ours'})}.{encode(ACCESS)}"
    mac = hmac.new(PUBLIC_PEM, signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


@pytest.mark.parametrize(
    "token",
    [
        pytest.param("", id="nothing"),
        pytest.param("nonsense", id="no token at all"),
        pytest.param("a.b.c", id="three parts of nothing"),
        pytest.param(unsigned(), id="alg none"),
        pytest.param(tampered(), id="changed claims"),
        pytest.param(with_public_key_as_secret(), id="HS256 with the public key"),
        pytest.param(sign(THEIRS), id="forged with another key under our key id"),
        pytest.param(sign(THEIRS, kid="theirs"), id="an unknown key id"),
        pytest.param(sign(kid=None), id="no key id"),
        pytest.param(sign(algorithm="RS512"), id="another algorithm"),
        pytest.param(sign(algorithm="PS256"), id="another padding"),
        pytest.param(sign(exp=NOW), id="expired this second"),
        pytest.param(sign(exp=NOW - 1), id="expired"),
        pytest.param(sign(exp=None), id="never expires"),
        pytest.param(sign(exp="tomorrow"), id="expires tomorrow, in words"),
        pytest.param(sign(exp=True), id="expires true"),
        pytest.param(sign(nbf=NOW + 1), id="not yet valid"),
        pytest.param(sign(iat=NOW + 1), id="issued in the future"),
        pytest.param(sign(iss=ISSUER + "2"), id="another issuer"),
        pytest.param(sign(iss=None), id="no issuer"),
        pytest.param(sign(client_id="other"), id="another client"),
        pytest.param(sign(client_id=None), id="no client and no audience"),
        pytest.param(sign(aud="other"), id="client_id does not make up for a wrong aud"),
        pytest.param(sign(aud=[]), id="an empty audience"),
    ],
)
def test_anything_else_is_not_authorized(token):
    with pytest.raises(UnauthorizedError):
        check(token)


def encoded(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def signed(header: bytes, claims: bytes = json.dumps(ACCESS).encode()) -> str:
    """A token with our signature over any bytes."""
    said = f"{encoded(header)}.{encoded(claims)}"
    return f"{said}.{encoded(OURS.sign(said.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


HEADER = b'{"alg":"RS256","kid":"ours"}'


def test_what_is_signed_by_hand_is_let_in():
    assert check(signed(HEADER))["sub"] == "user"


@pytest.mark.parametrize(
    "header",
    [
        b'{"alg":"RS256","kid":"ours","crit":["exp"],"exp":1}',
        b'{"alg":"RS256","kid":"ours","crit":[]}',
        b'{"alg":"none","alg":"RS256","kid":"ours"}',
        b'{"alg":"RS256","kid":"ours","kid":"ours"}',
        b'{"alg":["RS256"],"kid":"ours"}',
        b'{"alg":"rs256","kid":"ours"}',
        b'{"alg":"RS256","kid":["ours"]}',
        b'{"alg":"RS256","kid":""}',
        b'["RS256"]',
        b'"RS256"',
        b"{",
        b'{"alg":"RS256","kid":"ours","x":NaN}',
        b'\xef\xbb\xbf{"alg":"RS256","kid":"ours"}',
        b'{"alg":"RS256","kid":"ours\xff"}',
        b"[" * 5000,
    ],
    ids=str,
)
def test_a_header_that_can_be_read_in_two_ways_or_none_is_not_authorized(header):
    with pytest.raises(UnauthorizedError):
        check(signed(header))


@pytest.mark.parametrize(
    "claims",
    [
        b"foo",
        b"[]",
        json.dumps(ACCESS).replace('"sub": "user"', '"sub": "user", "sub": "admin"').encode(),
        json.dumps({**ACCESS, "exp": 1}).replace('"exp": 1', '"exp": 1e999').encode(),
        json.dumps({**ACCESS, "exp": 1}).replace('"exp": 1', '"exp": Infinity').encode(),
        json.dumps({**ACCESS, "exp": 1}).replace('"exp": 1', '"exp": ' + "9" * 5000).encode(),
    ],
    ids=range(6),
)
def test_claims_that_can_be_read_in_two_ways_or_none_are_not_authorized(claims):
    with pytest.raises(UnauthorizedError):
        check(signed(HEADER, claims))


def test_base64url_is_read_in_the_one_way_to_write_it():
    token = signed(HEADER)
    head, body, signature = token.split(".")
    last = signature[-1]
    # 256 bytes leave two bits of the last character unused, which other decoders let pass.
    twin = next(c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_" if c != last
                and base64.urlsafe_b64decode(signature[:-1] + c + "==") == bytes_of(token))  # fmt: skip
    for other in (
        f"{head}.{body}.{signature[:-1]}{twin}",
        token + "=",
        token + "==",
        token + "\n",
        token.replace(".", ". ", 1),
        f"{head}.{body}.{signature.replace('_', '/').replace('-', '+')}",
        f"{head}.{body}.{signature[:-1]}",
        f"{head}.{body}.{signature}A",
        f"{head}..{signature}",
        f"{head}.{body}",
        f"{token}.",
        f"{token}.x",
        f".{token}",
        "ü" + token[1:],
        json.dumps({"payload": body, "protected": head, "signature": signature}),
        "A" * 20_000,
    ):
        if other == token:
            continue
        with pytest.raises(UnauthorizedError):
            check(other)


def bytes_of(token: str) -> bytes:
    """The signature of a token."""
    return base64.urlsafe_b64decode(token.split(".")[2] + "==")


class Keys(BaseHTTPRequestHandler):
    """Serves what the test wants as JWKS, and counts."""

    answer: tuple[int, bytes] = (200, b"{}")
    asked = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        self.send_response(self.answer[0])
        self.end_headers()
        self.wfile.write(self.answer[1])

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def jwks(key: Any, kid: str = "ours", **changed: str) -> bytes:
    public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key()))
    return json.dumps({"keys": [{**public, "kid": kid, "alg": "RS256", "use": "sig", **changed}]}).encode()


@pytest.fixture
def served() -> Iterator[tuple[type[Keys], str]]:
    handler = type("Served", (Keys,), {})
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield handler, f"http://127.0.0.1:{server.server_port}/jwks.json"
    server.shutdown()
    server.server_close()
    thread.join()


def test_keys_are_read_once_and_again_for_an_unknown_one_but_not_at_once(served):
    handler, url = served
    handler.answer = (200, jwks(OURS))
    now = [0.0]
    keys = KeySet(url, lambda: now[0])
    assert all(keys.find("ours") for _ in range(5))
    assert handler.asked == 1
    assert [keys.find("theirs") for _ in range(100)] == [None] * 100
    assert handler.asked == 1, "it has only just been read"
    now[0] += 6
    handler.answer = (200, jwks(THEIRS, "theirs"))
    assert keys.find("theirs")
    assert keys.find("ours") is None, "the pool has another key now"
    assert handler.asked == 2


@pytest.mark.parametrize(
    "answer", [(500, b""), (200, b"<html>"), (200, b"{}"), (200, b'{"keys": 1}'), (200, b'{"keys": [{}]}')]
)
def test_nobody_is_let_in_when_the_keys_cannot_be_read(served, answer):
    handler, url = served
    handler.answer = (200, jwks(OURS))
    now = [0.0]
    keys = KeySet(url, lambda: now[0])
    assert keys.find("ours")
    handler.answer = answer
    now[0] += 3600
    assert keys.find("ours"), "still good"
    now[0] += 3700
    assert [keys.find("ours") for _ in range(10)] == [None] * 10
    assert handler.asked == 2, "it cools down"
    now[0] += 6
    handler.answer = (200, jwks(OURS))
    assert keys.find("ours")


def test_a_key_for_something_else_is_none(served):
    handler, url = served
    for changed in ({"alg": "PS256"}, {"use": "enc"}, {"kty": "oct", "k": "AAAA"}):
        handler.answer = (200, jwks(OURS, **changed))
        assert KeySet(url).find("ours") is None


def test_a_server_that_is_not_there_lets_nobody_in():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert KeySet(f"http://127.0.0.1:{port}/jwks.json").find("ours") is None


def test_a_route_with_scopes_needs_one_of_them():
    assert check(sign(), "items.read", "items.write")
    assert check(sign(scope=None, scp=["items.write"]), "items.write")
    with pytest.raises(ForbiddenError):
        check(sign(), "items.write")
    with pytest.raises(ForbiddenError):
        check(sign(scope=None), "items.write")


def test_the_token_may_come_from_the_query():
    authorizer = Authorizer("Tokens", "$request.querystring.token", ISSUER, ("client",))
    keys = {"ours": Key("RS256", OURS.public_key())}.get
    assert authorize(authorizer, (), {"header": {}, "querystring": {"token": sign()}}, keys, NOW)
    with pytest.raises(UnauthorizedError, match="there is no token"):
        authorize(authorizer, (), {"header": {"authorization": sign()}, "querystring": {}}, keys, NOW)


def test_without_a_given_time_it_is_now():
    now = int(time.time())
    request = {"header": {"authorization": sign(iat=now, exp=now + 60)}}
    assert authorize(AUTHORIZER, (), request, {"ours": Key("RS256", OURS.public_key())}.get)
