"""What Cognito does and moto does not: triggers, refresh tokens that can be revoked, and who may sign up.

moto's own methods stay; what is missing is done before and after them. A trigger is the template's function,
run as everywhere else, on an event of the shape that Cognito sends:
https://docs.aws.amazon.com/cognito/latest/developerguide/cognito-user-pools-working-with-lambda-triggers.html
"""

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

from local.patches import Patches
from local.refresh_tokens import API_SCOPE, RefreshTokens
from local.runtime import FunctionMissingError, PoolClosedError, Result

logger = logging.getLogger(__name__)

PASSWORD_FLOWS = {"USER_PASSWORD_AUTH", "USER_SRP_AUTH", "ADMIN_USER_PASSWORD_AUTH", "ADMIN_NO_SRP_AUTH"}
REFRESH_FLOWS = {"REFRESH_TOKEN_AUTH", "REFRESH_TOKEN"}
TRIGGERS = {"PreSignUp", "PostConfirmation", "PreAuthentication", "PreTokenGeneration"}
"""Those of a pool's `LambdaConfig` that are run."""
NO_CLIENT = "CLIENT_ID_NOT_APPLICABLE"
"""What an event says where an administrator asks."""
UNIT_SECONDS = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86400}
WRONG = "Incorrect username or password."

Invoke = Callable[[str, bytes], Result]


class Cognito:
    """The patches of one stack's moto.

    Args:
        invoke: runs a function, by its ARN, on a payload.
    """

    def __init__(self, region: str, tokens: RefreshTokens, invoke: Invoke) -> None:
        self._region = region
        self.tokens = tokens
        self._invoke = invoke

    def install(self, patches: Patches) -> None:
        self._patch_users(patches)
        self._patch_tokens(patches)
        self._patch_sign_up(patches)
        self._patch_sign_in(patches)

    # Who is meant

    def _patch_users(self, patches: Patches) -> None:
        from moto.cognitoidp import models, utils

        def get_user(pool: Any, username: str) -> Any:
            found = original(pool, username)
            if found is None and not pool.extended_config.get("UsernameConfiguration", {}).get(
                "CaseSensitive", True
            ):
                wanted = str(username).lower()
                for user in list(pool.users.values()):
                    if wanted in (user.username.lower(), email_of(user).lower()):
                        return user
            return found

        original = patches.replace(models.CognitoIdpUserPool, "_get_user", get_user)
        # Codes of an authenticator are looked at; Cognito takes the one before and after, too.
        patches.replace(models, "get_cognito_idp_user_pool_enable_totp", lambda: True)
        patches.replace(models, "verify_totp", lambda totp, code: utils.verify_totp(totp, code, 1))

    # Tokens

    def _patch_tokens(self, patches: Patches) -> None:
        from moto.cognitoidp import models, responses
        from moto.cognitoidp.exceptions import NotAuthorizedError

        def read_resource(name: str, *arguments: Any, **more: Any) -> Any:
            if name.endswith("jwks-private.json"):
                return self.tokens.private_key
            return load_resource(name, *arguments, **more)

        load_resource = patches.replace(models, "load_resource", read_resource)
        document = json.dumps(self.tokens.public_keys).encode()
        patches.replace(responses.CognitoIdpJsonWebKeyResponse, "json_web_key", document)

        def make_pool(pool: Any, *arguments: Any, **more: Any) -> None:
            new_pool(pool, *arguments, **more)
            pool.refresh_tokens = _Known(self.tokens, pool)

        new_pool = patches.replace(models.CognitoIdpUserPool, "__init__", make_pool)

        def create_refresh_token(pool: Any, client_id: str, username: str) -> tuple[str, str]:
            return self.new_refresh_token(pool, client_id, pool._get_user(username), API_SCOPE)

        patches.replace(models.CognitoIdpUserPool, "create_refresh_token", create_refresh_token)

        def create_tokens(pool: Any, refresh_token: str) -> tuple[str, str, int]:
            refresh = self.tokens.read(refresh_token)
            user = pool._get_user(refresh.sub) if refresh else None
            if refresh is None or user is None:
                raise NotAuthorizedError("Refresh Token has been revoked")
            if not user.enabled:
                raise NotAuthorizedError("User is disabled.")
            said = {"origin_jti": refresh.origin, "scope": refresh.scope}
            if user.groups:
                said["cognito:groups"] = [group.group_name for group in user.groups]
            seconds = _seconds(pool.clients[refresh.client_id], "AccessToken", 3600)
            who = email_of(user) or user.username
            access, _ = pool.create_jwt(refresh.client_id, who, "access", int(seconds), said)
            pool.access_tokens[access] = (refresh.client_id, user.username)
            identity, _ = pool.create_id_token(refresh.client_id, who, origin_jti=refresh.origin)
            return access, identity, int(seconds)

        patches.replace(models.CognitoIdpUserPool, "create_tokens_from_refresh_token", create_tokens)

        def sign_out(pool: Any, username: str) -> None:
            user = pool._get_user(username)
            self.tokens.end_all(user.id)
            for token, (_, name) in list(pool.access_tokens.items()):
                if pool._get_user(name) is user:
                    pool.access_tokens.pop(token, None)

        patches.replace(models.CognitoIdpUserPool, "sign_out", sign_out)

        def revoke_token(response: Any) -> Any:
            from moto.core.responses import EmptyResult

            self.revoke(response._get_param("Token"), response._get_param("ClientId"))
            return EmptyResult()

        patches.replace(responses.CognitoIdpResponse, "revoke_token", revoke_token)

    def new_refresh_token(self, pool: Any, client_id: str, user: Any, scope: str) -> tuple[str, str]:
        """Return a refresh token of a new sign-in, and the sign-in's id."""
        seconds = _seconds(pool.clients[client_id], "RefreshToken", 30 * 86400)
        return self.tokens.issue(client_id, user.id, scope, seconds)

    def revoke(self, token: str, client_id: str) -> None:
        """End the sign-in of a refresh token. One that is over already, or none at all, is no error.

        Raises:
            JsonRESTError: the token is another client's.
        """
        refresh = self.tokens.read(str(token))
        if refresh is None:
            return
        if refresh.client_id != client_id:
            raise _error("UnauthorizedException", "The client is not the token's.")
        self.tokens.end(refresh)
        for pool in _pools(self._region):
            for access in list(pool.access_tokens):
                if _origin_of(access) == refresh.origin:
                    pool.access_tokens.pop(access, None)

    # Signing up

    def _patch_sign_up(self, patches: Patches) -> None:
        from moto.cognitoidp.models import CognitoIdpBackend, UserStatus

        def sign_up(backend: Any, client_id: str, username: str, password: str, attributes: Any) -> Any:
            pool = _pool_of(backend, client_id)
            if pool and pool.extended_config.get("AdminCreateUserConfig", {}).get("AllowAdminCreateUserOnly"):
                raise _error("NotAuthorizedException", "SignUp is not permitted for this user pool")
            user, details = signing_up(backend, client_id, username, password, attributes)
            wish = self._admit(pool, user, "PreSignUp_SignUp", client_id)
            if wish.get("autoVerifyEmail"):
                user.update_attributes([{"Name": "email_verified", "Value": "true"}])
            if wish.get("autoConfirmUser"):
                user.status = UserStatus.CONFIRMED
                self._confirmed(pool, user, "PostConfirmation_ConfirmSignUp", client_id)
            return user, details

        signing_up = patches.replace(CognitoIdpBackend, "sign_up", sign_up)

        def create(
            backend: Any, pool_id: str, username: str, action: str, password: str, attributes: Any
        ) -> Any:
            user = creating(backend, pool_id, username, action, password, attributes)
            if action != "RESEND":
                self._admit(backend.user_pools[pool_id], user, "PreSignUp_AdminCreateUser", NO_CLIENT)
            return user

        creating = patches.replace(CognitoIdpBackend, "admin_create_user", create)

        def confirm(backend: Any, client_id: str, username: str) -> str:
            pool = _pool_of(backend, client_id)
            user = pool._get_user(username) if pool else None
            _refuse_confirmed(user, UserStatus)
            answer = confirming(backend, client_id, username)
            user.update_attributes([{"Name": "email_verified", "Value": "true"}])
            self._confirmed(pool, user, "PostConfirmation_ConfirmSignUp", client_id)
            return str(answer)

        confirming = patches.replace(CognitoIdpBackend, "confirm_sign_up", confirm)

        def admin_confirm(backend: Any, pool_id: str, username: str) -> str:
            pool = backend.describe_user_pool(pool_id)
            user = pool._get_user(username)
            _refuse_confirmed(user, UserStatus)
            answer = admin_confirming(backend, pool_id, username)
            self._confirmed(pool, user, "PostConfirmation_ConfirmSignUp", NO_CLIENT)
            return str(answer)

        admin_confirming = patches.replace(CognitoIdpBackend, "admin_confirm_sign_up", admin_confirm)

        def confirm_password(
            backend: Any, client_id: str, username: str, password: str, confirmation_code: str
        ) -> None:
            confirming_password(backend, client_id, username, password, confirmation_code)
            pool = _pool_of(backend, client_id)
            user = pool._get_user(username)
            self._confirmed(pool, user, "PostConfirmation_ConfirmForgotPassword", client_id)

        confirming_password = patches.replace(CognitoIdpBackend, "confirm_forgot_password", confirm_password)

    def _admit(self, pool: Any, user: Any, source: str, client_id: str) -> Mapping[str, Any]:
        """Ask whether somebody may have an account; a refused one is gone again."""
        response = {"autoConfirmUser": False, "autoVerifyEmail": False, "autoVerifyPhone": False}
        given = {attribute["Name"]: attribute["Value"] for attribute in user.attributes}
        given.pop("sub", None)  # nobody has one before they are made
        request = {"userAttributes": given, "validationData": None}
        try:
            return self._run(pool, "PreSignUp", source, user.username, client_id, request, response)
        except BaseException:
            pool.users.pop(user.username, None)
            raise

    def _confirmed(self, pool: Any, user: Any, source: str, client_id: str) -> None:
        request = {"userAttributes": _attributes(user)}
        self._run(pool, "PostConfirmation", source, user.username, client_id, request, {})

    # Signing in

    def _patch_sign_in(self, patches: Patches) -> None:
        from moto.cognitoidp.models import CognitoIdpBackend

        def initiate(backend: Any, client_id: str, auth_flow: str, auth_parameters: Any) -> Any:
            pool = _pool_of(backend, client_id)
            given = self._before(pool, client_id, auth_flow, dict(auth_parameters or {}))
            answer = initiating(backend, client_id, auth_flow, given)
            return self._after(pool, client_id, auth_flow, given, answer)

        initiating = patches.replace(CognitoIdpBackend, "initiate_auth", initiate)

        def admin_initiate(
            backend: Any, pool_id: str, client_id: str, auth_flow: str, auth_parameters: Any
        ) -> Any:
            pool = backend.describe_user_pool(pool_id)
            given = self._before(pool, client_id, auth_flow, dict(auth_parameters or {}))
            answer = admin_initiating(backend, pool_id, client_id, auth_flow, given)
            return self._after(pool, client_id, auth_flow, given, answer)

        admin_initiating = patches.replace(CognitoIdpBackend, "admin_initiate_auth", admin_initiate)

        def respond(
            backend: Any, session: str, client_id: str, challenge_name: str, challenge_responses: Any
        ) -> Any:
            given = dict(challenge_responses or {})
            pool = _pool_of(backend, client_id)
            of_session = given.get("PASSWORD_CLAIM_SECRET_BLOCK") or session
            begun = backend.sessions.get(of_session)
            user = pool._get_user(given.get("USERNAME", "")) if pool else None
            if begun is None or user is None or begun[1]._get_user(begun[0]) is not user:
                # moto would let anybody who has begun go on as anybody else.
                raise _error("NotAuthorizedException", "Invalid session for the user.")
            given["USERNAME"] = email_of(user) or user.username
            answer = responding(backend, session, client_id, challenge_name, given)
            if "AuthenticationResult" in answer:
                new_password = challenge_name == "NEW_PASSWORD_REQUIRED"
                source = "NewPasswordChallenge" if new_password else "Authentication"
                self._before_tokens(pool, user, f"TokenGeneration_{source}", client_id)
            return answer

        responding = patches.replace(CognitoIdpBackend, "respond_to_auth_challenge", respond)

    def _before(self, pool: Any, client_id: str, flow: str, given: dict[str, Any]) -> dict[str, Any]:
        client = pool.clients.get(client_id) if pool else None
        if client is None:
            return given  # moto says what is wrong
        if flow in REFRESH_FLOWS:
            refresh = self.tokens.read(str(given.get("REFRESH_TOKEN", "")))
            user = pool._get_user(refresh.sub) if refresh and refresh.client_id == client_id else None
            if user is None:
                raise _error("NotAuthorizedException", "Refresh Token has been revoked")
            self._before_tokens(pool, user, "TokenGeneration_RefreshTokens", client_id)
        elif flow in PASSWORD_FLOWS:
            user = pool._get_user(str(given.get("USERNAME", "")))
            hidden = client.extended_config.get("PreventUserExistenceErrors") == "ENABLED"
            if user is None and hidden:
                name = str(given.get("USERNAME", ""))
                self._before_sign_in(pool, name, client_id, {}, user_not_found=True)
                raise _error("NotAuthorizedException", WRONG)
            if user is not None and user.enabled:
                self._before_sign_in(pool, user.username, client_id, _attributes(user), user_not_found=False)
                given["USERNAME"] = email_of(user) or user.username
        return given

    def _before_sign_in(
        self, pool: Any, name: str, client_id: str, attributes: Mapping[str, Any], *, user_not_found: bool
    ) -> None:
        request: dict[str, Any] = {"userAttributes": dict(attributes), "validationData": None}
        if user_not_found:
            request["userNotFound"] = True
        source = "PreAuthentication_Authentication"
        self._run(pool, "PreAuthentication", source, name, client_id, request, {})

    def _after(self, pool: Any, client_id: str, flow: str, given: Mapping[str, Any], answer: Any) -> Any:
        if flow in PASSWORD_FLOWS and "AuthenticationResult" in answer:
            user = pool._get_user(given["USERNAME"])
            self._before_tokens(pool, user, "TokenGeneration_Authentication", client_id)
        return answer

    def _before_tokens(self, pool: Any, user: Any, source: str, client_id: str) -> None:
        groups = {"groupsToOverride": [], "iamRolesToOverride": [], "preferredRole": None}
        request = {"userAttributes": _attributes(user), "groupConfiguration": groups}
        response = {"claimsOverrideDetails": None}
        self._run(pool, "PreTokenGeneration", source, user.username, client_id, request, response)

    # Triggers

    def _run(
        self,
        pool: Any,
        trigger: str,
        source: str,
        name: str,
        client_id: str,
        request: Mapping[str, Any],
        response: Mapping[str, Any],
    ) -> Mapping[str, Any]:
        """Run a trigger and return what it answers; a pool without this trigger answers as it was asked.

        Raises:
            JsonRESTError: as Cognito would say that the trigger refuses, or cannot be run.
        """
        arn = (pool.extended_config.get("LambdaConfig") or {}).get(trigger)
        if not arn:
            return response
        event = {
            "version": "1",
            "region": self._region,
            "userPoolId": pool.id,
            "userName": name,
            "callerContext": {"awsSdkVersion": "aws-sdk-unknown-unknown", "clientId": client_id},
            "triggerSource": source,
            "request": dict(request),
            "response": dict(response),
        }
        try:
            result = self._invoke(arn, json.dumps(event).encode())
        except (FunctionMissingError, PoolClosedError) as error:
            logger.error("%s cannot be run: %s", trigger, error)  # noqa: TRY400 - one line says it
            raise _error("UnexpectedLambdaException", f"{trigger} invocation failed due to error.") from error
        answer = result.json()
        if result.error is not None:
            said = answer if isinstance(answer, dict) else {}
            if str(said.get("errorType", "")).startswith(("Sandbox.", "Runtime.")):
                raise _error("UnexpectedLambdaException", f"{trigger} invocation failed due to error.")
            message = f"{trigger} failed with error {said.get('errorMessage', '')}."
            raise _error("UserLambdaValidationException", message)
        if not isinstance(answer, dict) or not isinstance(answer.get("response"), dict):
            raise _error("InvalidLambdaResponseException", "Unrecognizable lambda output")
        found: dict[str, Any] = answer["response"]
        return found


class _Known:
    """What moto takes for its table of refresh tokens: each says itself whose it is."""

    def __init__(self, tokens: RefreshTokens, pool: Any) -> None:
        self._tokens = tokens
        self._pool = pool

    def get(self, token: str, default: Any = None) -> Any:
        refresh = self._tokens.read(str(token))
        user = self._pool._get_user(refresh.sub) if refresh else None
        if refresh is None or user is None:
            return default
        return refresh.client_id, email_of(user) or user.username, refresh.origin


def email_of(user: Any) -> str:
    """Return a user's address, or nothing."""
    return str(user.attribute_lookup.get("email") or "")


def _attributes(user: Any) -> dict[str, Any]:
    """What an event says of a user who is there."""
    status = str(getattr(user.status, "value", user.status))
    given = {attribute["Name"]: attribute["Value"] for attribute in user.attributes}
    return {"sub": user.id, "cognito:user_status": status, **given}


def _pools(region: str) -> list[Any]:
    from moto.cognitoidp.models import cognitoidp_backends

    return [
        pool
        for backends in cognitoidp_backends.values()
        if region in backends
        for pool in backends[region].user_pools.values()
    ]


def _pool_of(backend: Any, client_id: str) -> Any:
    return next((pool for pool in backend.user_pools.values() if client_id in pool.clients), None)


def _refuse_confirmed(user: Any, status: Any) -> None:
    if user is not None and user.status is status.CONFIRMED:
        raise _error("NotAuthorizedException", "User cannot be confirmed. Current status is CONFIRMED")


def _seconds(client: Any, token: str, default: float) -> float:
    """How long a client's tokens of a kind live."""
    config = client.extended_config
    usual = {"AccessToken": "hours", "IdToken": "hours", "RefreshToken": "days"}
    unit = (config.get("TokenValidityUnits") or {}).get(token, usual[token])
    validity = config.get(f"{token}Validity")
    return float(validity) * UNIT_SECONDS[unit] if validity else default


def _origin_of(access_token: str) -> str | None:
    import jwt

    try:
        said = jwt.decode(access_token, options={"verify_signature": False})
    except jwt.PyJWTError:
        return None
    return said.get("origin_jti")


def _error(code: str, message: str) -> Exception:
    from moto.core.exceptions import JsonRESTError

    return JsonRESTError(code, message)
