"""What needs no token: whether it works, what it is, and where to sign in."""

from http import HTTPStatus

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import Response

from functions.api import answers, request
from functions.api.request import Env
from shared import database
from shared.errors import MagpieError

VERSION = "0.1.0"

logger = Logger(child=True)
router = request.router()


@router.get("/health")
def health() -> Response[answers.Health]:
    """Say whether an answer can be expected. Needs no token."""
    try:
        database.fetch_one("SELECT 1 AS one", {})
    except MagpieError as error:
        logger.error("database is out of reach", reason=str(error))
        failing = answers.Health(status="failing", checks={"database": "failing"})
        return Response(HTTPStatus.SERVICE_UNAVAILABLE, "application/json", failing)
    return Response(HTTPStatus.OK, "application/json", answers.Health(status="ok", checks={"database": "ok"}))


@router.get("/version")
def version() -> answers.Version:
    """Say what runs here, and where to sign in. Needs no token."""
    env = Env.load()
    return answers.Version(
        version=VERSION,
        sign_in=answers.SignIn(
            region=env.region,
            user_pool_id=env.user_pool_id,
            client_id=env.user_pool_client_id,
            hosted_ui=env.hosted_ui_url or None,
        ),
    )
