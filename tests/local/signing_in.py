"""A user pool in this process, with what `local/` adds to moto's, and triggers that tests write."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from moto import mock_aws

from local.cognito import Cognito
from local.patches import Patches
from local.refresh_tokens import RefreshTokens
from local.runtime import Result
from local.sign_in import SignInPage
from local.users import UserStore
from tests.conftest import client

REGION, ACCOUNT = "us-east-1", "123456789012"
ORIGIN = "http://127.0.0.1:8787"
PASSWORD = "a long enough word 1"


class Refusal(Exception):
    """What a trigger raises in a test."""


class UserPool:
    """One pool with one client.

    Attributes:
        asked: the events that triggers were given.
        answer: decides about an event; returns it, changed or not, or raises.
    """

    def __init__(self, tokens: RefreshTokens, folder: Path, patches: Patches, **settings: Any) -> None:
        self.asked: list[dict[str, Any]] = []
        self.answer: Callable[[dict[str, Any]], Any] = lambda event: event
        self.error = "RefusedError"
        self.users = UserStore(folder / "users.json", ACCOUNT, REGION)
        self.stand_in = Cognito(REGION, tokens, self._invoke)
        self.users.install(patches)
        self.stand_in.install(patches)
        self.client = client("cognito-idp")
        triggers = ("PreSignUp", "PostConfirmation", "PreAuthentication", "PreTokenGeneration")
        pool = {
            "PoolName": "people",
            "UsernameAttributes": ["email"],
            "AutoVerifiedAttributes": ["email"],
            "UsernameConfiguration": {"CaseSensitive": False},
            "MfaConfiguration": "OPTIONAL",
            "LambdaConfig": {name: f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}" for name in triggers},
            "Policies": {
                "PasswordPolicy": {
                    "MinimumLength": 12,
                    "RequireLowercase": True,
                    "RequireNumbers": True,
                    "RequireSymbols": False,
                    "RequireUppercase": False,
                }
            },
            **settings,
        }
        self.id = self.client.create_user_pool(**pool)["UserPool"]["Id"]
        self.client_id = self.client.create_user_pool_client(
            UserPoolId=self.id,
            ClientName="page",
            AllowedOAuthFlows=["code"],
            AllowedOAuthFlowsUserPoolClient=True,
            AllowedOAuthScopes=["openid", "email"],
            CallbackURLs=[ORIGIN, "https://app.example/back?here=1"],
            LogoutURLs=[ORIGIN],
            PreventUserExistenceErrors="ENABLED",
        )["UserPoolClient"]["ClientId"]
        self.users.load()
        self.page = SignInPage(self.stand_in, self.users)

    def _invoke(self, arn: str, payload: bytes) -> Result:
        event = json.loads(payload)
        self.asked.append(event)
        try:
            answer = self.answer(json.loads(payload))
        except Refusal as refusal:
            said = {"errorMessage": str(refusal), "errorType": self.error}
            return Result(json.dumps(said).encode(), "Unhandled", "1")
        return Result(json.dumps(answer).encode(), None, "1")

    def sources(self) -> list[str]:
        """Which triggers were asked since the last call, by their source."""
        asked, self.asked = self.asked, []
        return [event["triggerSource"] for event in asked]

    def add(self, email: str = "ada@example.com", password: str = PASSWORD) -> str:
        """Make a user who can sign in, and return their sub."""
        made = self.client.admin_create_user(
            UserPoolId=self.id, Username=email, UserAttributes=[{"Name": "email_verified", "Value": "true"}]
        )
        self.client.admin_set_user_password(
            UserPoolId=self.id, Username=email, Password=password, Permanent=True
        )
        self.users.save()
        self.asked.clear()
        return str(made["User"]["Username"])

    def sign_in(self, email: str = "ada@example.com", password: str = PASSWORD) -> dict[str, Any]:
        answer: dict[str, Any] = self.client.initiate_auth(
            AuthFlow="USER_PASSWORD_AUTH",
            ClientId=self.client_id,
            AuthParameters={"USERNAME": email, "PASSWORD": password},
        )
        return answer.get("AuthenticationResult", answer)

    def renew(self, refresh_token: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.client.initiate_auth(
            AuthFlow="REFRESH_TOKEN_AUTH",
            ClientId=self.client_id,
            AuthParameters={"REFRESH_TOKEN": refresh_token},
        )
        return dict(answer["AuthenticationResult"])

    def refuse(self, source: str, sentence: str) -> None:
        """From now on, one source is refused."""

        def answer(event: dict[str, Any]) -> dict[str, Any]:
            if event["triggerSource"] == source:
                raise Refusal(sentence)
            return event

        self.answer = answer


@contextmanager
def user_pool(keys: Path, folder: Path, **settings: Any) -> Iterator[UserPool]:
    """A pool of its own, kept in a folder: another one on the same folder finds the same users.

    Args:
        keys: a file of `RefreshTokens`, which is copied: making a key takes time.
    """
    kept = folder / "sign_in.json"
    if not kept.exists():
        shutil.copy(keys, kept)
    patches = Patches()
    try:
        with mock_aws():
            yield UserPool(RefreshTokens(kept), folder, patches, **settings)
    finally:
        patches.undo()
