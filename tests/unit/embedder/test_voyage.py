"""Voyage through its real SDK, against a server that answers as the service does, well and badly."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from functions.embedder import vectors, voyage
from functions.embedder.purse import Reserved
from functions.embedder.vectors import Made
from shared import embeddings, hashed_words
from shared.embeddings import InvalidVectorError
from shared.errors import RejectedError, TransientError
from tests.fakes import voyage_server
from tests.fakes.voyage_server import KEY, Answer, Request, VoyageServer

TEXTS = ["golden sunset", "tabby cat", "steam locomotive"]


@pytest.fixture
def server() -> Iterator[VoyageServer]:
    with voyage_server.running() as server:
        yield server


def without_limit(texts: Sequence[str], owners: Sequence[str]) -> Reserved:
    """Nothing is set aside, and nobody is refused."""
    return Reserved()


def coming(base_url: str, texts: list[str]) -> Iterator[Made]:
    return vectors.buy(KEY, base_url, without_limit, texts, ["anna"] * len(texts))


def buy(server: VoyageServer, texts: list[str]) -> list[Made]:
    return list(coming(server.base_url, texts))


def expected(text: str) -> str:
    vector = hashed_words.embed(text)
    assert vector is not None
    return embeddings.halfvec(vector)


def test_texts_become_vectors_in_one_call(server: VoyageServer) -> None:
    (made,) = buy(server, TEXTS)
    assert made.vectors == {place: expected(text) for place, text in enumerate(TEXTS)}
    assert made.failures == {}
    (request,) = server.requests
    assert request["input"] == TEXTS
    assert request["model"] == "voyage-3.5-lite"
    assert request["input_type"] == "document"
    assert request["output_dimension"] == 1024
    assert server.keys == [f"Bearer {KEY}"]


def test_each_text_is_charged_its_share_and_the_sum_is_exact(server: VoyageServer) -> None:
    server.answer = lambda request: voyage_server.vectors(request, tokens=100)
    (made,) = buy(server, ["a" * 10, "b" * 20, "c" * 3])
    assert made.tokens == {0: 30, 1: 60, 2: 10}


def test_vectors_belong_to_the_index_that_they_name(server: VoyageServer) -> None:
    def shuffled(request: Request) -> Answer:
        answer = voyage_server.vectors(request)
        answer.body["data"].reverse()
        return answer

    server.answer = shuffled
    (made,) = buy(server, TEXTS)
    assert made.vectors == {place: expected(text) for place, text in enumerate(TEXTS)}


def test_vectors_may_come_as_plain_numbers(server: VoyageServer) -> None:
    def plain(request: Request) -> Answer:
        answer = voyage_server.vectors(request)
        for entry, text in zip(answer.body["data"], request["input"], strict=True):
            entry["embedding"] = hashed_words.embed(text)
        return answer

    server.answer = plain
    (made,) = buy(server, TEXTS)
    assert made.vectors[1] == expected("tabby cat")


def test_no_call_holds_more_texts_than_allowed(server: VoyageServer) -> None:
    texts = [f"picture number {number}" for number in range(300)]
    made = buy(server, texts)
    assert [len(request["input"]) for request in server.requests] == [128, 128, 44]
    assert sorted(place for part in made for place in part.vectors) == list(range(300))


def test_no_call_can_hold_more_tokens_than_allowed() -> None:
    for letter in ("a", "夕", "🌅"):
        texts = [letter * 6_000] * 128
        calls = voyage.batches(texts)
        assert [place for call in calls for place in call] == list(range(128))
        for call in calls:
            # No token is less than a byte.
            assert sum(len(texts[place].encode()) for place in call) <= 1_000_000


@pytest.mark.parametrize(
    "answer",
    [
        voyage_server.THROTTLED,
        voyage_server.BROKEN,
        voyage_server.OVERLOADED,
        voyage_server.NOT_JSON,
        voyage_server.CUT_SHORT,
        voyage_server.ANOTHER_SHAPE,
        voyage_server.TOO_DEEP,
        Answer(200, b"", "application/json"),
        Answer(200, b"\xff\xfe", "application/json"),
        Answer(200, [1, 2], "application/json"),
        Answer(200, b"plain", "text/plain"),
        Answer(204, b""),
        Answer(200, {"data": [], "usage": None}),
        Answer(200, {"data": [{"index": 0, "embedding": "AAAA"}], "usage": {"total_tokens": 1}}),
        Answer(200, {"data": [{"index": 0, "embedding": "no base64!"}], "usage": {"total_tokens": 1}}),
        Answer(200, {"data": [{"index": [0], "embedding": [1.0]}], "usage": {"total_tokens": 1}}),
        Answer(200, {"data": [{"index": 0, "embedding": [1.0]}], "usage": {"total_tokens": "many"}}),
        Answer(200, {"data": [{"index": 0, "embedding": [1.0]}], "usage": {"total_tokens": -1}}),
        Answer(502, b"bad gateway", "text/html"),
    ],
    ids=lambda answer: f"{answer.status} {str(answer.body)[:40]}",
)
def test_what_may_pass_is_tried_again_later(server: VoyageServer, answer: Answer) -> None:
    server.will_answer(answer)
    with pytest.raises(TransientError):
        buy(server, ["one"])
    assert len(server.requests) == 1, "trying again is the queue's part"


@pytest.mark.parametrize("answer", [voyage_server.UNAUTHORIZED, voyage_server.FORBIDDEN])
def test_a_wrong_key_is_not_worth_another_try(server: VoyageServer, answer: Answer) -> None:
    server.will_answer(answer)
    with pytest.raises(voyage.VoyageError) as caught:
        buy(server, ["one"])
    assert not isinstance(caught.value, TransientError)
    assert KEY not in str(caught.value)


def test_a_service_that_is_not_there_is_tried_again_later() -> None:
    with pytest.raises(TransientError):
        list(coming("http://127.0.0.1:9/v1", ["one"]))


def test_a_service_that_says_nothing_is_not_waited_for(
    server: VoyageServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    silence = threading.Event()

    def silent(request: Request) -> Answer:
        silence.wait(10)
        return voyage_server.vectors(request)

    server.answer = silent
    monkeypatch.setattr(voyage, "TIMEOUT_SECONDS", (1.0, 0.2))
    try:
        with pytest.raises(TransientError, match="Timeout"):
            buy(server, ["one"])
    finally:
        silence.set()


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:-1],
        lambda data: [*data, data[0]],
        lambda data: [{**data[0], "index": 1}, *data[1:]],
        lambda data: [{**data[0], "index": 9}, *data[1:]],
        lambda data: [{**data[0], "embedding": None}, *data[1:]],
    ],
    ids=["one too few", "one too many", "an index twice", "an index too high", "no vector"],
)
def test_vectors_that_cannot_be_told_apart_are_all_refused_and_still_charged(
    server: VoyageServer, change: Any
) -> None:
    def confused(request: Request) -> Answer:
        answer = voyage_server.vectors(request, tokens=9)
        answer.body["data"] = change(answer.body["data"])
        return answer

    server.answer = confused
    (made,) = buy(server, TEXTS)
    assert made.vectors == {}
    assert all(isinstance(error, TransientError) for error in made.failures.values())
    assert sorted(made.failures) == [0, 1, 2]
    assert sum(made.tokens.values()) == 9


@pytest.mark.parametrize(
    "bad",
    [[0.0] * 1024, [math.nan] * 1024, [math.inf] * 1024, [1.0] * 512, [1.0] * 2048],
    ids=["zeros", "NaN", "infinity", "too short", "too long"],
)
def test_a_vector_that_is_none_does_not_cost_the_others_theirs(
    server: VoyageServer, bad: list[float]
) -> None:
    def spoiled(request: Request) -> Answer:
        good = [hashed_words.embed(text) or [] for text in request["input"]]
        return voyage_server.vectors(request, [good[0], bad, good[2]])

    server.answer = spoiled
    (made,) = buy(server, TEXTS)
    assert sorted(made.vectors) == [0, 2]
    assert isinstance(made.failures[1], InvalidVectorError)
    assert sorted(made.tokens) == [0, 1, 2]


def refusing(*bad: str) -> Any:
    """Answer 400 to whatever holds a bad text."""

    def answer(request: Request) -> Answer:
        if any(text in bad for text in request["input"]):
            return voyage_server.failure(400, "One of the inputs is invalid.")
        return voyage_server.vectors(request)

    return answer


def test_one_text_that_is_refused_does_not_cost_127_others_theirs(server: VoyageServer) -> None:
    texts = [f"picture {number}" for number in range(128)]
    server.answer = refusing("picture 77")
    made = buy(server, texts)
    failures = {place: error for part in made for place, error in part.failures.items()}
    assert list(failures) == [77]
    assert isinstance(failures[77], RejectedError)
    assert failures[77].code == "not_embeddable"
    assert sorted(place for part in made for place in part.vectors) == [n for n in range(128) if n != 77]
    assert len(server.requests) <= 2 * 7 + 1


def test_a_text_alone_is_refused_only_when_a_harmless_one_is_not(server: VoyageServer) -> None:
    server.answer = refusing("poison")
    (made,) = buy(server, ["poison"])
    assert isinstance(made.failures[0], RejectedError)
    assert [request["input"] for request in server.requests] == [["poison"], ["magpie"]]


def test_a_service_that_refuses_everything_fails_no_item(server: VoyageServer) -> None:
    server.answer = lambda _: voyage_server.failure(400, "Model voyage-3.5-lite is not supported.")
    with pytest.raises(voyage.VoyageError, match="not supported"):
        buy(server, [f"picture {number}" for number in range(128)])
    assert len(server.requests) == 9


def test_a_failure_in_the_middle_keeps_what_came_before(server: VoyageServer) -> None:
    asked: list[Request] = []

    def tired(request: Request) -> Answer:
        asked.append(request)
        return voyage_server.vectors(request) if len(asked) == 1 else voyage_server.THROTTLED

    server.answer = tired
    made = coming(server.base_url, [f"picture {number}" for number in range(200)])
    assert len(next(made).vectors) == 128
    with pytest.raises(TransientError):
        next(made)


def test_an_empty_text_is_not_sent(server: VoyageServer) -> None:
    refused, made = buy(server, ["", "a cat"])
    assert isinstance(refused.failures[0], RejectedError)
    assert list(made.vectors) == [1]
    assert [request["input"] for request in server.requests] == [["a cat"]]


def test_offline_a_text_without_words_is_rejected_and_the_rest_is_made() -> None:
    (made,) = vectors.make_offline(["!!!", "a cat"], ["anna", "anna"])
    assert isinstance(made.failures[0], RejectedError)
    assert made.vectors == {1: expected("a cat")}
    assert made.tokens == {}
