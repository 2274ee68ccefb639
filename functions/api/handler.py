"""Answer every request that a signed-in user may make."""

from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response
from aws_lambda_powertools.event_handler.openapi.params import Query
from aws_lambda_powertools.logging import correlation_paths
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import Field

from functions.api import answers, body, collection, identity, problems, question, retry, search, upload
from functions.api.cursor import Cursor, read_cursor
from shared import database, items
from shared.errors import MagpieError
from shared.settings import Settings

VERSION = "0.1.0"

logger = Logger()
app = APIGatewayHttpResolver(
    enable_validation=True,
    debug=False,
    response_validation_error_http_code=HTTPStatus.INTERNAL_SERVER_ERROR,
)
problems.register(app)


class Env(Settings):
    """What the template must give the API."""

    uploads_bucket: str = Field(alias="UPLOADS_BUCKET")
    media_bucket: str = Field(alias="MEDIA_BUCKET")
    max_upload_bytes: int = Field(alias="MAX_UPLOAD_BYTES", gt=0)
    idempotency_table: str = Field(alias="IDEMPOTENCY_TABLE")
    user_pool_id: str = Field(alias="USER_POOL_ID")
    user_pool_client_id: str = Field(alias="USER_POOL_CLIENT_ID")
    region: str = Field(alias="AWS_REGION")


Limit = Annotated[int, Query(ge=1, le=100)]


@app.post("/items", status_code=HTTPStatus.CREATED)
def create_item() -> answers.NewItemAnswer:
    """Mint an item and the form that uploads its original.

    A request that is sent again with its `Idempotency-Key` gets the same item, with a new form: the
    first one's may have expired, and a form is a secret that nothing should store.
    """
    env = Env.load()
    user_id = caller()
    new = body.read(app.current_event, upload.NewItem)
    upload.refuse_too_large(new, env.max_upload_bytes)
    key = retry.read_key(app.current_event.headers.get("idempotency-key"))
    request = new.model_dump(mode="json")

    def create() -> dict[str, Any]:
        item_id = retry.derived_id(user_id, key, request)
        name = upload.clean_filename(new.filename)
        return {"item_id": str(collection.create(user_id, item_id, name, request_id()))}

    made = retry.once(
        create,
        table=env.idempotency_table,
        user_id=user_id,
        key=key,
        request=request,
        context=app.lambda_context,
    )
    item_id = UUID(made["item_id"])
    logger.info("upload form made", item_id=item_id)
    form = upload.form(
        env.uploads_bucket,
        items.uploads_key(user_id, item_id),
        upload.content_type(new),
        env.max_upload_bytes,
    )
    return answers.NewItemAnswer(item_id=item_id, upload=form)


@app.get("/items")
def list_items(
    limit: Limit = 20,
    cursor: Annotated[str | None, Query()] = None,
    status: Annotated[answers.Status | None, Query()] = None,
) -> answers.Page:
    """List the caller's items, newest first."""
    user_id = caller()
    after = read_cursor(cursor) if cursor is not None else None
    rows = collection.page(user_id, limit + 1, after, status)  # one more, to know whether there is more
    shown = rows[:limit]
    last = Cursor(shown[-1]["created_at"], shown[-1]["item_id"]) if len(rows) > limit else None
    media = Env.load().media_bucket
    return answers.Page(
        items=[answers.item(user_id, row, media) for row in shown], next_cursor=last and str(last)
    )


@app.get("/items/<item_id>")
def get_item(item_id: str) -> answers.WholeItem:
    """Show one of the caller's items; anybody else's does not exist."""
    user_id = caller()
    try:
        wanted = UUID(item_id)
    except ValueError as error:
        raise problems.item_not_found() from error
    row = collection.one(user_id, wanted)
    if row is None:
        raise problems.item_not_found()
    env = Env.load()
    timeline = collection.timeline(user_id, wanted)
    return answers.whole_item(user_id, row, timeline, env.media_bucket, env.uploads_bucket)


@app.get("/search")
def search_items(q: Annotated[str, Query(min_length=1, max_length=1000)], limit: Limit = 20) -> answers.Found:
    """Search the caller's items by words and by meaning."""
    user_id = caller()
    asked = question.read(user_id, q)
    hits = search.run(user_id, asked, limit)
    media = Env.load().media_bucket
    return answers.Found(
        query=asked.text,
        mode="hybrid" if asked.vector else "words",
        hits=[answers.hit(user_id, row, media) for row in hits],
        notes=[asked.note] if asked.note else [],
    )


@app.get("/health")
def health() -> Response[answers.Health]:
    """Say whether an answer can be expected. Needs no token."""
    try:
        database.fetch_one("SELECT 1 AS one", {})
    except MagpieError as error:
        logger.error("database is out of reach", reason=str(error))
        failing = answers.Health(status="failing", checks={"database": "failing"})
        return Response(HTTPStatus.SERVICE_UNAVAILABLE, "application/json", failing)
    return Response(HTTPStatus.OK, "application/json", answers.Health(status="ok", checks={"database": "ok"}))


@app.get("/version")
def version() -> answers.Version:
    """Say what runs here, and where to sign in. Needs no token."""
    env = Env.load()
    return answers.Version(
        version=VERSION,
        sign_in=answers.SignIn(
            region=env.region, user_pool_id=env.user_pool_id, client_id=env.user_pool_client_id
        ),
    )


def caller() -> str:
    return identity.caller(app.current_event.raw_event, Env.load().user_pool_client_id)


def request_id() -> str:
    return str(app.current_event.request_context.request_id)


@logger.inject_lambda_context(correlation_id_path=correlation_paths.API_GATEWAY_HTTP, clear_state=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    return app.resolve(event, context)
