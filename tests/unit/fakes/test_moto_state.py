"""A test finds the template's resources as they were made, whatever the one before did to them."""

from typing import Any

import boto3
import pytest

from tests.conftest import Aws


def everything(aws: Aws) -> dict[str, Any]:
    """What is in the resources, and which there are."""
    dynamodb, sqs = boto3.client("dynamodb"), boto3.client("sqs")
    return {
        "buckets": [bucket["Name"] for bucket in aws.s3.list_buckets()["Buckets"]],
        "objects": aws.s3.list_object_versions(Bucket=aws.uploads).get("Versions", []),
        "queues": sqs.list_queues()["QueueUrls"],
        "waiting": [
            sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"][
                "ApproximateNumberOfMessages"
            ]
            for url in sqs.list_queues()["QueueUrls"]
        ],
        "tables": dynamodb.list_tables()["TableNames"],
        "rules": [(rule["Name"], rule["State"]) for rule in boto3.client("events").list_rules()["Rules"]],
        "users": boto3.client("cognito-idp").list_users(UserPoolId=aws.resources.ref("UserPool"))["Users"],
        "parameters": boto3.client("ssm").describe_parameters()["Parameters"],
        "published": aws.published(),
    }


@pytest.fixture(scope="module")
def seen() -> list[dict[str, Any]]:
    return []


@pytest.mark.parametrize("number", range(3))
def test_nothing_of_one_test_is_there_in_the_next(aws: Aws, seen: list[Any], number: int) -> None:
    seen.append(everything(aws))
    assert seen[number] == seen[0]
    assert seen[0]["buckets"]
    assert seen[0]["queues"]
    aws.s3.put_object(Bucket=aws.uploads, Key="anna/1/original", Body=b"bytes")
    aws.s3.create_bucket(Bucket="another")
    aws.put_parameter("/magpie/dev/anthropic-api-key", "secret")
    boto3.client("dynamodb").delete_table(TableName=aws.resources.ref("IdempotencyTable"))
    boto3.client("events").disable_rule(Name=seen[0]["rules"][0][0])
    boto3.client("cognito-idp").admin_create_user(
        UserPoolId=aws.resources.ref("UserPool"), Username="anna@example.com"
    )
    # Rules still lead from the bus to the queues: the copy hangs together.
    entry = {
        "Source": "magpie",
        "DetailType": "x",
        "Detail": "{}",
        "EventBusName": aws.resources.ref("EventBus"),
    }
    boto3.client("events").put_events(Entries=[entry])
    assert [envelope["detail-type"] for envelope in aws.published()] == ["x"]
    boto3.client("sqs").send_message(QueueUrl=seen[0]["queues"][0], MessageBody="left behind")
    assert everything(aws) != seen[0]
