"""Signing in to the whole system, as a page does it, with the user pool's triggers run by the local stack."""

import base64
import hashlib
import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest
import urllib3
from botocore.exceptions import ClientError

from tests.flow.people import Person
from tests.local.running import Running

pytestmark = pytest.mark.stack

VERIFIER = "a-verifier-of-the-page-that-is-long-enough-for-RFC-7636"


def form(system: Running, path: str, origin: str, **fields: str) -> urllib3.BaseHTTPResponse:
    headers = {"Origin": origin}
    return system.http.request(
        "POST", path, fields=fields, encode_multipart=False, headers=headers, redirect=False
    )


def page_signs_in(system: Running, button: str) -> dict[str, Any]:
    """What web/ does: the code flow with PKCE, through the page's one click."""
    told = system.request("GET", "/version").json()["sign_in"]
    here, client = system.api_url, told["client_id"]
    assert told["hosted_ui"].startswith(system.aws_url)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
    asked = {
        "response_type": "code",
        "client_id": client,
        "redirect_uri": here,
        "scope": "openid email",
        "state": "st",
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    url = f"{told['hosted_ui']}/oauth2/authorize"
    page = system.http.request("GET", url, fields=asked, redirect=False).data.decode()
    ticket = re.search(r'name="ticket" value="([^"]+)"', page)
    user = re.search(rf'value="([^"]+)"[^>]*>Continue as {re.escape(button)}<', page)
    assert ticket, page
    assert user, page
    sent = form(system, url, system.aws_url, ticket=ticket[1], user=user[1])
    assert sent.status == 303, sent.data
    back = urlsplit(sent.headers["Location"])
    assert f"{back.scheme}://{back.netloc}" == here
    code = parse_qs(back.query)["code"][0]
    fields = {"grant_type": "authorization_code", "client_id": client, "redirect_uri": here}
    answer = form(
        system, f"{told['hosted_ui']}/oauth2/token", here, code=code, code_verifier=VERIFIER, **fields
    )
    assert answer.status == 200, answer.data
    return dict(answer.json())


def test_the_page_signs_in_with_one_click_and_the_first_user_has_a_profile(system: Running) -> None:
    user = system.info["user"]
    token = page_signs_in(system, user["email"])["access_token"]
    answer = system.request("GET", "/items", headers={"Authorization": f"Bearer {token}"})
    assert answer.status == 200
    with psycopg.connect(system.info["database_url"]) as database:
        found = database.execute(
            "SELECT email, status, subscription_tier FROM user_profiles WHERE user_id = %s", (user["sub"],)
        ).fetchone()
        tried = database.execute(
            "SELECT event, outcome FROM audit_log WHERE user_id = %s", (user["sub"],)
        ).fetchall()
    assert found == (user["email"], "active", "free")
    assert ("sign_in", "allowed") in tried


def test_an_identity_token_is_no_key_to_the_api(system: Running) -> None:
    token = page_signs_in(system, system.info["user"]["email"])["id_token"]
    answer = system.request("GET", "/items", headers={"Authorization": f"Bearer {token}"})
    assert (answer.status, answer.json()["type"]) == (401, "urn:problem-type:magpie:not-signed-in")


def test_a_suspended_person_is_refused_until_they_are_not(system: Running, bert: Person) -> None:
    with psycopg.connect(system.info["database_url"], autocommit=True) as database:

        def become(status: str) -> None:
            database.execute("UPDATE user_profiles SET status = %s WHERE user_id = %s", (status, bert.sub))

        become("suspended")
        try:
            with pytest.raises(ClientError, match="This account is suspended") as raised:
                bert.sign_in(system)
            assert raised.value.response["Error"]["Code"] == "UserLambdaValidationException"
        finally:
            become("active")
    bert.sign_in(system)


def test_nobody_signs_up_by_themselves_nor_twice(system: Running, anna: Person) -> None:
    cognito = system.client("cognito-idp")
    with pytest.raises(ClientError, match="SignUp is not permitted"):
        cognito.sign_up(
            ClientId=system.info["sign_in"]["client_id"],
            Username="eve@magpie.test",
            Password="long enough 12",
        )
    with pytest.raises(ClientError, match="There is an account with this e-mail address already"):
        system.new_user("Anna+again@Magpie.test", "long enough 12")


def test_a_page_of_another_name_is_refused(system: Running) -> None:
    """A name that was bent to this machine, so that a page elsewhere could read it."""
    answer = system.http.request(
        "GET", f"{system.aws_url}/sign-in/oauth2/authorize", headers={"Host": "evil.example"}
    )
    assert answer.status == 403
