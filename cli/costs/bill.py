"""What one picture, one search and one month cost, line by line."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cli.costs import data, memory, models, pictures
from cli.costs.models import Described

CALLS = {
    "s3:PutObject": "s3_put",
    "s3:GetObject": "s3_get",
    "s3:HeadObject": "s3_get",
    "events:PutEvents": "event_custom",
    "sqs:GetQueueAttributes": "sqs_request",
    "dynamodb:PutItem": "dynamodb_write",
    "dynamodb:UpdateItem": "dynamodb_write",
    "dynamodb:DeleteItem": "dynamodb_write",
}
"""AWS call → its price. An event of a stage that has one message is one entry."""
FREE = {"sqs:GetQueueUrl", "ssm:GetParameter"}
"""Calls that cost nothing, or that one in hundreds of messages makes."""
PER_MESSAGE = 3
"""Requests to SQS for a message that is alone: in by EventBridge, out and deleted by Lambda."""
LAMBDA, REQUESTS, LOGS, MODEL = "Lambda", "requests", "logs", "model"
STORAGE, TRANSFER, FIXED = "storage", "transfer", "fixed"
GB = 1e9
HOURS_A_MONTH = 730
OF_SEARCHES = "search, 2,000"
"""The case that a search is reckoned as: somebody with 2,000 pictures."""


@dataclass(frozen=True)
class Line:
    """Something that is paid for.

    Attributes:
        stage: where it arises.
        kind: what it is.
        what: the same in words.
    """

    stage: str
    kind: str
    what: str
    usd: float


def total(lines: Iterable[Line]) -> float:
    """Return the sum."""
    return sum(line.usd for line in lines)


def invocation(
    name: str,
    took: Mapping[str, Any],
    model_seconds: float = 0.0,
    *,
    stage: str = "",
    polled: bool = True,
    traced: float | None = None,
) -> list[Line]:
    """Return what one message to a function costs, without a model's price.

    Args:
        name: of the function in the template.
        polled: whether it came by a queue.
        traced: share of such messages that X-Ray records; None is what it records of many.
    """
    deployed, stage = data.stack().functions[name], stage or name
    recorded = data.assumed("traced_share") if traced is None else traced
    calls = sum(count * call_usd(call) for call, count in took["aws"].items())
    asked = PER_MESSAGE * data.price("sqs_request") if polled else 0.0
    spoken = took["log_bytes"] + data.assumed("runtime_log_bytes")
    work = memory.work(took, model_seconds)
    return [
        Line(
            stage, LAMBDA, f"{name}, {deployed.memory_mb} MB", work.usd(deployed.memory_mb, deployed.disk_mb)
        ),
        Line(stage, REQUESTS, "S3, EventBridge, SQS, DynamoDB", calls + asked),
        Line(stage, LOGS, "CloudWatch, X-Ray", log_usd(spoken) + recorded * data.price("trace")),
    ]


def call_usd(call: str) -> float:
    """Return the price of an AWS call.

    Raises:
        KeyError: nobody has said what it costs.
    """
    return 0.0 if call in FREE else data.price(CALLS[call])


def log_usd(count: float) -> float:
    """Return what bytes of log cost, taken in and kept for as long as the template says."""
    months = data.stack().retention_days / 30
    return count / GB * (data.price("log_gb") + months * data.price("log_gb_month"))


def request(name: str, case: str, *, stage: str, model_seconds: float = 0.0) -> list[Line]:
    """Return what one request to the API costs."""
    lines = invocation(name, data.measured("api", case), model_seconds, stage=stage, polled=False)
    door = data.price("http_api_request") + log_usd(data.assumed("access_log_bytes"))
    return [*lines, Line(stage, REQUESTS, "API Gateway", door)]


def picture(megapixels: float, described: Described | None, seconds: float) -> list[Line]:
    """Return what bringing in one picture costs.

    Args:
        described: by a model, or None where pictures are measured and words hashed here.
        seconds: that the model takes to describe one.
    """
    how = "offline" if described is None else "model"
    upload = [
        *request("Api", "create", stage="upload"),
        Line("upload", REQUESTS, "S3, and its event", data.price("s3_put") + data.price("event_of_s3")),
    ]
    lines = [
        *upload,
        *invocation("ImageProcessor", pictures.processed(megapixels), stage="image_processor"),
        *invocation(
            "Analyzer", data.measured("analyzer", how), seconds if described else 0.0, stage="analyzer"
        ),
        *invocation(
            "Embedder",
            data.measured("embedder", f"{how}, 1"),
            data.assumed("vectors_seconds") if described else 0.0,
            stage="embedder",
        ),
    ]
    if described is not None:
        lines.append(Line("analyzer", MODEL, described.model, described.usd))
        lines.append(Line("embedder", MODEL, "vectors", models.vector_usd()))
    return lines


def search(with_model: bool) -> list[Line]:
    """Return what one search costs, with the thumbnails that a page shows of it."""
    stage, shown = "search", data.assumed("thumbnails")
    thumbnail = pictures.object_bytes(12)["thumbnail"]
    answer = data.measured("api", OF_SEARCHES)["answer_bytes"]
    asked = data.assumed("question_seconds") if with_model else 0.0
    lines = [
        *request("Api", OF_SEARCHES, stage=stage, model_seconds=asked),
        Line(stage, TRANSFER, "the answer, to the internet", answer / GB * data.price("gb_out")),
        Line(stage, REQUESTS, f"S3, {shown:g} thumbnails", shown * data.price("s3_get")),
        Line(
            stage,
            TRANSFER,
            f"{shown:g} thumbnails, to the internet",
            shown * thumbnail / GB * data.price("gb_out"),
        ),
    ]
    if with_model:
        lines.append(Line(stage, MODEL, "the question's vector", models.question_usd()))
    return lines


def idle(in_vpc: bool) -> list[Line]:
    """Return what a month costs in which nothing happens, without the database."""
    stack, stage = data.stack(), "idle"
    polls = len(stack.polled) * data.assumed("polls_month") * data.price("sqs_request")
    lines = [
        Line(stage, FIXED, f"{stack.alarms} alarms", stack.alarms * data.price("alarm_month")),
        Line(stage, REQUESTS, f"asking {len(stack.polled)} empty queues", polls),
        *scheduled(stage),
    ]
    if in_vpc:
        hours = HOURS_A_MONTH * (data.price("nat_hour") + data.price("ipv4_hour"))
        lines.append(Line(stage, FIXED, "a NAT gateway, without its traffic", hours))
    return lines


def scheduled(stage: str) -> list[Line]:
    """Return what the functions cost that the clock starts, with nothing to do.

    They come so seldom that X-Ray records every one of them.
    """
    known = data.read("functions")["functions"]
    lines = []
    for name, runs in data.stack().runs_a_month.items():
        each = total(invocation(name, schedule_took(known[name]), traced=1))
        lines.append(Line(stage, LAMBDA, f"{name}, {runs:,.0f} times", runs * each))
    return lines


def schedule_took(known: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a function takes when it finds nothing to do, measured or estimated."""
    if "folder" in known:
        return data.measured(known["folder"], "nothing to do")
    return {"cpu_ms": 0.0, "sql_ms": 1000.0 * known["seconds"], "sql": 0, "aws": {}, "log_bytes": 0}


def kept(megapixels: float) -> Line:
    """Return what the objects of one picture cost a month."""
    size = sum(pictures.object_bytes(megapixels).values())
    return Line("kept", STORAGE, "S3: original, web image, thumbnail", size / GB * data.price("s3_gb_month"))
