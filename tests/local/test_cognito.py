"""The local Cognito: triggers are asked as by Cognito, sign-ins can be ended, the page signs people in."""

import base64
import hashlib
import json
import re
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP
from moto.cognitoidp.models import cognitoidp_backends
from werkzeug.test import Client
from werkzeug.test import TestResponse as Answer

from local.refresh_tokens import RefreshTokens
from tests.local.signing_in import ACCOUNT, ORIGIN, PASSWORD, REGION, UserPool, user_pool

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "sign_in.json"
    RefreshTokens(path)
    return path


@pytest.fixture
def aws_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)


@pytest.fixture
def make(keys: Path, tmp_path: Path, aws_settings: None) -> Callable[..., Any]:
    """Open the pool that this test's folder keeps."""
    return lambda **settings: user_pool(keys, tmp_path, **settings)


@pytest.fixture
def pool(make: Callable[..., Any]) -> Iterator[UserPool]:
    with make() as made:
        yield made


def refused(call: Callable[[], Any]) -> tuple[str, str]:
    with pytest.raises(ClientError) as raised:
        call()
    error = raised.value.response["Error"]
    return error["Code"], error["Message"]


def sign_up(pool: UserPool, email: str = "ada@example.com", password: str = PASSWORD) -> dict[str, Any]:
    return dict(pool.client.sign_up(ClientId=pool.client_id, Username=email, Password=password))


def moto_pool(pool: UserPool) -> Any:
    return cognitoidp_backends[ACCOUNT][REGION].user_pools[pool.id]


def shape(value: Any) -> Any:
    """The names in a JSON value, without what they hold."""
    return {key: shape(inner) for key, inner in value.items()} if isinstance(value, dict) else None


def sample(name: str) -> Any:
    return json.loads((ROOT / "events" / "samples" / f"{name}.json").read_text())


# Triggers


def test_triggers_are_asked_in_the_shape_that_cognito_sends(pool: UserPool) -> None:
    """The samples, which the functions are run with, were taken from its documentation."""
    sign_up(pool)
    pool.client.confirm_sign_up(ClientId=pool.client_id, Username="ada@example.com", ConfirmationCode="1")
    refresh = pool.sign_in()["RefreshToken"]
    pool.renew(refresh)
    refused(lambda: pool.sign_in("nobody@example.com"))
    asked = {event["triggerSource"]: event for event in pool.asked if "userNotFound" not in event["request"]}
    (nobody,) = [event for event in pool.asked if "userNotFound" in event["request"]]
    for event, name in (
        (asked["PreSignUp_SignUp"], "pre_sign_up/sign_up"),
        (asked["PostConfirmation_ConfirmSignUp"], "post_confirmation/confirm_sign_up"),
        (asked["PreAuthentication_Authentication"], "pre_authentication/sign_in"),
        (asked["TokenGeneration_RefreshTokens"], "pre_authentication/renewal"),
        (nobody, "pre_authentication/user_not_found"),
    ):
        there = sample(name)
        assert shape(event) == shape(there), name
        same = ("version", "callerContext", "response")
        assert {key: event[key] for key in same if key != "callerContext"} == {
            key: there[key] for key in same if key != "callerContext"
        }
    assert asked["PreAuthentication_Authentication"]["request"]["userAttributes"]["email_verified"] == "true"


def test_an_administrators_user_is_asked_about_before_they_are_made(pool: UserPool) -> None:
    pool.client.admin_create_user(
        UserPoolId=pool.id,
        Username="ada@example.com",
        UserAttributes=[{"Name": "email_verified", "Value": "true"}],
    )
    (event,) = pool.asked
    assert shape(event) == shape(sample("pre_sign_up/admin_create_user"))
    assert event["callerContext"]["clientId"] == "CLIENT_ID_NOT_APPLICABLE"


def test_a_refused_sign_up_leaves_nobody_and_says_why(pool: UserPool) -> None:
    pool.refuse("PreSignUp_SignUp", "Not you")
    assert refused(lambda: sign_up(pool)) == (
        "UserLambdaValidationException", "PreSignUp failed with error Not you."
    )  # fmt: skip
    assert pool.client.list_users(UserPoolId=pool.id)["Users"] == []
    pool.answer = lambda event: event
    assert sign_up(pool)["UserConfirmed"] is False


def test_a_refused_administrator_makes_nobody(pool: UserPool) -> None:
    pool.refuse("PreSignUp_AdminCreateUser", "Twice")
    code, _ = refused(lambda: pool.add())
    assert code == "UserLambdaValidationException"
    assert pool.client.list_users(UserPoolId=pool.id)["Users"] == []


def test_a_trigger_may_confirm_somebody_at_once(pool: UserPool) -> None:
    pool.answer = lambda event: (
        event | {"response": {"autoConfirmUser": True, "autoVerifyEmail": True, "autoVerifyPhone": False}}
    )
    assert sign_up(pool)["UserConfirmed"] is True
    assert pool.sources() == ["PreSignUp_SignUp", "PostConfirmation_ConfirmSignUp"]


def test_where_only_administrators_make_users_nobody_else_does(make: Callable[..., Any]) -> None:
    with make(AdminCreateUserConfig={"AllowAdminCreateUserOnly": True}) as pool:
        code, message = refused(lambda: sign_up(pool))
        assert (code, message) == (
            "NotAuthorizedException", "SignUp is not permitted for this user pool"
        )  # fmt: skip
        assert pool.asked == []
        pool.add()


def test_nobody_is_confirmed_twice(pool: UserPool) -> None:
    sign_up(pool)
    confirm = {"ClientId": pool.client_id, "Username": "ada@example.com", "ConfirmationCode": "1"}
    pool.client.confirm_sign_up(**confirm)
    assert refused(lambda: pool.client.confirm_sign_up(**confirm))[0] == "NotAuthorizedException"
    assert pool.sources() == ["PreSignUp_SignUp", "PostConfirmation_ConfirmSignUp"]


def test_a_forgotten_password_is_told_as_one(pool: UserPool) -> None:
    pool.add()
    pool.client.confirm_forgot_password(
        ClientId=pool.client_id, Username="ada@example.com", ConfirmationCode="1", Password="another word 22"
    )
    assert pool.sources() == ["PostConfirmation_ConfirmForgotPassword"]
    pool.sign_in(password="another word 22")


def test_a_sign_in_is_asked_about_before_the_password(pool: UserPool) -> None:
    pool.add()
    assert refused(lambda: pool.sign_in(password="wrong"))[0] == "NotAuthorizedException"
    assert pool.sources() == ["PreAuthentication_Authentication"]
    pool.sign_in()
    assert pool.sources() == ["PreAuthentication_Authentication", "TokenGeneration_Authentication"]


def test_a_suspended_user_gets_neither_in_nor_further(pool: UserPool) -> None:
    pool.add()
    refresh = pool.sign_in()["RefreshToken"]
    pool.refuse("PreAuthentication_Authentication", "Suspended")
    assert refused(pool.sign_in) == (
        "UserLambdaValidationException", "PreAuthentication failed with error Suspended."
    )  # fmt: skip
    pool.refuse("TokenGeneration_RefreshTokens", "Suspended")
    assert refused(lambda: pool.renew(refresh))[0] == "UserLambdaValidationException"


def test_a_trigger_that_runs_out_of_time_or_answers_nonsense_lets_nobody_in(pool: UserPool) -> None:
    pool.add()
    pool.error = "Sandbox.Timedout"
    pool.refuse("PreAuthentication_Authentication", "Task timed out after 5.00 seconds")
    assert refused(pool.sign_in)[0] == "UnexpectedLambdaException"
    for nonsense in (None, [], {}, {"response": None}):
        pool.answer = lambda event, nonsense=nonsense: nonsense
        assert refused(pool.sign_in)[0] == "InvalidLambdaResponseException"


def test_nobody_is_refused_in_the_words_of_a_wrong_password(pool: UserPool) -> None:
    pool.add()
    assert refused(lambda: pool.sign_in("nobody@example.com")) == refused(
        lambda: pool.sign_in(password="wrong")
    )


def test_an_address_may_be_written_in_capitals(pool: UserPool) -> None:
    sub = pool.add()
    claims = jwt.decode(pool.sign_in("ADA@Example.com")["IdToken"], options={"verify_signature": False})
    assert (claims["sub"], claims["email"]) == (sub, "ada@example.com")
    assert refused(lambda: sign_up(pool, "Ada@EXAMPLE.com"))[0] == "UsernameExistsException"


def test_a_session_is_no_way_into_another_account(pool: UserPool) -> None:
    pool.client.admin_create_user(
        UserPoolId=pool.id, Username="eve@example.com", TemporaryPassword="temporary 1234"
    )
    pool.add()
    begun = pool.sign_in("eve@example.com", "temporary 1234")
    assert begun["ChallengeName"] == "NEW_PASSWORD_REQUIRED"

    def choose(email: str) -> Any:
        return pool.client.respond_to_auth_challenge(
            ClientId=pool.client_id,
            ChallengeName="NEW_PASSWORD_REQUIRED",
            Session=begun["Session"],
            ChallengeResponses={"USERNAME": email, "NEW_PASSWORD": "chosen by eve 1"},
        )

    assert refused(lambda: choose("ada@example.com"))[0] == "NotAuthorizedException"
    pool.sign_in()
    assert choose("eve@example.com")["AuthenticationResult"]["AccessToken"]
    assert pool.sources()[-1] == "TokenGeneration_NewPasswordChallenge"


# Tokens


def test_a_revoked_sign_in_stays_so_and_others_go_on(make: Callable[..., Any]) -> None:
    with make() as pool:
        pool.add()
        ended, other = pool.sign_in(), pool.sign_in()
        pool.client.revoke_token(Token=ended["RefreshToken"], ClientId=pool.client_id)
        assert refused(lambda: pool.renew(ended["RefreshToken"]))[0] == "NotAuthorizedException"
        assert refused(lambda: pool.client.get_user(AccessToken=ended["AccessToken"]))
        pool.client.get_user(AccessToken=other["AccessToken"])
        pool.client.revoke_token(Token=ended["RefreshToken"], ClientId=pool.client_id)
        pool.client.revoke_token(Token="nonsense", ClientId=pool.client_id)
    with make() as pool:  # as after a restart
        assert refused(lambda: pool.renew(ended["RefreshToken"]))[0] == "NotAuthorizedException"
        assert pool.renew(other["RefreshToken"])["AccessToken"]
        wrong = {"Token": other["RefreshToken"], "ClientId": "another"}
        assert refused(lambda: pool.client.revoke_token(**wrong))[0] == "UnauthorizedException"


def test_signing_out_everywhere_ends_every_sign_in_until_then(make: Callable[..., Any]) -> None:
    with make() as pool:
        pool.add()
        pool.add("bert@example.com")
        old, berts = pool.sign_in()["RefreshToken"], pool.sign_in("bert@example.com")["RefreshToken"]
        pool.client.admin_user_global_sign_out(UserPoolId=pool.id, Username="ada@example.com")
        new = pool.sign_in()["RefreshToken"]
    with make() as pool:
        assert refused(lambda: pool.renew(old))[0] == "NotAuthorizedException"
        pool.renew(new)
        pool.renew(berts)
        pool.client.admin_disable_user(UserPoolId=pool.id, Username="ada@example.com")
        assert refused(lambda: pool.renew(new))[0] == "NotAuthorizedException"


def test_a_refresh_token_ends_by_itself_and_cannot_be_made_up(keys: Path) -> None:
    tokens = RefreshTokens(keys)
    good, _ = tokens.issue("client", "sub", "openid", 60)
    assert tokens.read(good)
    over, _ = tokens.issue("client", "sub", "openid", -1)
    assert tokens.read(over) is None
    said, _, signature = good.partition(".")
    for made_up in (
        "",
        ".",
        said,
        f"{said}.",
        f"{said}x.{signature}",
        f"{said}.{signature[:-1]}",
        "ü.\ud800",
    ):
        assert tokens.read(made_up) is None
    elsewhere = RefreshTokens(keys.with_name("another.json"))
    assert elsewhere.read(good) is None
    assert elsewhere.private_key["n"] != tokens.private_key["n"], "each data folder has its own key"
    assert stat.S_IMODE(keys.stat().st_mode) == 0o600


def test_the_published_key_is_the_one_that_signs_and_nothing_private(keys: Path, pool: UserPool) -> None:
    pool.add()
    (key,) = RefreshTokens(keys).public_keys["keys"]
    assert set(key) == {"kty", "n", "e", "kid", "alg", "use"}
    public = jwt.PyJWK.from_dict(key)
    claims = jwt.decode(
        pool.sign_in()["AccessToken"], public, algorithms=["RS256"], options={"verify_aud": False}
    )
    assert (claims["token_use"], claims["client_id"]) == ("access", pool.client_id)


def test_a_client_is_called_the_same_whatever_the_address_of_its_page(make: Callable[..., Any]) -> None:
    with make() as pool:
        first = (pool.id, pool.client_id)
    with make(MfaConfiguration="OFF") as pool:
        assert (pool.id, pool.client_id) == first


# The second factor


def code() -> str:
    """What an authenticator shows now, with the secret that moto gives everybody."""
    key = base64.b32decode("ASDFASDFASDF====")
    return TOTP(key, 6, SHA1(), 30, enforce_key_length=False).generate(int(time.time())).decode()  # noqa: S303


def with_second_factor(pool: UserPool) -> None:
    access = pool.sign_in()["AccessToken"]
    assert pool.client.associate_software_token(AccessToken=access)["SecretCode"]
    pool.client.verify_software_token(AccessToken=access, UserCode=code())
    pool.client.set_user_mfa_preference(
        AccessToken=access, SoftwareTokenMfaSettings={"Enabled": True, "PreferredMfa": True}
    )
    pool.users.save()


def test_a_second_factor_is_asked_for_and_looked_at_also_after_a_restart(make: Callable[..., Any]) -> None:
    with make() as pool:
        pool.add()
        with_second_factor(pool)
    with make() as pool:
        begun = pool.sign_in()
        assert begun["ChallengeName"] == "SOFTWARE_TOKEN_MFA"

        def answer(digits: str) -> Any:
            return pool.client.respond_to_auth_challenge(
                ClientId=pool.client_id,
                ChallengeName="SOFTWARE_TOKEN_MFA",
                Session=begun["Session"],
                ChallengeResponses={"USERNAME": "ada@example.com", "SOFTWARE_TOKEN_MFA_CODE": digits},
            )

        for wrong in ("000000", "12", "abcdef"):
            assert refused(lambda wrong=wrong: answer(wrong))[0] == "CodeMismatchException"
        assert answer(code())["AuthenticationResult"]["AccessToken"]


# The sign-in page

VERIFIER = "a-verifier-of-the-page-that-is-long-enough-for-RFC-7636"
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()


class Browser:
    """Somebody in front of the page, coming from an application."""

    def __init__(self, pool: UserPool) -> None:
        self.pool = pool
        self.http = Client(pool.page, Answer)

    def authorize(self, **changed: str | None) -> Answer:
        query = {
            "response_type": "code",
            "client_id": self.pool.client_id,
            "redirect_uri": ORIGIN,
            "scope": "openid email",
            "state": "s t&te",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
            **changed,
        }
        given = {name: value for name, value in query.items() if value is not None}
        return self.http.get("/sign-in/oauth2/authorize", query_string=given)

    def ticket(self, **changed: str) -> str:
        return hidden(self.authorize(**changed), "ticket")

    def submit(self, form: dict[str, str], **headers: str) -> Answer:
        sent = {"Origin": "http://localhost", **{n.replace("_", "-"): v for n, v in headers.items()}}
        return self.http.post("/sign-in/oauth2/authorize", data=form, headers=sent)

    def sign_in(self, **changed: str) -> str:
        """Sign in with a password, and return the code."""
        form = {"ticket": self.ticket(**changed), "email": "ada@example.com", "password": PASSWORD}
        return code_of(self.submit(form))

    def token(self, **form: str) -> Answer:
        given = {
            "grant_type": "authorization_code",
            "client_id": self.pool.client_id,
            "redirect_uri": ORIGIN,
            "code_verifier": VERIFIER,
            **form,
        }
        return self.http.post("/sign-in/oauth2/token", data=given, headers={"Origin": ORIGIN})

    def renew(self, refresh_token: str, client_id: str | None = None) -> Answer:
        given = {
            "grant_type": "refresh_token",
            "client_id": client_id or self.pool.client_id,
            "refresh_token": refresh_token,
        }
        return self.http.post("/sign-in/oauth2/token", data=given)


def hidden(page: Answer, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', page.text)
    assert found, page.text
    return found[1]


def code_of(answer: Answer) -> str:
    assert answer.status_code == 303, answer.text
    return parse_qs(urlsplit(answer.location).query)["code"][0]


def error_of(answer: Answer) -> str:
    assert answer.status_code == 400
    assert answer.headers["Cache-Control"] == "no-store"
    return str(answer.json["error"])  # type: ignore[index]


@pytest.fixture
def browser(pool: UserPool) -> Browser:
    pool.add()
    return Browser(pool)


def test_one_click_signs_in_through_the_triggers(browser: Browser, pool: UserPool) -> None:
    page = browser.authorize()
    assert "Continue as ada@example.com" in page.text
    answer = browser.submit({"ticket": hidden(page, "ticket"), "user": moto_user(pool).id})
    assert pool.sources() == ["PreAuthentication_Authentication", "TokenGeneration_Authentication"]
    back = urlsplit(answer.location)
    assert (f"{back.scheme}://{back.netloc}", parse_qs(back.query)["state"]) == (ORIGIN, ["s t&te"])
    tokens = browser.token(code=code_of(answer))
    assert tokens.status_code == 200
    assert tokens.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert tokens.headers["Cache-Control"] == "no-store"
    assert set(tokens.json or {}) == {"access_token", "id_token", "refresh_token", "token_type", "expires_in"}
    access = jwt.decode(tokens.json["access_token"], options={"verify_signature": False})  # type: ignore[index]
    assert (access["sub"], access["scope"], access["token_use"]) == (
        moto_user(pool).id, "openid email", "access"
    )  # fmt: skip
    renewed = browser.renew(tokens.json["refresh_token"])  # type: ignore[index]
    assert set(renewed.json or {}) == {"access_token", "id_token", "token_type", "expires_in"}
    again = jwt.decode(renewed.json["access_token"], options={"verify_signature": False})  # type: ignore[index]
    assert again["scope"] == "openid email"
    assert pool.sources() == ["TokenGeneration_RefreshTokens"]


def moto_user(pool: UserPool) -> Any:
    return moto_pool(pool)._get_user("ada@example.com")


def test_a_password_signs_in_and_a_wrong_one_is_told(browser: Browser) -> None:
    form = {"ticket": browser.ticket(), "email": "ada@example.com", "password": "wrong"}
    again = browser.submit(form)
    assert (again.status_code, "Incorrect username or password." in again.text) == (200, True)
    assert 'value="ada@example.com"' in again.text
    assert browser.token(code=browser.sign_in()).status_code == 200


def test_a_refusal_of_a_trigger_is_shown(browser: Browser, pool: UserPool) -> None:
    pool.refuse("PreAuthentication_Authentication", "<b>Suspended</b>")
    page = browser.submit({"ticket": browser.ticket(), "user": moto_user(pool).id})
    assert "&lt;b&gt;Suspended&lt;/b&gt;" in page.text
    assert "failed with error" not in page.text


def test_a_temporary_password_is_changed_on_the_page(browser: Browser, pool: UserPool) -> None:
    pool.client.admin_create_user(
        UserPoolId=pool.id, Username="eve@example.com", TemporaryPassword="temporary 1234"
    )
    assert "eve@example.com" not in browser.authorize().text, "whose password nobody has chosen"
    form = {"ticket": browser.ticket(), "email": "eve@example.com", "password": "temporary 1234"}
    page = browser.submit(form)
    assert "Choose a password" in page.text
    form = {name: hidden(page, name) for name in ("ticket", "session", "challenge", "email")}
    page = browser.submit({**form, "answer": "short"})
    assert "Choose a password" in page.text
    assert 'role="alert"' in page.text
    assert (
        browser.token(code=code_of(browser.submit({**form, "answer": "chosen by eve 1"}))).status_code == 200
    )
    assert "chosen by eve 1" in pool.users.path.read_text()


def test_a_second_factor_is_asked_for_on_the_page(browser: Browser, pool: UserPool) -> None:
    with_second_factor(pool)
    page = browser.submit({"ticket": browser.ticket(), "user": moto_user(pool).id})
    assert "authenticator" in page.text
    form = {name: hidden(page, name) for name in ("ticket", "session", "challenge", "email")}
    assert "authenticator" in browser.submit({**form, "answer": "000000"}).text
    assert browser.token(code=code_of(browser.submit({**form, "answer": code()}))).status_code == 200


def test_the_page_cannot_be_framed_kept_or_given_scripts(browser: Browser) -> None:
    headers = browser.authorize().headers
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Frame-Options"] == "DENY"
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert f"form-action 'self' {ORIGIN}" in policy
    assert "unsafe" not in policy
    assert "script" not in policy


def test_nobody_is_sent_to_where_the_client_does_not_live(browser: Browser) -> None:
    wrong: list[dict[str, str | None]] = [
        {"client_id": "another"},
        {"client_id": None},
        {"redirect_uri": "https://evil.example"},
        {"redirect_uri": ORIGIN + "/"},
        {"redirect_uri": ORIGIN + ".evil.example"},
        {"redirect_uri": None},
    ]
    for changed in wrong:
        answer = browser.authorize(**changed)
        assert answer.status_code == 400, changed
        assert "Location" not in answer.headers
        assert "Continue as" not in answer.text


def test_an_application_is_told_what_it_asks_wrongly(browser: Browser) -> None:
    wrong: list[tuple[dict[str, str | None], str]] = [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": None}, "unsupported_response_type"),
        ({"state": None}, "invalid_request"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"scope": "openid aws.cognito.signin.user.admin"}, "invalid_scope"),
    ]
    for changed, error in wrong:
        answer = browser.authorize(**changed)
        assert answer.status_code == 303, changed
        assert answer.location.startswith(ORIGIN + "?")
        assert parse_qs(urlsplit(answer.location).query)["error"] == [error]


def test_a_parameter_that_stands_there_twice_is_none(browser: Browser) -> None:
    query = f"client_id={browser.pool.client_id}&redirect_uri={ORIGIN}&redirect_uri=https://evil.example"
    assert browser.http.get(f"/sign-in/oauth2/authorize?{query}").status_code == 400


def test_a_way_back_with_a_query_keeps_it(browser: Browser) -> None:
    form = {"email": "ada@example.com", "password": PASSWORD}
    ticket = browser.ticket(redirect_uri="https://app.example/back?here=1")
    assert browser.submit({**form, "ticket": ticket}).location.startswith(
        "https://app.example/back?here=1&code="
    )


def test_a_form_of_another_page_does_nothing(browser: Browser, pool: UserPool) -> None:
    form = {"ticket": browser.ticket(), "user": moto_user(pool).id}
    pool.asked.clear()
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": ORIGIN},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ):
        assert browser.submit(form, **headers).status_code == 400
    for ticket in ("", "x.y", form["ticket"][:-1], "A" + form["ticket"]):
        assert browser.submit({**form, "ticket": ticket}).status_code == 400
    assert browser.submit({**form, "user": "nobody"}).status_code == 400
    assert pool.asked == []


def test_a_ticket_belongs_to_what_was_asked_and_ends(pool: UserPool) -> None:
    pool.add()
    now = [1000.0]
    pool.page._clock = lambda: now[0]
    browser = Browser(pool)
    form = {"ticket": browser.ticket(), "user": moto_user(pool).id}
    now[0] += 601
    assert "too long" in browser.submit(form).text
    code = browser.sign_in()
    now[0] += 61
    assert error_of(browser.token(code=code)) == "invalid_grant"


def test_a_code_is_for_the_one_who_asked(browser: Browser) -> None:
    wrong = [
        ({"code_verifier": VERIFIER + "x"}, "invalid_grant"),
        ({"code_verifier": CHALLENGE}, "invalid_grant"),
        ({"code_verifier": ""}, "invalid_grant"),
        ({"redirect_uri": "https://app.example/back?here=1"}, "invalid_grant"),
        ({"redirect_uri": ""}, "invalid_grant"),
        ({"code": "made up"}, "invalid_grant"),
        ({"code": ""}, "invalid_grant"),
        ({"client_id": "another"}, "invalid_client"),
        ({"client_id": ""}, "invalid_client"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": ""}, "unsupported_grant_type"),
    ]
    for changed, error in wrong:
        assert error_of(browser.token(**{"code": browser.sign_in(), **changed})) == error, changed


def test_a_code_that_is_used_twice_ends_what_came_of_it(browser: Browser) -> None:
    code = browser.sign_in()
    refresh = browser.token(code=code).json["refresh_token"]  # type: ignore[index]
    assert browser.renew(refresh).status_code == 200
    assert error_of(browser.token(code=code)) == "invalid_grant"
    assert error_of(browser.renew(refresh)) == "invalid_grant"


def test_a_failed_attempt_uses_a_code_up(browser: Browser) -> None:
    code = browser.sign_in()
    assert error_of(browser.token(code=code, code_verifier="x" * 43)) == "invalid_grant"
    assert error_of(browser.token(code=code)) == "invalid_grant"


def test_a_sign_in_of_the_page_is_revoked(browser: Browser) -> None:
    refresh = browser.token(code=browser.sign_in()).json["refresh_token"]  # type: ignore[index]
    form = {"token": refresh, "client_id": browser.pool.client_id}
    for _ in range(2):
        answer = browser.http.post("/sign-in/oauth2/revoke", data=form, headers={"Origin": ORIGIN})
        assert (answer.status_code, answer.data) == (200, b"")
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert error_of(browser.renew(refresh)) == "invalid_grant"
    assert error_of(browser.http.post("/sign-in/oauth2/revoke", data={"client_id": form["client_id"]}))
    assert error_of(browser.http.post("/sign-in/oauth2/revoke", data={**form, "client_id": "x"}))


def test_only_pages_that_may_sign_people_in_read_the_tokens(browser: Browser) -> None:
    for origin, known in ((ORIGIN, True), ("https://app.example", True), ("https://evil.example", False)):
        for method in ("POST", "OPTIONS"):
            answer = browser.http.open("/sign-in/oauth2/token", method=method, headers={"Origin": origin})
            assert ("Access-Control-Allow-Origin" in answer.headers) is known
    assert "Access-Control-Allow-Origin" not in browser.authorize().headers


def test_what_is_no_form_is_refused(browser: Browser) -> None:
    for kind, body in (
        ("application/json", b"{}"),
        ("", b""),
        ("application/x-www-form-urlencoded", b"client_id=a&client_id=b"),
        ("application/x-www-form-urlencoded", b"x=" + b"y" * 40_000),
        ("application/x-www-form-urlencoded", b"&".join(b"a%d=1" % n for n in range(100))),
        ("application/x-www-form-urlencoded", b"client_id=%ff%00&grant_type=\xff"),
    ):
        answer = browser.http.post("/sign-in/oauth2/token", data=body, content_type=kind)
        assert error_of(answer) in ("invalid_request", "invalid_client")


def test_signing_out_leads_back_to_the_application_and_nowhere_else(browser: Browser) -> None:
    query = {"client_id": browser.pool.client_id, "logout_uri": ORIGIN}
    answer = browser.http.get("/sign-in/logout", query_string=query)
    assert (answer.status_code, answer.location) == (302, ORIGIN)
    for changed in ({"logout_uri": "https://evil.example"}, {"client_id": "x"}, {"logout_uri": ""}):
        answer = browser.http.get("/sign-in/logout", query_string={**query, **changed})
        assert (answer.status_code, "Location" in answer.headers) == (400, False)
    assert browser.http.get("/sign-in/anything").status_code == 404
