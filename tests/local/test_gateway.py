"""The HTTP API of the small stack, from outside, and its rules one by one."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from local.functions import Cors, HttpApi, Route
from local.gateway import MAX_BODY_BYTES, cors_headers, find_route, read_response

pytestmark = pytest.mark.stack


def event_of(answer: Any) -> dict[str, Any]:
    assert answer.status == 200, answer.data
    return answer.json()["event"]


def test_without_a_token_nobody_gets_in(stack):
    answer = stack.request("GET", "/items")
    assert answer.status == 401
    assert answer.json() == {"message": "Unauthorized"}
    assert answer.headers["www-authenticate"] == "Bearer"


def test_a_signed_in_user_is_named_in_the_claims(stack):
    token = stack.token()
    event = event_of(stack.request("GET", "/items", headers={"Authorization": f"Bearer {token}"}))
    authorizer = event["requestContext"]["authorizer"]["jwt"]
    assert authorizer["claims"]["sub"] == stack.info["user"]["sub"]
    assert authorizer["claims"]["token_use"] == "access"
    assert authorizer["claims"]["client_id"] == stack.info["sign_in"]["client_id"]
    assert all(isinstance(value, str) for value in authorizer["claims"].values())
    assert authorizer["scopes"] is None


def test_a_token_with_a_changed_signature_is_refused(stack):
    token = stack.token()
    flipped = token[:-6] + ("AAAAAA" if token[-6:] != "AAAAAA" else "BBBBBB")
    for bad in (flipped, token[:-1], token + "x"):
        assert stack.request("GET", "/items", headers={"Authorization": f"Bearer {bad}"}).status == 401


def test_a_scope_that_the_token_does_not_have_is_forbidden(stack):
    answer = stack.request("GET", "/scoped", headers={"Authorization": stack.token()})
    assert (answer.status, answer.json()) == (403, {"message": "Forbidden"})


def test_an_event_has_exactly_the_gateways_shape(stack):
    answer = stack.request(
        "POST",
        "/open?b=2&a=1&b=%C3%A4&empty=",
        body=json.dumps({"text": "ä"}),
        headers={
            "Content-Type": "application/json",
            "Cookie": "x=1; y=2",
            "X-Twice": "one",
            "User-Agent": "test",
        },
    )
    event = event_of(answer)
    context = event.pop("requestContext")
    headers = event.pop("headers")
    assert event == {
        "version": "2.0",
        "routeKey": "ANY /open",
        "rawPath": "/open",
        "rawQueryString": "b=2&a=1&b=%C3%A4&empty=",
        "cookies": ["x=1", "y=2"],
        "queryStringParameters": {"a": "1", "b": "2,ä", "empty": ""},
        "body": '{"text": "\\u00e4"}',
        "isBase64Encoded": False,
    }
    assert headers["x-twice"] == "one"
    assert headers["content-type"] == "application/json"
    assert headers["x-forwarded-proto"] == "http"
    assert "cookie" not in headers
    assert context["http"] == {
        "method": "POST",
        "path": "/open",
        "protocol": "HTTP/1.1",
        "sourceIp": "127.0.0.1",
        "userAgent": "test",
    }
    assert (context["stage"], context["routeKey"], context["accountId"]) == (
        "$default",
        "ANY /open",
        "123456789012",
    )
    assert context["requestId"] == answer.headers["apigw-requestid"]
    assert "authorizer" not in context
    assert list(context) == [
        "accountId", "apiId", "domainName", "domainPrefix", "http", "requestId", "routeKey", "stage", "time",
        "timeEpoch",
    ]  # fmt: skip


def test_path_parameters_are_decoded(stack):
    event = event_of(stack.request("GET", "/open/caf%C3%A9%20x"))
    assert event["pathParameters"] == {"name": "café x"}
    assert event["rawPath"] == "/open/café x"


def test_bytes_reach_the_function_in_base64(stack):
    event = event_of(
        stack.request("POST", "/open", body=b"\xff\x00\x01", headers={"Content-Type": "image/png"})
    )
    assert (event["body"], event["isBase64Encoded"]) == ("/wAB", True)
    event = event_of(
        stack.request("POST", "/open", body=b"\xff", headers={"Content-Type": "application/json"})
    )
    assert event["isBase64Encoded"] is True


def test_bytes_come_back_as_bytes(stack):
    answer = stack.request("GET", "/open?answer=binary")
    assert answer.data == bytes(range(256))
    assert answer.headers["content-type"] == "image/png"


def test_status_headers_and_cookies_are_the_functions(stack):
    answer = stack.request("GET", "/open?answer=cookies")
    assert (answer.status, answer.data) == (201, b"set")
    assert answer.headers["x-own"] == "yes"
    assert answer.headers.getlist("set-cookie") == ["a=1; Path=/", "b=2"]


def test_an_answer_without_a_status_is_json(stack):
    answer = stack.request("GET", "/open?answer=plain")
    assert (answer.status, answer.json()) == (200, {"just": "data"})
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("answer", ["raise", "nonsense"])
def test_a_function_that_fails_gives_away_nothing(stack, answer):
    reply = stack.request("GET", f"/open?answer={answer}")
    assert (reply.status, reply.json()) == (500, {"message": "Internal Server Error"})


def test_a_route_that_is_not_there_is_not_found(stack):
    answer = stack.request("GET", "/")
    assert (answer.status, answer.json()) == (404, {"message": "Not Found"})
    assert stack.request("POST", "/open/name").status == 401  # only GET has the open route


def test_a_function_slower_than_its_route_allows_is_given_up_on(stack):
    answer = stack.request("GET", "/slow?answer=slow")
    assert (answer.status, answer.json()) == (503, {"message": "Service Unavailable"})


def test_a_throttled_route_says_so(stack):
    assert [stack.request("GET", "/rare").status for _ in range(3)] == [200, 200, 429]
    assert stack.request("GET", "/open").status == 200


def test_a_body_that_is_too_large_is_refused(stack):
    answer = stack.request("POST", "/open", body=b"x" * (MAX_BODY_BYTES + 1))
    assert (answer.status, answer.json()) == (413, {"message": "Request Entity Too Large"})
    # Under the gateway's limit and over Lambda's.
    assert stack.request("POST", "/open", body=b"\xff" * 6_000_000).status == 413


def test_headers_that_are_too_large_are_refused(stack):
    assert stack.request("GET", "/open", headers={"X-Large": "x" * 10_300}).status == 431


def test_many_requests_at_once_are_all_answered(stack):
    with ThreadPoolExecutor(16) as threads:
        statuses = list(threads.map(lambda n: stack.request("GET", f"/open?n={n}").status, range(64)))
    assert statuses == [200] * 64


def own_origin(stack: Any) -> str:
    return str(stack.api_url)


def test_a_page_of_the_stack_may_ask(stack):
    answer = stack.request(
        "OPTIONS",
        "/items",
        headers={"Origin": own_origin(stack), "Access-Control-Request-Method": "POST"},
    )
    assert answer.status == 204
    assert answer.headers["access-control-allow-origin"] == own_origin(stack)
    assert answer.headers["access-control-allow-methods"] == "GET,POST"
    assert answer.headers["access-control-allow-headers"] == "authorization,content-type"
    assert answer.headers["access-control-max-age"] == "600"
    answer = stack.request("GET", "/items", headers={"Origin": own_origin(stack)})
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (401, own_origin(stack))


def test_a_page_from_elsewhere_may_not_whatever_the_function_says(stack):
    evil = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    answer = stack.request("OPTIONS", "/items", headers=evil)
    assert answer.status == 204
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]
    answer = stack.request("GET", "/open?answer=cookies", headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in answer.headers


def test_a_second_users_token_names_the_second_user(stack):
    sub = stack.new_user("second@magpie.test", "correct horse 1")
    token = stack.token("second@magpie.test", "correct horse 1")
    event = event_of(stack.request("GET", "/items", headers={"Authorization": token}))
    assert event["requestContext"]["authorizer"]["jwt"]["claims"]["sub"] == sub != stack.info["user"]["sub"]


# The rules, without a stack


def api(*keys: str) -> HttpApi:
    return HttpApi("Api", "id", tuple(Route(*key.split(" "), function=key) for key in keys))


@pytest.mark.parametrize(
    ("method", "path", "key", "parameters"),
    [
        ("GET", "/items", "GET /items", {}),
        ("POST", "/items", "ANY /items", {}),
        ("GET", "/items/1", "GET /items/{id}", {"id": "1"}),
        ("GET", "/items/new", "GET /items/new", {}),
        ("GET", "/items/1/more/still", "ANY /{proxy+}", {"proxy": "items/1/more/still"}),
        ("GET", "/files/a/b", "GET /files/{path+}", {"path": "a/b"}),
        ("PUT", "/files/a/b", "ANY /{proxy+}", {"proxy": "files/a/b"}),
        ("GET", "/files", "ANY /{proxy+}", {"proxy": "files"}),
    ],
)
def test_the_most_specific_route_answers(method, path, key, parameters):
    routes = api(
        "ANY /{proxy+}", "ANY /items", "GET /items", "GET /items/{id}", "GET /items/new", "GET /files/{path+}"
    )
    match = find_route(routes, method, path)
    assert match is not None
    assert (match.route.key, match.parameters) == (key, parameters)


def test_no_route_is_no_match():
    assert find_route(api("GET /items", "GET /items/{id}"), "GET", "/items/1/2") is None
    assert find_route(api("GET /items"), "POST", "/items") is None
    assert find_route(api("ANY /{proxy+}"), "GET", "/") is None
    assert find_route(api("GET /items/{id}"), "GET", "/items/") is None


@pytest.mark.parametrize(
    "answer",
    [
        b"not json",
        b'{"statusCode": "x"}',
        b'{"statusCode": 99}',
        b'{"statusCode": 200, "body": "***", "isBase64Encoded": true}',
        b'{"statusCode": 200, "headers": {"a": "b\\r\\nSet-Cookie: c"}}',
    ],
)
def test_what_is_no_response_is_refused(answer):
    with pytest.raises((ValueError, TypeError)):
        read_response(answer)


def test_a_wildcard_origin_allows_everybody_and_a_scheme_only_its_own():
    assert cors_headers(Cors(origins=("*",)), "https://a.example") == {"Access-Control-Allow-Origin": "*"}
    secure = Cors(origins=("https://*",))
    assert cors_headers(secure, "https://a.example")["Access-Control-Allow-Origin"] == "https://a.example"
    assert cors_headers(secure, "http://a.example") == {}
    assert cors_headers(None, "https://a.example") == {}
