"""Decide who is asking, from the token that the API's authorizer has checked."""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from functions.api.problems import Problem

# It becomes the first part of every key in the buckets. `*` is whose runs are over everybody: nobody's.
_USER_ID = re.compile(r"(?!\*$)[^/\x00]{1,128}")


def caller(event: Mapping[str, Any], client_id: str) -> str:
    """Return the user id of whoever asks.

    The authorizer has checked signature, issuer, time and client. It takes identity tokens too, and an
    access token has no `aud` to compare, so that what it is and for whom is looked at here again:
    https://docs.aws.amazon.com/cognito/latest/developerguide/amazon-cognito-user-pools-using-tokens-verifying-a-jwt.html

    Args:
        event: an HTTP API event, payload version 2.0.
        client_id: of the user pool's client that tokens must be made for.

    Raises:
        Problem: 401, there is no token, or one that is meant for something else.
    """
    claims = event.get("requestContext", {}).get("authorizer", {}).get("jwt", {}).get("claims", {})
    user_id = claims.get("sub")
    if claims.get("token_use") != "access" or claims.get("client_id") != client_id:
        raise _not_signed_in("An access token of this API's own client is needed.")
    if not isinstance(user_id, str) or not _USER_ID.fullmatch(user_id):
        raise _not_signed_in("The token does not say who you are.")
    return user_id


def _not_signed_in(detail: str) -> Problem:
    return Problem(
        HTTPStatus.UNAUTHORIZED,
        "not-signed-in",
        detail,
        headers={"WWW-Authenticate": 'Bearer error="invalid_token"'},
    )
