"""The sign-in page of one machine, in the place of Cognito's hosted UI, and its OAuth endpoints.

    GET  /sign-in/oauth2/authorize    the page: one button per user, or an address and a password
    POST /sign-in/oauth2/authorize    signs in by moto's own path, triggers included, and sends back a code
    POST /sign-in/oauth2/token        authorization_code with PKCE, refresh_token
    POST /sign-in/oauth2/revoke       RFC 7009
    GET  /sign-in/logout              back to where somebody came from

It asks for more than Cognito does (PKCE always), and otherwise answers in its manner. The one click is
worth a password because whoever reaches the page is on this machine, and everything of it is theirs:
https://docs.aws.amazon.com/cognito/latest/developerguide/cognito-userpools-server-contract-reference.html
"""

import base64
import hashlib
import hmac
import json
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from local.cognito import Cognito, email_of
from local.refresh_tokens import Refresh
from local.users import UserStore

PREFIX = "/sign-in"
AUTHORIZE = f"{PREFIX}/oauth2/authorize"
CODE_SECONDS = 60.0
"""How long a code may be used. The page uses it at once."""
TICKET_SECONDS = 600.0
"""How long the page may stay open before its form is too old."""
MAX_BODY_BYTES = 32 * 1024
MAX_BUTTONS = 12
FORM = "application/x-www-form-urlencoded"

_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")
_HEADERS = {
    "Cache-Control": "no-store",
    "Pragma": "no-cache",
    "X-Content-Type-Options": "nosniff",
    # Not no-referrer: browsers would then say that a form comes from nowhere.
    "Referrer-Policy": "same-origin",
}

StartResponse = Callable[..., Any]
Environ = Mapping[str, Any]


@dataclass(frozen=True)
class Asked:
    """What the page of an application asks for, looked at and found right."""

    client_id: str
    redirect_uri: str
    state: str
    challenge: str
    scope: str


@dataclass
class Grant:
    """A code that was given out, until it is used or too old.

    Attributes:
        issued: what it was exchanged for, so that a second use can end it.
    """

    asked: Asked
    sub: str
    ends_at: float
    issued: Refresh | None = field(default=None)
    used: bool = field(default=False)


class OAuthError(Exception):
    """An answer of RFC 6749: `code` is one of its error codes."""

    def __init__(self, code: str, description: str, status: int = 400) -> None:
        super().__init__(description)
        self.code = code
        self.status = status


class _BackError(OAuthError):
    """One that is told to the application, where it asked to be called back."""

    def __init__(self, code: str, description: str, redirect_uri: str, state: str) -> None:
        super().__init__(code, description)
        self.redirect_uri = redirect_uri
        self.state = state


class _PageError(Exception):
    """Nothing that could be sent back to an application: somebody has to read it here."""


class SignInPage:
    """A WSGI application for everything below `PREFIX`.

    Args:
        clock: seconds since 1970.
    """

    def __init__(self, cognito: Cognito, users: UserStore, clock: Callable[[], float] = time.time) -> None:
        self._cognito = cognito
        self._users = users
        self._clock = clock
        self._secret = secrets.token_bytes(32)
        self._grants: dict[str, Grant] = {}
        self._lock = threading.Lock()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path, method = environ.get("PATH_INFO", ""), environ["REQUEST_METHOD"]
        match method, path.removeprefix(PREFIX):
            case "GET", "/oauth2/authorize":
                return self._page(environ, start_response, self._authorize)
            case "POST", "/oauth2/authorize":
                return self._page(environ, start_response, self._submit)
            case "GET", "/logout":
                return self._page(environ, start_response, self._logout)
            case "POST", "/oauth2/token":
                return self._program(environ, start_response, self._token)
            case "POST", "/oauth2/revoke":
                return self._program(environ, start_response, self._revoke)
            case "OPTIONS", "/oauth2/token" | "/oauth2/revoke":
                return self._send(start_response, 204, b"", {**self._cors(environ), **_PREFLIGHT})
        return self._send(start_response, 404, b"there is nothing here\n", {"Content-Type": "text/plain"})

    # For people

    def _page(
        self,
        environ: Environ,
        start_response: StartResponse,
        answer: Callable[[Environ], tuple[int, str, dict[str, str]]],
    ) -> Iterable[bytes]:
        try:
            status, body, headers = answer(environ)
        except _PageError as error:
            status, body, headers = self._render(400, None, "refused", reason=str(error))
        except _BackError as error:
            said = {"error": error.code, "error_description": str(error), "state": error.state}
            status, body, headers = _redirect(error.redirect_uri, said)
        return self._send(start_response, status, body.encode(), headers)

    def _authorize(self, environ: Environ) -> tuple[int, str, dict[str, str]]:
        return self._render(200, self._read(_query(environ)), "choose")

    def _submit(self, environ: Environ) -> tuple[int, str, dict[str, str]]:
        own = f"http://{environ.get('HTTP_HOST', '')}"
        if environ.get("HTTP_ORIGIN", own) != own:
            raise _PageError("This form was sent by another page. Go back to where you came from.")
        if environ.get("HTTP_SEC_FETCH_SITE", "same-origin") not in ("same-origin", "none"):
            raise _PageError("This form was sent by another page. Go back to where you came from.")
        form = _form(environ)
        asked = self._ticket(form.get("ticket", ""))
        email = form.get("email", "")
        try:
            user, answer = self._answer(asked, form)
        except Exception as error:
            if not (said := _said(error)):
                raise
            again = form.get("challenge", "")
            step = again if again and said.retry else "choose"
            session = form.get("session", "")
            return self._render(200, asked, step, error=said.text, email=email, session=session)
        if "AuthenticationResult" not in answer:
            step, session = str(answer.get("ChallengeName")), str(answer.get("Session", ""))
            if step not in ("SOFTWARE_TOKEN_MFA", "NEW_PASSWORD_REQUIRED"):
                raise _PageError(f"The user pool asks for {step}, which this page cannot answer.")
            return self._render(200, asked, step, email=email_of(user), session=session)
        self._users.save()
        code = secrets.token_urlsafe(32)
        with self._lock:
            now = self._clock()
            self._grants = {c: grant for c, grant in self._grants.items() if grant.ends_at + 600 > now}
            self._grants[code] = Grant(asked, user.id, now + CODE_SECONDS)
        return _redirect(asked.redirect_uri, {"code": code, "state": asked.state})

    def _answer(self, asked: Asked, form: Mapping[str, str]) -> tuple[Any, Mapping[str, Any]]:
        """Sign in with what the form says; the user, and moto's answer."""
        backend, pool = self._backend(), self._pool(asked.client_id)
        if challenge := form.get("challenge"):
            names = {"SOFTWARE_TOKEN_MFA": "SOFTWARE_TOKEN_MFA_CODE", "NEW_PASSWORD_REQUIRED": "NEW_PASSWORD"}
            if challenge not in names:
                raise _PageError("This form is none of this page's.")
            given = {"USERNAME": form.get("email", ""), names[challenge]: form.get("answer", "")}
            answer = backend.respond_to_auth_challenge(
                form.get("session", ""), asked.client_id, challenge, given
            )
            return pool._get_user(given["USERNAME"]), answer
        if sub := form.get("user"):
            user = next((user for user in self._one_click(pool) if user.id == sub), None)
            if user is None:
                raise _PageError("This user is not there any more.")
            given = {"USERNAME": email_of(user), "PASSWORD": str(user.password)}
        else:
            given = {"USERNAME": form.get("email", ""), "PASSWORD": form.get("password", "")}
        answer = backend.initiate_auth(asked.client_id, "USER_PASSWORD_AUTH", given)
        return pool._get_user(given["USERNAME"]), answer

    def _logout(self, environ: Environ) -> tuple[int, str, dict[str, str]]:
        query = _query(environ)
        client = self._client(query.get("client_id", ""))
        to = query.get("logout_uri", "")
        if to not in (client.extended_config.get("LogoutURLs") or []):
            raise _PageError("logout_uri is not one of the application's.")
        return 302, "", {"Location": to}

    def _read(self, query: Mapping[str, str]) -> Asked:
        """Look at what an application asks for.

        Raises:
            _PageError: nobody who could be told so.
            _BackError: with the place to tell it to.
        """
        client = self._client(query.get("client_id", ""))
        redirect_uri, state = query.get("redirect_uri", ""), query.get("state", "")
        if redirect_uri not in (client.extended_config.get("CallbackURLs") or []):
            raise _PageError("redirect_uri is not one of the application's.")

        def refuse(code: str, description: str) -> _BackError:
            return _BackError(code, description, redirect_uri, state)

        if query.get("response_type") != "code":
            raise refuse("unsupported_response_type", "response_type is code")
        if not state:
            raise refuse("invalid_request", "state is missing")
        if query.get("code_challenge_method") != "S256" or not _CHALLENGE.fullmatch(
            query.get("code_challenge", "")
        ):
            raise refuse("invalid_request", "a code_challenge by S256 is needed")
        allowed = client.extended_config.get("AllowedOAuthScopes") or []
        scopes = query.get("scope", "").split() or allowed
        if not set(scopes) <= set(allowed):
            raise refuse("invalid_scope", "the application may not ask for this scope")
        return Asked(client.id, redirect_uri, state, query["code_challenge"], " ".join(scopes))

    def _render(
        self, status: int, asked: Asked | None, step: str, **values: Any
    ) -> tuple[int, str, dict[str, str]]:
        import jinja2

        nonce = secrets.token_urlsafe(16)
        titles = {
            "SOFTWARE_TOKEN_MFA": "Your second factor",
            "NEW_PASSWORD_REQUIRED": "Choose a password",
            "refused": "This cannot be done",
        }
        users: Sequence[Mapping[str, str]] = ()
        back = ""
        if asked is not None:
            values["ticket"] = self._new_ticket(asked)
            parts = urlsplit(asked.redirect_uri)
            back = f" {parts.scheme}://{parts.netloc}"
            users = [
                {"sub": user.id, "email": email_of(user)}
                for user in self._one_click(self._pool(asked.client_id))
            ]
        source = Path(__file__).with_name("sign_in.html").read_text(encoding="utf-8")
        page = jinja2.Environment(autoescape=True, undefined=jinja2.ChainableUndefined).from_string(source)
        body = page.render(
            title=titles.get(step, "Sign in"), step=step, nonce=nonce, action=AUTHORIZE, users=users, **values
        )
        policy = (
            f"default-src 'none'; style-src 'nonce-{nonce}'; base-uri 'none'; frame-ancestors 'none'; "
            # Browsers hold the way back, after the form, to this list too.
            f"form-action 'self'{back}"
        )
        return (
            status,
            body,
            {
                "Content-Type": "text/html; charset=utf-8",
                "Content-Security-Policy": policy,
                "X-Frame-Options": "DENY",
            },
        )

    def _one_click(self, pool: Any) -> list[Any]:
        """Users whose password is known to be theirs, oldest first."""
        from moto.cognitoidp.models import UserStatus

        ready = [
            user
            for user in list(pool.users.values())
            if user.enabled and user.status is UserStatus.CONFIRMED and user.password and email_of(user)
        ]
        return ready[:MAX_BUTTONS]

    # The form's ticket: what was asked for, signed, so that a form of another page does nothing

    def _new_ticket(self, asked: Asked) -> str:
        said = json.dumps([*vars(asked).values(), self._clock() + TICKET_SECONDS])
        text = base64.urlsafe_b64encode(said.encode()).decode()
        return f"{text}.{self._signed(text)}"

    def _ticket(self, ticket: str) -> Asked:
        text, _, signature = ticket.partition(".")
        if not hmac.compare_digest(self._signed(text).encode(), signature.encode("utf-8", "replace")):
            raise _PageError("This form is none of this page's. Go back to where you came from.")
        *asked, ends_at = json.loads(base64.urlsafe_b64decode(text))
        if ends_at < self._clock():
            raise _PageError("This page was open for too long. Go back to where you came from.")
        return Asked(*asked)

    def _signed(self, text: str) -> str:
        return hmac.new(self._secret, text.encode("utf-8", "replace"), hashlib.sha256).hexdigest()

    # For programs

    def _program(
        self,
        environ: Environ,
        start_response: StartResponse,
        answer: Callable[[Mapping[str, str]], dict[str, Any] | None],
    ) -> Iterable[bytes]:
        headers = {"Content-Type": "application/json", **self._cors(environ)}
        try:
            kind = str(environ.get("CONTENT_TYPE", "")).partition(";")[0].strip().lower()
            if kind != FORM:
                raise OAuthError("invalid_request", f"the body is {FORM}")
            found = answer(_form(environ))
            body = b"" if found is None else json.dumps(found).encode()
            return self._send(start_response, 200, body, headers)
        except _PageError as error:
            refusal = OAuthError("invalid_request", str(error))
        except OAuthError as error:
            refusal = error
        said = json.dumps({"error": refusal.code, "error_description": str(refusal)}).encode()
        return self._send(start_response, refusal.status, said, headers)

    def _token(self, form: Mapping[str, str]) -> dict[str, Any]:
        try:
            client = self._client(form.get("client_id", ""))
        except _PageError as error:
            raise OAuthError("invalid_client", str(error)) from error
        match form.get("grant_type"):
            case "authorization_code":
                refresh_token = self._exchange(client, form)
                answer = self._tokens(client, refresh_token)
                return {**answer, "refresh_token": refresh_token}
            case "refresh_token":
                return self._tokens(client, form.get("refresh_token", ""), renewal=True)
        raise OAuthError("unsupported_grant_type", "grant_type is authorization_code or refresh_token")

    def _exchange(self, client: Any, form: Mapping[str, str]) -> str:
        """Take a code, once, and return the refresh token of the sign-in behind it."""
        pool = self._pool(client.id)
        with self._lock:
            grant = self._grants.get(form.get("code", ""))
            if grant is None:
                raise OAuthError("invalid_grant", "the code is none, or too old")
            replayed, grant.used = grant.used, True
        if replayed:
            # Somebody has read the code on its way: what came of it ends (RFC 6749, 4.1.2).
            if grant.issued is not None:
                self._cognito.tokens.end(grant.issued)
            raise OAuthError("invalid_grant", "the code was used before")
        verifier = form.get("code_verifier", "")
        digest = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode("utf-8", "replace")).digest())
        proved = _VERIFIER.fullmatch(verifier) and hmac.compare_digest(
            digest.rstrip(b"=").decode(), grant.asked.challenge
        )
        user = pool._get_user(grant.sub)
        if (
            grant.ends_at < self._clock()
            or grant.asked.client_id != client.id
            or grant.asked.redirect_uri != form.get("redirect_uri")
            or not proved
            or user is None
        ):
            raise OAuthError("invalid_grant", "the code belongs to another request, or is too old")
        token, _ = self._cognito.new_refresh_token(pool, client.id, user, grant.asked.scope)
        grant.issued = self._cognito.tokens.read(token)
        return token

    def _tokens(self, client: Any, refresh_token: str, *, renewal: bool = False) -> dict[str, Any]:
        try:
            if renewal:
                given = {"REFRESH_TOKEN": refresh_token}
                answer = self._backend().initiate_auth(client.id, "REFRESH_TOKEN_AUTH", given)
                result = answer["AuthenticationResult"]
                access, identity, seconds = result["AccessToken"], result["IdToken"], result["ExpiresIn"]
            else:
                access, identity, seconds = self._pool(client.id).create_tokens_from_refresh_token(
                    refresh_token
                )
        except Exception as error:
            if not (said := _said(error)):
                raise
            raise OAuthError("invalid_grant", said.text) from error
        return {"access_token": access, "id_token": identity, "token_type": "Bearer", "expires_in": seconds}

    def _revoke(self, form: Mapping[str, str]) -> None:
        try:
            client = self._client(form.get("client_id", ""))
        except _PageError as error:
            raise OAuthError("invalid_client", str(error)) from error
        if not form.get("token"):
            raise OAuthError("invalid_request", "token is missing")
        try:
            self._cognito.revoke(form["token"], client.id)
        except Exception as error:
            if not (said := _said(error)):
                raise
            raise OAuthError("unauthorized_client", said.text) from error

    def _cors(self, environ: Environ) -> dict[str, str]:
        """What a browser is told, when the page that asks is one that may sign people in."""
        origin = environ.get("HTTP_ORIGIN")
        if not origin:
            return {}
        known = {
            f"{parts.scheme}://{parts.netloc}"
            for pool in self._users.pools
            for client in pool.clients.values()
            for parts in map(urlsplit, client.extended_config.get("CallbackURLs") or [])
        }
        return {"Access-Control-Allow-Origin": origin, "Vary": "Origin"} if origin in known else {}

    # Who is asked about

    def _backend(self) -> Any:
        from moto.cognitoidp.models import cognitoidp_backends

        return cognitoidp_backends[self._users.account][self._users.region]

    def _pool(self, client_id: str) -> Any:
        return next(pool for pool in self._users.pools if client_id in pool.clients)

    def _client(self, client_id: str) -> Any:
        for pool in self._users.pools:
            if client_id in pool.clients:
                return pool.clients[client_id]
        raise _PageError("Nobody knows this client_id.")

    def _send(
        self, start_response: StartResponse, status: int, body: bytes, headers: Mapping[str, str]
    ) -> Iterable[bytes]:
        sent = {**_HEADERS, **headers, "Content-Length": str(len(body))}
        start_response(f"{status} {HTTPStatus(status).phrase}", list(sent.items()))
        return [body]


_PREFLIGHT = {
    "Access-Control-Allow-Methods": "POST",
    "Access-Control-Allow-Headers": "content-type",
    "Access-Control-Max-Age": "600",
}


@dataclass(frozen=True)
class _Said:
    text: str
    retry: bool


def _said(error: Exception) -> _Said | None:
    """What Cognito says to a person, without its own preface; None of what is a bug."""
    from moto.core.exceptions import JsonRESTError

    if not isinstance(error, JsonRESTError):
        return None
    text = re.sub(r"^[A-Za-z]+ failed with error ", "", error.message or "")
    retry = error.error_type in ("CodeMismatchException", "InvalidPasswordException")
    return _Said(text or "Incorrect username or password.", retry)


def _redirect(to: str, values: Mapping[str, str]) -> tuple[int, str, dict[str, str]]:
    query = urlencode({name: value for name, value in values.items() if value})
    return 303, "", {"Location": f"{to}{'&' if '?' in to else '?'}{query}"}


def _query(environ: Environ) -> dict[str, str]:
    return _once(str(environ.get("QUERY_STRING", "")))


def _form(environ: Environ) -> dict[str, str]:
    if environ.get("wsgi.input_terminated"):
        body: bytes = environ["wsgi.input"].read(MAX_BODY_BYTES + 1)
    else:
        length = str(environ.get("CONTENT_LENGTH") or "0")
        if not length.isdigit() or int(length) > MAX_BODY_BYTES:
            raise _PageError("This is too much.")
        body = environ["wsgi.input"].read(int(length))
    if len(body) > MAX_BODY_BYTES:
        raise _PageError("This is too much.")
    return _once(body.decode("utf-8", "replace"))


def _once(text: str) -> dict[str, str]:
    """Parameters by name; one that stands there twice is none (RFC 6749, 3.1)."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=50)
    except ValueError as error:
        raise _PageError("This is too much.") from error
    names = [name for name, _ in pairs]
    if len(names) != len(set(names)):
        raise _PageError("A parameter stands there twice.")
    return {name: value for name, value in pairs if value}
