"""The template's resources on an AWS endpoint, and the refusal of whatever cannot be run."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from moto import mock_aws

from local import resources
from local.resources import Resources, create, environment
from local.template import Template, TemplateError, UnsupportedResourceError, load

SMALL = Path(__file__).parent / "template.yaml"
OWN = Path(__file__).resolve().parents[2] / "template.yaml"


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        yield


@pytest.fixture
def small(aws: None) -> Resources:
    return create(load(SMALL))


def mutated(path: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None]) -> Template:
    """A template with one change, made where the tags are already in their long form."""
    from local.template import _Loader

    document = yaml.load(path.read_text(), Loader=_Loader)  # noqa: S506
    change(document)
    changed = tmp_path / "template.yaml"
    changed.write_text(json.dumps(document))
    (tmp_path / "functions").mkdir(exist_ok=True)
    return load(changed)


def subscription(protocol: str, endpoint: Any, topic: Any = "arn:aws:sns:x:1:topic") -> dict[str, Any]:
    properties = {"TopicArn": topic, "Protocol": protocol, "Endpoint": endpoint}
    return {"Type": "AWS::SNS::Subscription", "Properties": properties}


def test_every_type_of_the_projects_own_template_is_run_or_named_as_inert():
    template = load(OWN, {"AlarmEmail": "someone@example.org"})
    resources.check(template)
    assert {resource.type for resource in template.resources.values()} & set(resources.RUN)


def test_every_inert_type_and_property_has_its_reason():
    reasons = list(resources.INERT.values())
    reasons += [reason for _, inert in resources.PROPERTIES.values() for reason in inert.values()]
    assert all(reasons)
    assert not set(resources.INERT) & set(resources.RUN)


def test_buckets_are_made_as_the_template_says(small):
    s3 = boto3.client("s3")
    uploads, media = small.ref("UploadsBucket"), small.ref("MediaBucket")
    assert s3.get_bucket_versioning(Bucket=uploads)["Status"] == "Enabled"
    assert "Status" not in s3.get_bucket_versioning(Bucket=media)
    (rule,) = s3.get_bucket_cors(Bucket=uploads)["CORSRules"]
    assert rule["AllowedOrigins"] == ["http://localhost:8787"]
    for bucket in (uploads, media):
        s3.put_object(Bucket=bucket, Key="a", Body=b"x")
    heard = boto3.client("sqs").receive_message(QueueUrl=small.ref("RecorderQueue"), MaxNumberOfMessages=10)
    assert [json.loads(m["Body"])["detail"]["bucket"]["name"] for m in heard["Messages"]] == [uploads]


def test_what_a_topic_is_told_is_posted_to_the_http_api_alone(aws, tmp_path):
    def change(document: dict[str, Any]) -> None:
        document["Resources"] |= {
            "Topic": {"Type": "AWS::SNS::Topic", "Properties": {"SignatureVersion": "2"}},
            "Posts": subscription("https", {"Fn::Sub": "${HttpApi.ApiEndpoint}/told"}, {"Ref": "Topic"}),
            "Mails": subscription("email", "somebody@example.org", {"Ref": "Topic"}),
        }

    made = create(mutated(SMALL, tmp_path, change))
    (listed,) = boto3.client("sns").list_subscriptions_by_topic(TopicArn=made.ref("Topic"))["Subscriptions"]
    assert listed["Endpoint"] == "http://127.0.0.1:8787/told"
    assert made.ref("Posts") == listed["SubscriptionArn"]
    assert made.ref("Mails").startswith(made.ref("Topic"))


def test_queues_send_what_fails_too_often_to_their_dead_letters(small):
    sqs = boto3.client("sqs")
    attributes = sqs.get_queue_attributes(QueueUrl=small.ref("JobQueue"), AttributeNames=["All"])[
        "Attributes"
    ]
    assert attributes["VisibilityTimeout"] == "30"
    assert json.loads(attributes["RedrivePolicy"]) == {
        "deadLetterTargetArn": small.attribute("JobDeadLetters", "Arn"),
        "maxReceiveCount": 2,
    }
    assert small.dead_letters == {
        small.attribute("JobQueue", "Arn"): small.attribute("JobDeadLetters", "Arn")
    }


def test_rules_lead_from_a_bus_to_a_queue(small):
    events = boto3.client("events")
    events.put_events(
        Entries=[
            {
                "Source": "test",
                "DetailType": "Happened",
                "Detail": "{}",
                "EventBusName": small.ref("EventBus"),
            },
            {
                "Source": "other",
                "DetailType": "Happened",
                "Detail": "{}",
                "EventBusName": small.ref("EventBus"),
            },
        ]
    )
    messages = boto3.client("sqs").receive_message(
        QueueUrl=small.ref("RecorderQueue"), MaxNumberOfMessages=10
    )
    assert [json.loads(message["Body"])["source"] for message in messages["Messages"]] == ["test"]


def test_the_table_and_the_user_pool_are_there(small):
    table = boto3.client("dynamodb").describe_time_to_live(TableName=small.ref("Table"))
    assert table["TimeToLiveDescription"]["AttributeName"] == "expiration"
    pool = boto3.client("cognito-idp").describe_user_pool(UserPoolId=small.ref("UserPool"))["UserPool"]
    assert pool["UsernameAttributes"] == ["email"]
    assert pool["Policies"]["PasswordPolicy"]["MinimumLength"] == 12


def test_nothing_is_made_in_motos_lambda(small):
    client = boto3.client("lambda")
    assert client.list_functions()["Functions"] == []
    assert client.list_event_source_mappings()["EventSourceMappings"] == []


def test_a_functions_environment_is_the_templates_with_names_that_exist(small):
    assert environment(small.template, small, "Worker") == {
        "GREETING": "hello",
        "DATABASE_URL_PARAMETER": "/magpie/database-url",
        "MEDIA_BUCKET": "magpie-mediabucket",
    }
    with pytest.raises(TemplateError, match="no function Wroker"):
        environment(small.template, small, "Wroker")


def test_queue_sources_routes_and_custom_resources_are_read(small):
    (source,) = small.queue_sources
    assert (source.function, source.batch_size, source.partial, source.maximum_concurrency) == (
        "Worker",
        10,
        True,
        2,
    )
    (api,) = small.apis
    routes = {route.key: route for route in api.routes}
    assert routes["ANY /open"].authorizer is None
    assert routes["ANY /{proxy+}"].authorizer.audience == (small.ref("UserPoolClient"),)
    assert routes["ANY /{proxy+}"].authorizer.issuer.endswith(small.ref("UserPool"))
    assert routes["GET /scoped"].scopes == ("items.write",)
    assert routes["GET /slow"].timeout == 0.3
    (custom,) = small.custom_resources
    assert (custom.logical_id, custom.function, custom.properties["Number"]) == ("Made", "Maker", 3)


def test_an_operators_names_are_kept(aws, tmp_path):
    def name(document: dict[str, Any]) -> None:
        document["Resources"]["MediaBucket"]["Properties"] = {"BucketName": "given-name"}
        document["Resources"]["Echo"]["Properties"]["FunctionName"] = {"Fn::Sub": "${AWS::StackName}-echo-2"}

    made = create(mutated(SMALL, tmp_path, name))
    assert made.ref("MediaBucket") == "given-name"
    assert made.functions["Echo"].name == "magpie-echo-2"


def _put(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        *parents, last = path.split("/")
        place = document["Resources"]
        for parent in parents:
            place = place[int(parent)] if isinstance(place, list) else place.setdefault(parent, {})
        place[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "logical_id", "reason"),
    [
        (_put("Extra", {"Type": "AWS::RDS::DBInstance"}), "Extra", "does not run this type"),
        (
            _put("Extra", {"Type": "AWS::Serverless::StateMachine", "Properties": {"Type": "EXPRESS"}}),
            "Extra",
            "only standard workflows are run",
        ),
        (
            _put("Extra", {"Type": "AWS::Serverless::StateMachine", "Properties": {"Definition": {}}}),
            "Extra",
            "property Definition is not known",
        ),
        (_put("Extra", {"Type": "AWS::Lambda::Function"}), "Extra", "does not run this type"),
        (_put("Extra", {"Type": "AWS::SNS::Surprise"}), "Extra", "does not run this type"),
        (_put("Extra", subscription("sqs", "arn:aws:sqs:x")), "Extra", "nothing is sent by sqs"),
        (_put("Extra", subscription("https", "https://x.example")), "Extra", "only the HTTP API of the"),
        (
            _put("Extra", {"Type": "AWS::SES::ConfigurationSet", "Properties": {"TrackingOptions": {}}}),
            "Extra",
            "property TrackingOptions is not known",
        ),
        (
            _put(
                "Worker/Properties/Events/Nightly",
                {"Type": "Schedule", "Properties": {"Schedule": "rate(1 day)", "StartDate": "2027-01-01"}},
            ),
            "Worker",
            "event source Nightly: Schedule property StartDate is not known",
        ),
        (
            _put("Worker/Properties/Events/Clock", {"Type": "ScheduleV2"}),
            "Worker",
            "event source Clock is of type ScheduleV2",
        ),
        (
            _put("Worker/Properties/Events/Files", {"Type": "S3"}),
            "Worker",
            "event source Files is of type S3",
        ),
        (
            _put("Worker/Properties/Events/Jobs/Properties/FilterCriteria", {}),
            "Worker",
            "SQS property FilterCriteria is not known",
        ),
        (_put("Worker/Properties/Runtime", "nodejs22.x"), "Worker", "runtime nodejs22.x is not Python"),
        (_put("Worker/Properties/PackageType", "Image"), "Worker", "property PackageType is not known"),
        (_put("Worker/Properties/SnapStart", {}), "Worker", "property SnapStart is not known"),
        (_put("Worker/Properties/DeadLetterQueue", {}), "Worker", "property DeadLetterQueue is not known"),
        (
            _put("UploadRule/Properties/Targets/0/InputTransformer", {}),
            "UploadRule",
            "target property InputTransformer is not known",
        ),
        (
            _put("UploadRule/Properties/Targets/0/Arn", {"Fn::GetAtt": ["Worker", "Arn"]}),
            "UploadRule",
            "only queues are run as targets",
        ),
        (
            _put("UploadRule/Properties/ScheduleExpression", "rate(1 day)"),
            "UploadRule",
            "has neither or both of EventPattern and ScheduleExpression",
        ),
        (_put("JobQueue/Properties/FifoQueue", True), "JobQueue", "property FifoQueue is not known"),
        (
            _put("UploadsBucket/Properties/NotificationConfiguration/LambdaConfigurations", []),
            "UploadsBucket",
            "only notifications to EventBridge",
        ),
        (
            _put("UploadsBucket/Properties/ReplicationConfiguration", {}),
            "UploadsBucket",
            "property ReplicationConfiguration is not known",
        ),
        (
            _put("Table/Properties/StreamSpecification", {}),
            "Table",
            "property StreamSpecification is not known",
        ),
        (
            _put("UserPool/Properties/EmailConfiguration", {}),
            "UserPool",
            "property EmailConfiguration is not",
        ),
        (
            _put("UserPool/Properties/LambdaConfig", {"CustomMessage": "x"}),
            "UserPool",
            "trigger CustomMessage",
        ),
        (_put("UserPool/Properties/EnabledMfas", ["SMS_MFA"]), "UserPool", "only codes of an authenticator"),
        (
            _put("UserPoolClient/Properties/TokenValidityUnits", {"Surprise": "days"}),
            "UserPoolClient",
            "does not take it",
        ),
        (_put("HttpApi/Properties/Domain", {}), "HttpApi", "property Domain is not known"),
        (
            _put("HttpApi/Properties/Auth/Authorizers/Tokens/FunctionArn", "x"),
            "HttpApi",
            "only JWT authorizers are known",
        ),
        (
            _put("Made/Properties/ServiceToken", "arn:aws:lambda:us-east-1:123456789012:function:else"),
            "Made",
            "its ServiceToken is no function of this template",
        ),
        (
            _put("Layer", {"Type": "AWS::Serverless::LayerVersion", "Properties": {"ContentUri": "../.."}}),
            "Layer",
            "is no folder beside the template",
        ),
        (
            _put("Worker/Properties/Layers", ["arn:aws:lambda:us-east-1:017000801446:layer:Powertools:7"]),
            "Worker",
            "layer arn:aws:lambda:us-east-1:017000801446:layer:Powertools:7 is none of this template",
        ),
        (
            _put("Worker/Properties/LoggingConfig", {"Surprise": "x"}),
            "Worker",
            "logging property Surprise is not known",
        ),
        (
            _put(
                "Worker/Properties/Events/Web",
                {"Type": "HttpApi", "Properties": {"Path": "/x", "Method": "GET"}},
            ),
            "Worker",
            "names no ApiId",
        ),
    ],
)
def test_what_cannot_be_run_is_refused_by_name_and_reason(aws, tmp_path, change, logical_id, reason):
    with pytest.raises(UnsupportedResourceError, match=reason) as raised:
        create(mutated(SMALL, tmp_path, change))
    assert raised.value.logical_id == logical_id
    assert str(raised.value).startswith(f"{logical_id} (")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            _put("JobQueue/Properties/VisibilityTimeout", 5),
            "visibility time-out is shorter than the function's",
        ),
        (
            _put("Worker/Properties/Events/Jobs/Properties/BatchSize", 100),
            "needs MaximumBatchingWindowInSeconds",
        ),
        (
            _put("Worker/Properties/Events/Jobs/Properties/ScalingConfig/MaximumConcurrency", 1),
            "MaximumConcurrency is 2 to 1000",
        ),
        (_put("Worker/Properties/Timeout", 901), "time-outs up to 900 s"),
        (
            _put("Worker/Properties/Events/Jobs/Properties/Queue", "arn:aws:sqs:x:y:z"),
            "no queue of this template",
        ),
        (
            _put("Echo/Properties/Events/Open/Properties/Auth", {"Authorizer": "Nobody"}),
            "no authorizer Nobody",
        ),
        (_put("Echo/Properties/Events/Open/Properties/Path", "/slow"), None),
        (_put("Echo/Properties/Events/Open/Properties/ApiId", "other"), "no HTTP API of this template"),
    ],
)
def test_what_aws_would_refuse_is_refused(aws, tmp_path, change, sentence):
    template = mutated(SMALL, tmp_path, change)
    if sentence is None:
        assert create(template).apis
        return
    with pytest.raises(TemplateError, match=sentence):
        create(template)


def test_two_functions_on_one_route_are_refused(aws, tmp_path):
    event = {"Type": "HttpApi", "Properties": {"ApiId": {"Ref": "HttpApi"}, "Path": "/open", "Method": "ANY"}}
    with pytest.raises(TemplateError, match="a route is there twice"):
        create(mutated(SMALL, tmp_path, _put("Worker/Properties/Events/Web", event)))


def test_resources_that_name_each_other_are_refused(aws, tmp_path):
    def tie(document: dict[str, Any]) -> None:
        document["Resources"]["JobDeadLetters"]["Properties"] = {
            "RedrivePolicy": {
                "deadLetterTargetArn": {"Fn::GetAtt": ["JobQueue", "Arn"]},
                "maxReceiveCount": 1,
            }
        }

    with pytest.raises(TemplateError, match="in a circle"):
        create(mutated(SMALL, tmp_path, tie))
