"""A delivery's envelope, and what becomes of it: one answer for all refusals, and for the rest our words."""

import base64
import json
from typing import Any

import pytest

from shared import incoming
from shared.errors import TransientError
from shared.incoming import NotConfiguredError, RefusedError, Request
from shared.parameters import MissingParameterError


def event(body: str | None = "{}", *, encoded: bool = False, **headers: str) -> dict[str, Any]:
    return {
        "body": body,
        "isBase64Encoded": encoded,
        "headers": headers,
        "requestContext": {"requestId": "JKJaXmPLvHcESHA="},
    }


def refused(*arguments: Any, **named: Any) -> str:
    with pytest.raises(RefusedError) as raised:
        incoming.read(*arguments, **named)
    return raised.value.reason


def test_the_body_is_what_was_sent_byte_for_byte() -> None:
    sent = '{"name": "Grüße"}\r\n '.encode()
    assert incoming.read(event(sent.decode())).body == sent
    assert incoming.read(event(base64.b64encode(sent).decode(), encoded=True)).body == sent
    assert incoming.read(event(None)).body == b""


def test_names_of_headers_are_in_lower_case() -> None:
    read = incoming.read(event(**{"X-Amz-Sns-Message-Type": "Notification"}))
    assert read == Request(b"{}", {"x-amz-sns-message-type": "Notification"}, "JKJaXmPLvHcESHA=")


@pytest.mark.parametrize("size", [0, 1, 2, 3, 97, 98, 99, 100])
def test_what_fits_is_read_and_a_byte_more_is_not(size: int) -> None:
    for encoded in (False, True):

        def sent(count: int, encoded: bool = encoded) -> dict[str, Any]:
            text = "x" * count
            return event(base64.b64encode(text.encode()).decode() if encoded else text, encoded=encoded)

        assert len(incoming.read(sent(size), most=size or 1).body) == size
        assert refused(sent(size + 2), most=size + 1) == "too large"


@pytest.mark.parametrize("body", ["=", "a", "a b=", "\u00e9", "YWJj\n"])
def test_what_is_not_base64_is_refused(body: str) -> None:
    assert refused(event(body, encoded=True)) == "not decodable"


def test_a_document_is_an_object_of_bounded_depth_with_each_name_once() -> None:
    assert incoming.parse('{"a": [1, 2.5, "\\u0000"], "b": null}') == {"a": [1, 2.5, "\x00"], "b": None}
    levels = incoming.MAX_DEPTH - 1
    assert incoming.parse('{"a": ' + "[" * (levels - 1) + "]" * (levels - 1) + "}")
    for wrong in (
        "", "[]", "1", '{"a": 1, "a": 1}', '{"a": {"b": 1, "b": 2}}', '{"a": NaN}', '{"a": 1e999}',
        '{"a": ' + "[" * (levels + 1) + "]" * (levels + 1) + "}",
    ):  # fmt: skip
        with pytest.raises(RefusedError):
            incoming.parse(wrong)


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (RefusedError("not for us"), 400, {"received": False}),
        (RefusedError("not signed by them"), 400, {"received": False}),
        (MissingParameterError("there is no parameter /x"), 503, "there is no parameter /x"),
        (NotConfiguredError("The parameter /x must hold …"), 503, "The parameter /x must hold …"),
        (TransientError("words of ours"), 503, "A part that is needed does not respond."),
        (RuntimeError("words of theirs"), 500, "It has been written down."),
    ],
)
def test_whatever_is_raised_has_its_answer(
    error: Exception, status: int, told: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def receive(_: Request) -> None:
        raise error

    answer = incoming.respond(event(), "stripe", receive)
    body = json.loads(answer["body"])
    assert answer["statusCode"] == status
    assert (body if status == 400 else body["detail"]) == told
    assert ("Retry-After" in answer["headers"]) == (status >= 500)
    assert "words of theirs" not in json.dumps(answer) + caplog.text + str([vars(r) for r in caplog.records])
    (line,) = caplog.records
    assert vars(line)["provider"] == "stripe"


def test_what_was_taken_is_said_to_be() -> None:
    answer = incoming.respond(event(), "stripe", lambda _: None)
    assert (answer["statusCode"], json.loads(answer["body"])) == (200, {"received": True})
