"""The page: its files, for everybody, and what a browser may do with them."""

from http import HTTPStatus

from aws_lambda_powertools.event_handler import Response

from functions.api import problems, request, upload, website
from functions.api.request import Env
from shared import objects

router = request.router()


@router.get("/", compress=True, include_in_schema=False)
def index() -> Response[str]:
    """Answer with the page itself; a browser asks every time whether it is still the same."""
    text, policy = website.load().index, _policy()
    etag = website.etag(policy, text)
    headers = website.HEADERS | {
        "Cache-Control": website.CHECK_FIRST,
        "Content-Security-Policy": policy,
        "ETag": etag,
    }
    if website.matches(etag, request.event().headers.get("if-none-match")):
        return Response(HTTPStatus.NOT_MODIFIED, body="", headers=headers)
    return Response(HTTPStatus.OK, website.CONTENT_TYPES[".html"], text, headers)


@router.get("/web/<release>/<name>", compress=True, include_in_schema=False)
def file(release: str, name: str) -> Response[str]:
    """Answer with a file of the page.

    Of another release, which a browser names while a deployment goes on, it is the present file, and not
    to be kept under that name.
    """
    site = website.load()
    kind = website.content_type(name)
    if kind is None or name not in site.files or name == website.INDEX:
        raise problems.not_found()
    cached = website.FOR_EVER if release == site.release else "no-store"
    headers = website.HEADERS | {"Cache-Control": cached, "Content-Security-Policy": "default-src 'none'"}
    return Response(HTTPStatus.OK, kind, site.files[name], headers)


def _policy() -> str:
    env = Env.load()
    # Of what is really signed: addresses of a bucket differ by region, and by what is done with them.
    media = objects.view_url(env.media_bucket, "any", 1)
    uploads = upload.form(env.uploads_bucket, "any", upload.CONTENT_TYPES[0], 1).url
    return website.policy(pictures=[media], requests=[uploads, env.hosted_ui_url])
