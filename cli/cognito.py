"""Signing in at Cognito: the calls that need no AWS credentials."""

import re
import time
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any

from cli.errors import CommandError
from cli.tokens import Tokens

if TYPE_CHECKING:
    from mypy_boto3_cognito_idp import CognitoIdentityProviderClient

NewPassword = Callable[[], str]
"""Asks for the password that replaces a first, temporary one."""
Code = Callable[[], str]
"""Asks for the six digits that an authenticator shows."""
CODE_ATTEMPTS = 3
"""How often a code may be wrong: it changes every half minute, perhaps while it is typed."""


class SignInRefusedError(CommandError):
    """Cognito does not accept who asks: wrong password, ended session, disabled or suspended user."""


class _WrongCodeError(SignInRefusedError):
    """The code was not the authenticator's; another one may be."""


class Cognito:
    """One user pool's front door.

    Args:
        sign_in: `{"region", "user_pool_id", "client_id"}`, from the API's `GET /version`.
        endpoint: where Cognito is when it is not AWS's.
    """

    def __init__(self, sign_in: dict[str, str], endpoint: str | None = None) -> None:
        self.sign_in = sign_in
        self.endpoint = endpoint

    def _client(self) -> "CognitoIdentityProviderClient":
        # Imported here: 300 ms that a command with a fresh token does not need.
        import boto3
        from botocore import UNSIGNED
        from botocore.config import Config
        from botocore.session import Session

        # These calls are not signed: a profile in the environment, which may not exist, has no part in them.
        session = Session(session_vars={"profile": (None, None, None, None)})
        proxies: dict[str, Any] = {"proxies": {}} if self.endpoint else {}
        return boto3.Session(botocore_session=session).client(
            "cognito-idp",
            region_name=self.sign_in["region"],
            endpoint_url=self.endpoint,
            config=Config(
                signature_version=UNSIGNED,
                connect_timeout=5,
                read_timeout=20,
                retries={"mode": "standard", "max_attempts": 4},
                **proxies,
            ),
        )

    def _call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            with closing(self._client()) as client:
                answer: dict[str, Any] = getattr(client, operation)(**arguments)
        except ClientError as error:
            raise _refusal(error) from None
        except BotoCoreError as error:
            raise CommandError(
                "sign_in_unreachable", f"The sign-in service cannot be used: {error}"
            ) from None
        return answer

    def sign_in_with_password(
        self,
        api_url: str,
        email: str,
        password: str,
        new_password: NewPassword | None = None,
        code: Code | None = None,
    ) -> Tokens:
        """Exchange an e-mail address and a password for tokens.

        Args:
            new_password: asked when the password was a temporary one, made by an administrator.
            code: asked when the user has an authenticator as a second factor.

        Raises:
            SignInRefusedError: they do not belong together, or the user may not sign in.
            CommandError: Cognito cannot be reached, or asks for what this command cannot give.
        """
        answer = self._call(
            "initiate_auth",
            AuthFlow="USER_PASSWORD_AUTH",
            ClientId=self.sign_in["client_id"],
            AuthParameters={"USERNAME": email, "PASSWORD": password},
        )
        if answer.get("ChallengeName") == "NEW_PASSWORD_REQUIRED":
            if new_password is None:
                raise CommandError(
                    "new_password_required",
                    "Your password is a temporary one: run ./magpie login in a terminal and choose your own.",
                )
            answer = self._respond(answer, email, "NEW_PASSWORD", new_password())
        if answer.get("ChallengeName") == "SOFTWARE_TOKEN_MFA":
            answer = self._second_factor(answer, email, code)
        result = self._result(answer)
        return Tokens(
            api_url=api_url,
            email=email,
            sign_in=dict(self.sign_in),
            access_token=result["AccessToken"],
            refresh_token=result.get("RefreshToken", ""),
            expires_at=time.time() + result.get("ExpiresIn", 3600),
        )

    def _second_factor(self, asked: dict[str, Any], email: str, code: Code | None) -> dict[str, Any]:
        if code is None:
            raise CommandError(
                "code_required",
                "You have a second factor: run ./magpie login in a terminal, your authenticator at hand.",
            )
        for attempt in range(1, CODE_ATTEMPTS + 1):
            try:
                return self._respond(asked, email, "SOFTWARE_TOKEN_MFA_CODE", code())
            except _WrongCodeError:
                if attempt == CODE_ATTEMPTS:
                    raise
        raise AssertionError("the last attempt returns or raises")

    def _respond(self, asked: dict[str, Any], email: str, name: str, value: str) -> dict[str, Any]:
        """Answer what Cognito asked."""
        return self._call(
            "respond_to_auth_challenge",
            ClientId=self.sign_in["client_id"],
            ChallengeName=asked["ChallengeName"],
            Session=asked["Session"],
            ChallengeResponses={"USERNAME": email, name: value},
        )

    def refresh(self, tokens: Tokens) -> Tokens:
        """Exchange the refresh token for a new access token.

        Raises:
            SignInRefusedError: the sign-in has ended or was revoked.
            CommandError: Cognito cannot be reached.
        """
        answer = self._call(
            "initiate_auth",
            AuthFlow="REFRESH_TOKEN_AUTH",
            ClientId=self.sign_in["client_id"],
            AuthParameters={"REFRESH_TOKEN": tokens.refresh_token},
        )
        result = self._result(answer)
        expires_at = time.time() + result.get("ExpiresIn", 3600)
        return tokens.renewed(result["AccessToken"], expires_at, result.get("RefreshToken"))

    def revoke(self, tokens: Tokens) -> None:
        """End the sign-in on the server: its tokens are refused from now on.

        Raises:
            CommandError: Cognito cannot be reached or does not take it.
        """
        self._call("revoke_token", Token=tokens.refresh_token, ClientId=self.sign_in["client_id"])

    def _result(self, answer: dict[str, Any]) -> dict[str, Any]:
        result = answer.get("AuthenticationResult")
        if not result or "AccessToken" not in result:
            challenge = answer.get("ChallengeName", "something unknown")
            raise CommandError(
                "challenge", f"The user pool asks for {challenge}, which this command cannot answer."
            )
        return dict(result)


def _refusal(error: Any) -> CommandError:
    details = error.response.get("Error", {})
    code, message = details.get("Code", ""), details.get("Message", "")
    if code in {"NotAuthorizedException", "UserNotFoundException"}:
        # Cognito says in one sentence what it is: wrong password, disabled, expired, too many attempts.
        return SignInRefusedError("sign_in_refused", f"The sign-in was refused: {message.rstrip('.')}.")
    if code in {"CodeMismatchException", "ExpiredCodeException"}:
        return _WrongCodeError("wrong_code", "The code was not the one that the authenticator shows.")
    if code == "UserLambdaValidationException":
        # Magpie's own trigger says why, after a preface of Cognito's.
        why = re.sub(r"^\w+ failed with error ", "", message).rstrip(".")
        return SignInRefusedError("sign_in_refused", f"The sign-in was refused: {why}.")
    if code in {"PasswordResetRequiredException", "UserNotConfirmedException", "InvalidPasswordException"}:
        return SignInRefusedError("sign_in_refused", f"The sign-in is not finished: {message.rstrip('.')}.")
    if code == "ResourceNotFoundException":
        return SignInRefusedError("sign_in_refused", "The user pool that the API names is not there.")
    said = "" if "<" in message else f": {message}"
    return CommandError("sign_in_failed", f"The sign-in service answered {code}{said}")
