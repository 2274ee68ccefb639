"""Event models ↔ schemas ↔ examples ↔ documentation ↔ sample events."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import create_model

from events import generate
from shared.events import EVENTS, Contract, Event, Metadata
from tests.contract.conftest import ROOT, Document, folder, named

EXAMPLES = sorted((ROOT / "events").glob("*/v*.example.json"))
SAMPLES = sorted((ROOT / "events" / "samples").glob("*/*.json"))


def name(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def test_generated_files_are_what_make_events_writes() -> None:
    for path, content in generate.files().items():
        assert (ROOT / path).read_text() == content, f"{path} is out of date: run `make events`"


def test_every_folder_is_an_event_with_schema_and_example() -> None:
    folders = {path.name for path in (ROOT / "events").iterdir() if path.is_dir()} - {
        "console",
        "samples",
        "__pycache__",
    }
    assert folders == {event.detail_type for event in EVENTS}
    for event in folders:
        versions = {path.name.split(".")[0] for path in (ROOT / "events" / event).iterdir()}
        for version in versions:
            assert (ROOT / "events" / event / f"{version}.schema.json").exists()
            assert (ROOT / "events" / event / f"{version}.example.json").exists()


def test_an_event_is_named_like_its_class() -> None:
    assert EVENTS
    for event in EVENTS:
        assert event.__name__ == event.detail_type


def model_of(path: Path) -> type[Event]:
    (event,) = [event for event in EVENTS if event.detail_type == path.parent.name]
    return event


@pytest.mark.parametrize("path", EXAMPLES, ids=name)
def test_every_example_ever_committed_still_parses(path: Path) -> None:
    example = json.loads(path.read_text())
    event = model_of(path)
    whole = create_model("Detail", __base__=Contract, metadata=(Metadata, ...), data=(event, ...))
    parsed = whole.model_validate(example)
    # Nothing of it is lost: the example uses fields that the model knows.
    assert parsed.model_dump(mode="json", exclude_none=True) == example


@pytest.mark.parametrize("path", EXAMPLES, ids=name)
def test_every_example_satisfies_its_schema(path: Path) -> None:
    schema = json.loads(path.with_name(path.name.replace("example", "schema")).read_text())
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
    validator.validate(json.loads(path.read_text()))
    assert not validator.is_valid({"metadata": {}, "data": {}})


def test_there_are_examples_and_samples() -> None:
    assert len(EXAMPLES) >= len(EVENTS)
    assert SAMPLES


def test_every_event_is_published_by_somebody() -> None:
    published = generate.publishers()
    assert published
    assert [event for event, by in published.items() if not by] == []


def test_every_function_has_a_sample_event(document: Document) -> None:
    assert {path.parent.name for path in SAMPLES} == {folder(name) for name in document.functions()}


def queue_batches() -> list[Path]:
    return [path for path in SAMPLES if "Records" in json.loads(path.read_text())]


def envelopes() -> list[tuple[str, dict[str, Any]]]:
    found = [
        (name(path), event)
        for path in queue_batches()
        for record in json.loads(path.read_text())["Records"]
        if (event := json.loads(record["body"]))["source"] != "aws.events"
    ]
    alone = [(name(path), json.loads(path.read_text())) for path in SAMPLES]
    # What a schedule says passes no rule of ours.
    return found + [
        (name, event) for name, event in alone if "detail-type" in event and event["source"] != "aws.events"
    ]


@pytest.mark.parametrize("path", queue_batches(), ids=name)
def test_a_queue_batch_has_the_shape_that_lambda_sends(path: Path, document: Document) -> None:
    functions = {folder(name): name for name in document.functions()}
    source = document.queue_of(functions[path.parent.name])
    assert source is not None
    records = json.loads(path.read_text())["Records"]
    assert 1 <= len(records) <= source["BatchSize"]
    for record in records:
        assert set(record) == {
            "messageId",
            "receiptHandle",
            "body",
            "attributes",
            "messageAttributes",
            "md5OfBody",
            "eventSource",
            "eventSourceARN",
            "awsRegion",
        }
        assert set(record["attributes"]) >= {
            "ApproximateReceiveCount",
            "SentTimestamp",
            "SenderId",
            "ApproximateFirstReceiveTimestamp",
        }
        assert all(isinstance(value, str) for value in record["attributes"].values())
        assert record["eventSource"] == "aws:sqs"
        assert record["eventSourceARN"].split(":")[:3] == ["arn", "aws", "sqs"]
        assert record["md5OfBody"] == hashlib.md5(record["body"].encode()).hexdigest()  # noqa: S324 - SQS's own


@pytest.mark.parametrize(("sample", "envelope"), envelopes(), ids=lambda value: str(value)[:40])
def test_an_envelope_in_a_sample_would_pass_the_rule(
    sample: str, envelope: dict[str, Any], document: Document
) -> None:
    assert set(envelope) == {
        "version",
        "id",
        "detail-type",
        "source",
        "account",
        "time",
        "region",
        "resources",
        "detail",
    }
    assert envelope["version"] == "0"
    hears = generate.hearers()[envelope["source"], envelope["detail-type"]]
    assert sample.split("/")[0] in hears
    if envelope["source"] == "magpie":
        (event,) = [event for event in EVENTS if event.detail_type == envelope["detail-type"]]
        Draft202012Validator(generate.schema(event)).validate(envelope["detail"])


def test_a_scheduled_event_is_a_sample_of_a_function_with_a_schedule(document: Document) -> None:
    takers = {
        named(source["Queue"]): folder(name)
        for name in document.functions()
        if (source := document.queue_of(name))
    }
    scheduled = {
        takers[named(target["Arn"])]
        for rule in document.of("AWS::Events::Rule").values()
        if "ScheduleExpression" in rule["Properties"]
        for target in rule["Properties"]["Targets"]
    }
    assert scheduled
    samples = {
        path.parent.name
        for path in SAMPLES
        if json.loads(path.read_text()).get("detail-type") == "Scheduled Event"
    }
    assert samples == scheduled


def http_requests() -> list[Path]:
    return [path for path in SAMPLES if "requestContext" in json.loads(path.read_text())]


@pytest.mark.parametrize("path", http_requests(), ids=name)
def test_an_http_request_has_the_shape_that_api_gateway_sends(path: Path, document: Document) -> None:
    request = json.loads(path.read_text())
    functions = {folder(name): each for name, each in document.functions().items()}
    events = functions[path.parent.name]["Properties"]["Events"].values()
    routes = {f"{event['Properties']['Method']} {event['Properties']['Path']}": event for event in events}
    assert request["version"] == "2.0"
    context = request["requestContext"]
    assert request["routeKey"] == context["routeKey"]
    route = routes[request["routeKey"]]
    assert request["rawPath"] == context["http"]["path"]
    assert isinstance(request["isBase64Encoded"], bool)
    if "proxy" in request["routeKey"]:
        assert request["pathParameters"] == {"proxy": request["rawPath"].removeprefix("/")}
    if "Auth" not in route["Properties"]:
        claims = context["authorizer"]["jwt"]["claims"]
        assert claims["token_use"] == "access"
        assert {"sub", "client_id", "exp", "iss"} <= set(claims)
        assert all(isinstance(claim, str) for claim in claims.values()), "API Gateway makes every claim text"


def test_there_are_queue_batches_envelopes_and_http_requests_to_check() -> None:
    assert queue_batches()
    assert envelopes()
    assert http_requests()
