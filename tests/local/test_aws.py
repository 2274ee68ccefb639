"""The AWS endpoint of the small stack: Lambda, queues with workers behind them, S3, and who may ask."""

import json
from typing import Any

import pytest
import urllib3
from botocore.exceptions import ClientError

from tests.local.running import wait_until

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def s3(stack: Any) -> Any:
    return stack.client("s3")


@pytest.fixture(scope="module")
def sqs(stack: Any) -> Any:
    return stack.client("sqs")


@pytest.fixture(scope="module")
def functions(stack: Any) -> Any:
    return stack.client("lambda")


def done(stack: Any, s3: Any, name: str) -> list[str]:
    """What the worker wrote about a job: one key per attempt."""
    listed = s3.list_objects_v2(Bucket=stack.info["media_bucket"], Prefix=f"{name}/")
    return [entry["Key"] for entry in listed.get("Contents", [])]


def attempts(stack: Any, s3: Any, name: str) -> int:
    return len(done(stack, s3, name))


def send(stack: Any, sqs: Any, **job: Any) -> None:
    sqs.send_message(QueueUrl=stack.queue_url("JobQueue"), MessageBody=json.dumps(job))


def waiting(sqs: Any, url: str) -> int:
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    return sum(
        int(n) for n in sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"].values()
    )


# Lambda


def test_a_function_is_invoked_by_name_and_by_arn(functions):
    for name in (
        "magpie-Probe",
        "magpie-Probe:$LATEST",
        "arn:aws:lambda:us-east-1:123456789012:function:magpie-Probe",
        "123456789012:function:magpie-Probe",
    ):
        answer = functions.invoke(FunctionName=name, Payload=b'{"a": 1}')
        assert answer["StatusCode"] == 200
        assert answer["ExecutedVersion"] == "$LATEST"
        assert "FunctionError" not in answer
        assert json.load(answer["Payload"])["event"] == {"a": 1}


def test_a_functions_error_is_said_in_the_header(functions):
    answer = functions.invoke(FunctionName="magpie-Probe", Payload=b'{"do": "raise", "message": "no"}')
    assert (answer["StatusCode"], answer["FunctionError"]) == (200, "Unhandled")
    assert json.load(answer["Payload"])["errorMessage"] == "no"


def test_a_function_that_is_not_there_is_not_found(functions):
    with pytest.raises(functions.exceptions.ResourceNotFoundException):
        functions.invoke(FunctionName="magpie-Nobody")


def test_a_payload_that_is_not_json_or_too_large_is_refused(functions):
    with pytest.raises(functions.exceptions.InvalidRequestContentException):
        functions.invoke(FunctionName="magpie-Probe", Payload=b"{")
    with pytest.raises(functions.exceptions.RequestTooLargeException):
        functions.invoke(FunctionName="magpie-Probe", Payload=b'"' + b"x" * 6_300_000 + b'"')


def test_an_event_invocation_returns_before_the_function(stack, functions, tmp_path):
    answer = functions.invoke(
        FunctionName="magpie-Probe",
        InvocationType="Event",
        Payload=json.dumps({"do": "meet", "folder": str(tmp_path), "count": 1}),
    )
    assert answer["StatusCode"] == 202
    wait_until(lambda: list(tmp_path.iterdir()))


def test_a_dry_run_runs_nothing(functions, tmp_path):
    payload = json.dumps({"do": "meet", "folder": str(tmp_path), "count": 1})
    answer = functions.invoke(FunctionName="magpie-Probe", InvocationType="DryRun", Payload=payload)
    assert answer["StatusCode"] == 204
    assert not list(tmp_path.iterdir())


def test_the_functions_environment_reaches_the_stack(stack, functions):
    answer = functions.invoke(FunctionName="magpie-Probe", Payload=b'{"do": "environment"}')
    environment = json.load(answer["Payload"])["environment"]
    assert environment["GREETING"] == "hello"
    assert environment["AWS_ENDPOINT_URL"] == stack.aws_url
    name = environment["DATABASE_URL_PARAMETER"]
    value = stack.client("ssm").get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"]
    assert value == stack.info["database_url"]


# Queues


def test_a_message_is_worked_on_and_gone(stack, s3, sqs):
    send(stack, sqs, name="good")
    wait_until(lambda: attempts(stack, s3, "good") == 1)
    wait_until(lambda: waiting(sqs, stack.queue_url("JobQueue")) == 0)


def test_failed_messages_are_tried_again_and_then_dead(stack, s3, sqs):
    # Hidden for two seconds here, so that the test need not wait for thirty.
    url, dead = stack.queue_url("JobQueue"), stack.queue_url("JobDeadLetters")
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "2"})
    send(stack, sqs, name="once", fail=1)
    send(stack, sqs, name="always", fail=99)
    send(stack, sqs, name="crash", crash=1)
    send(stack, sqs, name="raise", **{"raise": 1})
    send(stack, sqs, name="malformed", malformed=1)
    wait_until(lambda: waiting(sqs, url) == 0, 60)
    bodies = [json.loads(m["Body"])["name"] for m in _all(sqs, dead)]
    # Those who shared a batch with a crash were tried as often as it, and may have ended as it did.
    assert "always" in bodies
    assert attempts(stack, s3, "always") == 2
    assert attempts(stack, s3, "once") == 2 or "once" in bodies
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "30"})
    empty(sqs, dead)


def _all(sqs: Any, url: str) -> list[Any]:
    found = []
    while True:
        answer = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=0)
        known = {message["MessageId"] for message in found}
        fresh = [m for m in answer.get("Messages", []) if m["MessageId"] not in known]
        if not fresh:
            return found
        found += fresh


def empty(sqs: Any, url: str) -> None:
    for message in _all(sqs, url):
        sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    assert waiting(sqs, url) == 0


def test_dead_letters_are_redriven_by_one_call(stack, s3, sqs):
    url, dead = stack.queue_url("JobQueue"), stack.queue_url("JobDeadLetters")
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "1"})
    send(stack, sqs, name="mended", fail=2)
    wait_until(lambda: waiting(sqs, dead) == 1, 30)
    assert attempts(stack, s3, "mended") == 2
    arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    assert sqs.start_message_move_task(SourceArn=arn)["TaskHandle"]
    wait_until(lambda: waiting(sqs, dead) == 0)
    (task,) = sqs.list_message_move_tasks(SourceArn=arn)["Results"]
    assert (task["Status"], task["ApproximateNumberOfMessagesMoved"]) == ("COMPLETED", 1)
    # It is a new message: it may fail twice again, and then it is dead again.
    wait_until(lambda: waiting(sqs, dead) == 1, 30)
    assert attempts(stack, s3, "mended") == 4
    empty(sqs, dead)
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "30"})


def test_a_redrive_that_sqs_would_refuse_is_refused(stack, sqs):
    url = stack.queue_url("JobQueue")
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    with pytest.raises(ClientError, match="must be configured as a Dead Letter Queue"):
        sqs.start_message_move_task(SourceArn=arn)
    with pytest.raises(sqs.exceptions.ResourceNotFoundException):
        sqs.cancel_message_move_task(TaskHandle="never")


# S3


def heard(stack: Any, sqs: Any) -> list[dict[str, Any]]:
    url = stack.queue_url("RecorderQueue")
    messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1).get(
        "Messages", []
    )
    for message in messages:
        sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return [json.loads(message["Body"]) for message in messages]


def test_an_object_is_announced_on_the_queue_behind_the_rule(stack, s3, sqs):
    bucket = stack.info["uploads_bucket"]
    version = s3.put_object(Bucket=bucket, Key="u/a", Body=b"x", ContentType="image/png")["VersionId"]
    (event,) = heard(stack, sqs)
    assert event["detail"]["object"]["version-id"] == version
    assert s3.get_object(Bucket=bucket, Key="u/a")["ContentType"] == "image/png"


def post(stack: Any, s3: Any, body: bytes, limit: int = 100, **changed: str) -> Any:
    bucket = stack.info["uploads_bucket"]
    given = s3.generate_presigned_post(
        bucket,
        "u/i/original",
        Fields={"Content-Type": "image/jpeg"},
        Conditions=[["content-length-range", 1, limit], {"Content-Type": "image/jpeg"}],
        ExpiresIn=900,
    )
    fields = {**given["fields"], **changed, "file": ("photo.jpg", body, "image/jpeg")}
    return urllib3.PoolManager().request("POST", given["url"], fields=fields)


def test_a_presigned_upload_is_announced_as_one(stack, s3, sqs):
    assert post(stack, s3, b"\xff\xd8\x00bytes").status == 204
    (event,) = heard(stack, sqs)
    assert event["detail"]["reason"] == "POST Object"
    kept = s3.get_object(Bucket=stack.info["uploads_bucket"], Key="u/i/original")
    assert kept["Body"].read() == b"\xff\xd8\x00bytes"
    assert kept["ContentType"] == "image/jpeg"


@pytest.mark.parametrize(
    ("body", "changed", "status", "code"),
    [
        (b"x" * 101, {}, 400, b"EntityTooLarge"),
        (b"", {}, 400, b"EntityTooSmall"),
        (b"x", {"key": "somebody/else"}, 403, b"AccessDenied"),
        (b"x", {"Content-Type": "text/html"}, 403, b"AccessDenied"),
        (b"x", {"acl": "public-read"}, 403, b"AccessDenied"),
    ],
)
def test_a_presigned_upload_holds_to_its_policy(stack, s3, sqs, body, changed, status, code):
    answer = post(stack, s3, body, **changed)
    assert (answer.status, code in answer.data) == (status, True), answer.data
    assert heard(stack, sqs) == []


def test_a_presigned_view_shows_the_object(stack, s3):
    bucket = stack.info["media_bucket"]
    s3.put_object(Bucket=bucket, Key="u/t.webp", Body=b"thumb", ContentType="image/webp")
    url = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "u/t.webp"})
    answer = urllib3.PoolManager().request("GET", url)
    assert (answer.status, answer.data, answer.headers["content-type"]) == (200, b"thumb", "image/webp")
    assert ask(stack, f"/{bucket}/u/t.webp").status == 403, "nobody has signed this"


# Who may ask


def ask(stack: Any, path: str = "/", method: str = "GET", **headers: str) -> Any:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return urllib3.PoolManager().request(method, stack.aws_url + path, headers=sent)


def test_a_page_from_elsewhere_cannot_read_buckets(stack, s3):
    media = stack.info["media_bucket"]
    s3.put_object(Bucket=media, Key="secret", Body=b"private")
    answer = ask(stack, f"/{media}/secret", Origin="https://evil.example")
    assert answer.status == 403
    assert b"private" not in answer.data
    assert "access-control-allow-origin" not in ask(stack, f"/{media}/secret").headers


def test_a_name_that_was_bent_to_this_machine_is_refused(stack):
    assert b"only there for its own machine" in ask(stack, Host="evil.example:4566").data
    assert b"<Code>AccessDenied</Code>" in ask(stack, Host="localhost:4566").data


def test_motos_own_switches_are_out_of_reach(stack):
    assert ask(stack, "/moto-api/reset", "POST").status == 404
    assert ask(stack, "/moto-api/data.json").status == 404


def test_the_stacks_own_page_may_upload_and_sign_in(stack):
    origin = stack.api_url
    bucket = f"/{stack.info['uploads_bucket']}"
    answer = ask(stack, bucket, "OPTIONS", Origin=origin, Access_Control_Request_Method="POST")
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, origin)
    answer = ask(stack, bucket, "POST", Origin=origin)
    assert answer.headers.getlist("access-control-allow-origin") == [origin], "the browser hides the answer"
    target = "AWSCognitoIdentityProviderService.InitiateAuth"
    answer = ask(stack, "/", "OPTIONS", Origin=origin, Access_Control_Request_Method="POST")
    assert answer.headers["access-control-allow-origin"] == origin
    answer = ask(
        stack, "/", "POST", Origin=origin, X_Amz_Target=target, Content_Type="application/x-amz-json-1.1"
    )
    assert answer.headers["access-control-allow-origin"] == origin


def test_a_certificate_that_nothing_was_signed_with_is_not_there(stack):
    url = f"{stack.aws_url}/SimpleNotificationService-{'0' * 32}.pem"
    assert urllib3.request("GET", url, retries=False).status == 404
