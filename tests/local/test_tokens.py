"""The JWT authorizer lets in what API Gateway lets in, and nothing else."""

import base64
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from local.functions import Authorizer
from local.tokens import ForbiddenError, UnauthorizedError, authorize

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
    return authorize(AUTHORIZER, scopes, request, {"ours": OURS.public_key()}.get, NOW)


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


def test_a_route_with_scopes_needs_one_of_them():
    assert check(sign(), "items.read", "items.write")
    assert check(sign(scope=None, scp=["items.write"]), "items.write")
    with pytest.raises(ForbiddenError):
        check(sign(), "items.write")
    with pytest.raises(ForbiddenError):
        check(sign(scope=None), "items.write")


def test_the_token_may_come_from_the_query():
    authorizer = Authorizer("Tokens", "$request.querystring.token", ISSUER, ("client",))
    keys = {"ours": OURS.public_key()}.get
    assert authorize(authorizer, (), {"header": {}, "querystring": {"token": sign()}}, keys, NOW)
    with pytest.raises(UnauthorizedError, match="there is no token"):
        authorize(authorizer, (), {"header": {"authorization": sign()}, "querystring": {}}, keys, NOW)


def test_without_a_given_time_it_is_now():
    now = int(time.time())
    request = {"header": {"authorization": sign(iat=now, exp=now + 60)}}
    assert authorize(AUTHORIZER, (), request, {"ours": OURS.public_key()}.get)
