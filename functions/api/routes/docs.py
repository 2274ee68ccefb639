"""This interface, described: for programs and for people."""

from http import HTTPStatus

from aws_lambda_powertools.event_handler import Response

from functions.api import reference, request

router = request.router()

HEADERS = {"Cache-Control": "public, max-age=300"}
"""The same for everybody, and soon seen anew after a deployment."""


@router.get("/openapi.json", compress=True)
def get_openapi() -> Response[str]:
    """Get this document: OpenAPI 3.1. Needs no token."""
    return Response(HTTPStatus.OK, "application/json", reference.document(), HEADERS)


@router.get("/docs", compress=True)
def get_docs() -> Response[str]:
    """Read this document as a page. Needs no token."""
    page = reference.page()
    headers = HEADERS | {"Content-Security-Policy": page.policy, "Referrer-Policy": "no-referrer"}
    return Response(HTTPStatus.OK, "text/html; charset=utf-8", page.html, headers)
