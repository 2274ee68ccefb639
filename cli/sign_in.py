"""`magpie login`, `logout` and `whoami`: who you are at a deployment."""

import sys
from datetime import UTC, datetime
from typing import Annotated

import typer

from cli.errors import CommandError, UsageError
from cli.options import ApiUrl, Data, Json


def login(
    email: Annotated[
        str | None,
        typer.Option(envvar="MAGPIE_EMAIL", help="Who you are. Asked for when left out.", show_default=False),
    ] = None,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from stdin instead of asking.")
    ] = False,
    aws_url: Annotated[
        str,
        typer.Option(
            envvar="AWS_ENDPOINT_URL",
            help="AWS endpoint of another Magpie on this machine, whose API has a loopback address.",
        ),
    ] = "http://127.0.0.1:4566",
    json: Json = False,
    data: Data = None,
    api_url: ApiUrl = None,
) -> int:
    """Sign in at a deployment, once: the sign-in is kept and renewed by itself.

    The address is MAGPIE_API_URL's. The Magpie on this machine needs no sign-in.
    """
    from cli.client import Api
    from cli.cognito import Cognito
    from cli.output import Output
    from cli.session import sign_in_endpoint
    from cli.target import choose
    from cli.tokens import TokenFiles

    out = Output(json)
    target = choose(data, api_url)
    if target.stack is not None:
        # Nothing to ask: this checks that the sign-in by itself works.
        return whoami(json=json, data=data, api_url=api_url)
    with Api(target) as api:
        sign_in = api.version().get("sign_in")
    if not isinstance(sign_in, dict) or not {"region", "user_pool_id", "client_id"} <= sign_in.keys():
        raise CommandError("bad_answer", f"{target.api_url} does not say where its users sign in.")
    sign_in = {name: str(sign_in[name]) for name in ("region", "user_pool_id", "client_id")}
    if target.on_this_machine:
        sign_in["endpoint"] = aws_url
    email = email or _ask("E-mail")
    password = sys.stdin.readline().rstrip("\r\n") if password_stdin else _ask("Password", hidden=True)
    if not password:
        raise UsageError("The password is empty.")
    cognito = Cognito(sign_in, sign_in_endpoint(target, sign_in))
    asking = (None, None) if password_stdin or not sys.stdin.isatty() else (_ask_new_password, _ask_code)
    tokens = cognito.sign_in_with_password(target.api_url, email, password, *asking)
    TokenFiles().write(tokens)
    if json:
        out.document({"api_url": target.api_url, "email": email, "sub": tokens.sub})
    else:
        out.line(f"Signed in at {target.api_url} as {email}.")
    return 0


def logout(json: Json = False, data: Data = None, api_url: ApiUrl = None) -> int:
    """Sign out at a deployment: the kept sign-in is ended and forgotten."""
    from cli.cognito import Cognito
    from cli.output import Output
    from cli.session import sign_in_endpoint
    from cli.target import choose
    from cli.tokens import TokenFiles

    out = Output(json)
    target = choose(data, api_url)
    files = TokenFiles()
    tokens = files.read(target.api_url)
    revoked = False
    if tokens is not None and tokens.refresh_token:
        try:
            Cognito(tokens.sign_in, sign_in_endpoint(target, tokens.sign_in)).revoke(tokens)
            revoked = True
        except CommandError as error:
            out.note(f"The sign-in is forgotten here but could not be ended there: {error.message}", "yellow")
    files.forget(target.api_url)
    if json:
        out.document({"api_url": target.api_url, "signed_out": tokens is not None, "revoked": revoked})
    else:
        out.line(
            f"Signed out at {target.api_url}." if tokens else f"You were not signed in at {target.api_url}."
        )
    return 0


def whoami(json: Json = False, data: Data = None, api_url: ApiUrl = None) -> int:
    """Say where and as whom you are signed in, after asking the API."""
    from cli.client import Api
    from cli.output import Output, facts
    from cli.session import SignedIn
    from cli.target import choose
    from cli.tokens import TokenFiles

    out = Output(json)
    target = choose(data, api_url)
    session = SignedIn(target, TokenFiles())
    with Api(target, session) as api:
        api.items(limit=1)
    tokens = session.tokens
    ends = datetime.fromtimestamp(tokens.expires_at, UTC).isoformat(timespec="seconds")
    document = {
        "api_url": target.api_url,
        "email": tokens.email,
        "sub": tokens.sub,
        "local": target.stack is not None,
        "access_token_expires_at": ends,
    }
    if json:
        out.document(document)
    else:
        out.show(
            facts(
                [
                    ("API", target.api_url),
                    ("signed in as", tokens.email),
                    ("user id", document["sub"]),
                    ("token until", f"{ends}, then renewed by itself"),
                ]
            )
        )
    return 0


def token(json: Json = False, data: Data = None, api_url: ApiUrl = None) -> int:
    """Print an access token for other programs: curl -H "Authorization: Bearer $(magpie token)" …"""
    from cli.output import Output
    from cli.session import SignedIn
    from cli.target import choose
    from cli.tokens import TokenFiles

    out = Output(json)
    target = choose(data, api_url)
    tokens = SignedIn(target, TokenFiles()).tokens
    if json:
        out.document({"api_url": target.api_url, "access_token": tokens.access_token})
    else:
        out.line(tokens.access_token)
    return 0


def _ask(what: str, hidden: bool = False) -> str:
    if not sys.stdin.isatty():
        option = "--password-stdin" if hidden else "--email"
        raise UsageError(f"{what} cannot be asked for here, stdin being no terminal: use {option}.")
    return str(typer.prompt(what, hide_input=hidden, err=True)).strip(None if not hidden else "")


def _ask_new_password() -> str:
    sys.stderr.write("Your password was a temporary one. Choose your own.\n")
    return str(typer.prompt("New password", hide_input=True, confirmation_prompt=True, err=True))


def _ask_code() -> str:
    return str(typer.prompt("Code of your authenticator", err=True)).replace(" ", "")
