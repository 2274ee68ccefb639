"""Answer a request that is sent again with what the first one brought about.

Two nets. The cheap one remembers answers for a day under the caller's `Idempotency-Key` in DynamoDB.
The one that holds is the database: the item's id is derived from the request, so that a second run,
whatever became of the first one's answer, finds the item there.
"""

import hashlib
import json
import re
from collections.abc import Callable
from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

from functions.api.problems import RETRY_AFTER_SECONDS, Problem, unavailable

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.idempotency import DynamoDBPersistenceLayer
    from aws_lambda_powertools.utilities.typing import LambdaContext

REMEMBERED_SECONDS = 24 * 3600
_KEY = re.compile(r"[\x21-\x7e]{1,255}")


def read_key(header: str | None) -> str | None:
    """Return the key of a request, None where it has none.

    Raises:
        Problem: 400, it is not 1 to 255 visible ASCII characters.
    """
    if header is None:
        return None
    if not _KEY.fullmatch(header):
        raise Problem(
            HTTPStatus.BAD_REQUEST,
            "invalid-idempotency-key",
            "Use 1 to 255 visible ASCII characters, such as a UUID.",
        )
    return header


def derived_id(user_id: str, key: str | None, request: dict[str, Any]) -> UUID:
    """Return the id of what a request makes: with a key, the same for the same request of the same user."""
    if key is None:
        return uuid4()
    whole = json.dumps([user_id, key, request], sort_keys=True)
    return uuid5(NAMESPACE_URL, f"magpie:request:{hashlib.sha256(whole.encode()).hexdigest()}")


def once(
    run: Callable[[], dict[str, Any]],
    *,
    operation: str,
    table: str,
    user_id: str,
    key: str | None,
    request: dict[str, Any],
    context: "LambdaContext",
) -> dict[str, Any]:
    """Run something, or return what it returned when this user sent this request before.

    Args:
        run: must itself be harmless to run twice.
        operation: a key belongs to one operation of one user.
        key: None where the caller gave none; then nothing is remembered.
        context: of Lambda; a run that is killed is locked no longer than the function's time-out.

    Raises:
        Problem: 409, the first request is still being answered; 422, the key belongs to another
            request; 503, DynamoDB does not answer.
    """
    if key is None:
        return run()
    from aws_lambda_powertools.utilities.idempotency import IdempotencyConfig, idempotent_function
    from aws_lambda_powertools.utilities.idempotency import exceptions as powertools

    config = IdempotencyConfig(
        event_key_jmespath="[user_id, key]",
        payload_validation_jmespath="request",
        raise_on_no_idempotency_key=True,
        expires_after_seconds=REMEMBERED_SECONDS,
        hash_function="sha256",
        lambda_context=context,
    )

    def answer(*, sent: dict[str, Any]) -> dict[str, Any]:
        return run()

    guarded = idempotent_function(
        answer,
        data_keyword_argument="sent",
        persistence_store=_store(table),
        config=config,
        key_prefix=f"api.{operation}",
    )
    try:
        remembered: dict[str, Any] = guarded(sent={"user_id": user_id, "key": key, "request": request})
    except powertools.IdempotencyAlreadyInProgressError as error:
        raise Problem(
            HTTPStatus.CONFLICT,
            "request-in-progress",
            "Ask again in a moment, with the same key.",
            headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
        ) from error
    except powertools.IdempotencyValidationError as error:
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "idempotency-key-reused",
            "It was sent with a different body within the last 24 hours. Use a new key.",
        ) from error
    except (
        powertools.IdempotencyPersistenceLayerError,
        powertools.IdempotencyInconsistentStateError,
    ) as error:
        raise unavailable() from error
    return remembered


@cache
def _store(table: str) -> "DynamoDBPersistenceLayer":
    from aws_lambda_powertools.utilities.idempotency import DynamoDBPersistenceLayer
    from botocore.config import Config

    config = Config(connect_timeout=1, read_timeout=2, retries={"mode": "standard", "max_attempts": 2})
    return DynamoDBPersistenceLayer(table_name=table, boto_config=config)
