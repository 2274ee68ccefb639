"""What every part of the template must have, and how parts name each other."""

import json
import re
from datetime import timedelta
from typing import Any

import pytest

from functions.api import export
from functions.exporter import archive
from shared.events import EVENTS, SOURCE, Metadata
from tests.contract.conftest import ROOT, Document, folder, named


def functions_of_folders() -> set[str]:
    return {
        path.name for path in (ROOT / "functions").iterdir() if path.is_dir() and path.name != "__pycache__"
    }


def test_every_folder_is_a_function_and_every_function_a_folder(document: Document) -> None:
    assert {folder(name) for name in document.functions()} == functions_of_folders()


def test_a_function_is_named_alike_everywhere(document: Document) -> None:
    for name, function in document.functions().items():
        own, properties = folder(name), function["Properties"]
        assert properties["CodeUri"] == f"functions/{own}/"
        assert properties["Handler"] == f"functions.{own}.handler.lambda_handler"
        assert function["Metadata"]["BuildProperties"] == {
            "ParentPackageMode": "explicit",
            "ParentPackages": f"functions.{own}",
        }
        assert document.environment(name)["POWERTOOLS_SERVICE_NAME"] == own
        assert named(properties["Role"]) == f"{name}Role"
        assert named(properties["LoggingConfig"]["LogGroup"]) == f"{name}Logs"


def test_layers_are_importable_by_the_name_of_their_folder(document: Document) -> None:
    for layer in document.of("AWS::Serverless::LayerVersion").values():
        own = layer["Properties"]["ContentUri"].rstrip("/")
        assert (ROOT / own).is_dir()
        assert layer["Metadata"]["BuildProperties"]["ParentPackages"] == own
        assert layer["Metadata"]["BuildMethod"] == document.body["Globals"]["Function"]["Runtime"]


def test_every_function_is_traced_logged_and_bounded(document: Document) -> None:
    common = document.body["Globals"]["Function"]
    assert common["Tracing"] == "Active"
    assert common["LoggingConfig"]["LogFormat"] == "JSON"
    groups = document.of("AWS::Logs::LogGroup")
    everything_of_somebody = {"Exporter", "Eraser"}
    for name, function in document.functions().items():
        properties = function["Properties"]
        assert properties["Timeout"] <= (900 if name in everything_of_somebody else 300)
        assert properties["MemorySize"] >= 512
        assert named(properties["LoggingConfig"]["LogGroup"]) in groups


def test_every_log_group_forgets(document: Document) -> None:
    for group in document.of("AWS::Logs::LogGroup").values():
        assert group["Properties"]["RetentionInDays"] == {"Ref": "LogRetentionDays"}


def test_new_code_is_live_only_after_the_migration(document: Document) -> None:
    migration = document.body["Resources"]["Migration"]["Properties"]
    assert named(migration["ServiceToken"]) == "Migrate"
    assert named(migration["Revision"]) == "MigrationsLayer"
    timeout = document.functions()["Migrate"]["Properties"]["Timeout"]
    assert migration["ServiceTimeout"] > timeout, "CloudFormation gave up before the function"
    waiting = [name for name in document.functions() if name != "Migrate"]
    assert waiting
    for name in waiting:
        assert document.functions()[name]["DependsOn"] == "Migration"


class TestRules:
    def test_every_target_is_a_queue_with_a_dead_letter_queue(self, document: Document) -> None:
        queues = document.of("AWS::SQS::Queue")
        for rule in document.of("AWS::Events::Rule").values():
            for target in rule["Properties"]["Targets"]:
                redrive = queues[named(target["Arn"])]["Properties"]["RedrivePolicy"]
                assert redrive["maxReceiveCount"] >= 5
                assert named(redrive["deadLetterTargetArn"]) == named(target["DeadLetterConfig"]["Arn"])

    def test_only_its_rules_may_fill_a_queue_and_only_encrypted(self, document: Document) -> None:
        rules: dict[str, set[str]] = {}
        for name, rule in document.of("AWS::Events::Rule").items():
            for target in rule["Properties"]["Targets"]:
                for queue in (named(target["Arn"]), named(target["DeadLetterConfig"]["Arn"])):
                    rules.setdefault(queue, set()).add(name)
        policies = {
            named(policy["Properties"]["Queues"][0]): policy["Properties"]
            for policy in document.of("AWS::SQS::QueuePolicy").values()
        }
        assert set(policies) == set(document.of("AWS::SQS::Queue")) == set(rules)
        for queue, policy in policies.items():
            assert len(policy["Queues"]) == 1
            allow, deny = policy["PolicyDocument"]["Statement"]
            assert named(allow["Resource"]) == named(deny["Resource"]) == queue
            assert (allow["Effect"], allow["Action"]) == ("Allow", "sqs:SendMessage")
            assert allow["Principal"] == {"Service": "events.amazonaws.com"}
            sources = allow["Condition"]["ArnEquals"]["aws:SourceArn"]
            assert {named(arn) for arn in (sources if isinstance(sources, list) else [sources])} == rules[
                queue
            ]
            assert (deny["Effect"], deny["Principal"]) == ("Deny", "*")
            assert deny["Condition"] == {"Bool": {"aws:SecureTransport": False}}

    def test_the_rule_for_uploads_is_on_the_bus_where_s3_speaks(self, document: Document) -> None:
        rules = [
            rule["Properties"]
            for rule in document.of("AWS::Events::Rule").values()
            if "aws.s3" in rule["Properties"].get("EventPattern", {}).get("source", [])
        ]
        assert rules
        for rule in rules:
            assert "EventBusName" not in rule
            (bucket,) = rule["EventPattern"]["detail"]["bucket"]["name"]
            properties = document.of("AWS::S3::Bucket")[named(bucket)]["Properties"]
            assert properties["NotificationConfiguration"]["EventBridgeConfiguration"]["EventBridgeEnabled"]

    def test_rules_for_our_own_events_filter_on_the_version(self, document: Document) -> None:
        known = {event.detail_type for event in EVENTS}
        ours = [
            rule["Properties"]
            for rule in document.of("AWS::Events::Rule").values()
            if SOURCE in rule["Properties"].get("EventPattern", {}).get("source", [])
        ]
        assert ours
        for rule in ours:
            assert named(rule["EventBusName"]) == "EventBus"
            assert set(rule["EventPattern"]["detail-type"]) <= known
            version = Metadata.model_fields["version"].default
            assert rule["EventPattern"]["detail"]["metadata"]["version"] == [version]


class TestQueues:
    def test_a_message_stays_hidden_for_six_time_outs(self, document: Document) -> None:
        checked = 0
        for name, function in document.functions().items():
            source = document.queue_of(name)
            if source is None:
                continue
            queue = document.of("AWS::SQS::Queue")[named(source["Queue"])]["Properties"]
            window = source.get("MaximumBatchingWindowInSeconds", 0)
            assert queue["VisibilityTimeout"] >= 6 * function["Properties"]["Timeout"] + window
            checked += 1
        assert checked >= 3

    def test_functions_say_which_messages_failed_and_are_bounded(self, document: Document) -> None:
        sources = [source for name in document.functions() if (source := document.queue_of(name))]
        assert sources
        for source in sources:
            assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
            assert 2 <= source["ScalingConfig"]["MaximumConcurrency"] <= 50

    def test_queues_are_encrypted_and_dead_letters_kept_longest(self, document: Document) -> None:
        dead = document.dead_letter_queues()
        assert dead
        for name, queue in document.of("AWS::SQS::Queue").items():
            properties = queue["Properties"]
            assert properties["SqsManagedSseEnabled"] is True
            # A message keeps its age when it becomes a dead letter.
            assert properties["MessageRetentionPeriod"] == (1209600 if name in dead else 345600)
            assert ("RedrivePolicy" in properties) == (name not in dead)


class TestAlarms:
    def watched(self, document: Document, metric: str) -> dict[str, dict[str, Any]]:
        return {
            named(dimension["Value"]): alarm["Properties"]
            for alarm in document.of("AWS::CloudWatch::Alarm").values()
            if alarm["Properties"]["MetricName"] == metric
            for dimension in alarm["Properties"]["Dimensions"]
        }

    def test_every_dead_letter_wakes_somebody(self, document: Document) -> None:
        watched = self.watched(document, "ApproximateNumberOfMessagesVisible")
        assert set(watched) == document.dead_letter_queues()
        for alarm in watched.values():
            assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("GreaterThanThreshold", 0)

    def test_every_queue_that_falls_behind_wakes_somebody(self, document: Document) -> None:
        watched = self.watched(document, "ApproximateAgeOfOldestMessage")
        queues = set(document.of("AWS::SQS::Queue")) - document.dead_letter_queues()
        assert set(watched) == queues

    def test_functions_behind_queues_that_crash_wake_somebody(self, document: Document) -> None:
        behind = {name for name in document.functions() if document.queue_of(name)}
        assert set(self.watched(document, "Errors")) == behind

    def test_an_api_that_fails_wakes_somebody(self, document: Document) -> None:
        assert set(self.watched(document, "5xx")) == set(document.of("AWS::Serverless::HttpApi"))

    def test_every_alarm_speaks_and_silence_is_no_alarm(self, document: Document) -> None:
        for alarm in document.of("AWS::CloudWatch::Alarm").values():
            assert alarm["Properties"]["AlarmActions"] == [{"Ref": "AlarmTopic"}]
            assert alarm["Properties"]["TreatMissingData"] == "notBreaching"
            assert alarm["Properties"]["AlarmDescription"]


class TestPermissions:
    def statements(self, document: Document, kind: str) -> list[tuple[str, dict[str, Any]]]:
        found = []
        for name, holder in document.of(kind).items():
            properties = holder["Properties"]
            documents = [policy["PolicyDocument"] for policy in properties.get("Policies", [])]
            documents += [properties["PolicyDocument"]] if "PolicyDocument" in properties else []
            for statement in (statement for one in documents for statement in one["Statement"]):
                found.append((name, statement["Fn::If"][1] if "Fn::If" in statement else statement))
        assert found
        return found

    def test_no_function_is_given_a_managed_policy_of_amazon(self, document: Document) -> None:
        roles = document.of("AWS::IAM::Role")
        for name in document.functions():
            assert roles[f"{name}Role"]["Properties"]["ManagedPolicyArns"] == [{"Ref": "EveryFunctionPolicy"}]
        for name in set(roles) - {f"{name}Role" for name in document.functions()}:
            assert "ManagedPolicyArns" not in roles[name]["Properties"], name
        for function in document.functions().values():
            assert "Policies" not in function["Properties"], "a Role makes SAM ignore them"

    def test_actions_are_named_and_so_are_resources(self, document: Document) -> None:
        # Neither X-Ray nor network interfaces can be told apart by resource.
        anywhere = {"xray", "ec2"}
        statements = self.statements(document, "AWS::IAM::Role")
        statements += self.statements(document, "AWS::IAM::ManagedPolicy")
        for name, statement in statements:
            actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
            assert statement["Effect"] == "Allow"
            assert not any("*" in action for action in actions), name
            if statement["Resource"] == "*":
                assert {action.split(":")[0] for action in actions} <= anywhere, name

    @pytest.mark.parametrize("service", ["sqs", "logs"])
    def test_a_function_reaches_only_its_own_queue_and_log(self, document: Document, service: str) -> None:
        own = {"sqs": "Queue", "logs": "Logs"}[service]
        checked = 0
        for name, statement in self.statements(document, "AWS::IAM::Role"):
            # The sweeper is the net under all queues: it may put something into them, and take nothing.
            if name == "SweeperRole" and statement["Action"] == ["sqs:SendMessage", "sqs:GetQueueAttributes"]:
                assert isinstance(statement["Resource"], list)
                continue
            if any(action.startswith(f"{service}:") for action in statement["Action"]):
                assert named(statement["Resource"]) == name.removesuffix("Role") + own
                checked += 1
        assert checked >= 3

    def test_a_function_may_read_exactly_the_parameters_it_is_told_of(self, document: Document) -> None:
        def parameters(statement: dict[str, Any]) -> list[str]:
            return re.findall(r":parameter(/magpie/\$\{Stage\}/[a-z-]+)", json.dumps(statement))

        common = [
            parameter
            for _, statement in self.statements(document, "AWS::IAM::ManagedPolicy")
            for parameter in parameters(statement)
        ]
        for name in document.functions():
            told = {
                value["Fn::Sub"]
                for variable, value in document.environment(name).items()
                if variable.endswith("_PARAMETER")
            }
            allowed = {
                parameter
                for role, statement in self.statements(document, "AWS::IAM::Role")
                for parameter in parameters(statement)
                if role == f"{name}Role"
            }
            assert told == allowed | set(common)

    def test_a_function_that_knows_the_bus_may_publish_and_no_other(self, document: Document) -> None:
        publishing = {
            role.removesuffix("Role")
            for role, statement in self.statements(document, "AWS::IAM::Role")
            if statement["Action"] == "events:PutEvents" and named(statement["Resource"]) == "EventBus"
        }
        assert publishing == {
            name for name in document.functions() if "EVENT_BUS" in document.environment(name)
        }


class TestBuckets:
    def test_buckets_are_private_encrypted_versioned_and_kept(self, document: Document) -> None:
        for bucket in document.of("AWS::S3::Bucket").values():
            properties = bucket["Properties"]
            assert set(properties["PublicAccessBlockConfiguration"].values()) == {True}
            assert properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
            assert properties["VersioningConfiguration"] == {"Status": "Enabled"}
            assert bucket["DeletionPolicy"] == bucket["UpdateReplacePolicy"] == "Retain"
            rules = {rule["Id"]: rule for rule in properties["LifecycleConfiguration"]["Rules"]}
            assert rules["tidy"]["AbortIncompleteMultipartUpload"]
            assert rules["tidy"]["NoncurrentVersionExpiration"]

    def test_buckets_refuse_what_is_not_encrypted_on_the_way(self, document: Document) -> None:
        policies = {
            named(policy["Properties"]["Bucket"]): policy["Properties"]["PolicyDocument"]["Statement"]
            for policy in document.of("AWS::S3::BucketPolicy").values()
        }
        assert set(policies) == set(document.of("AWS::S3::Bucket"))
        for (statement,) in policies.values():
            assert (statement["Effect"], statement["Principal"], statement["Action"]) == ("Deny", "*", "s3:*")
            assert statement["Condition"] == {"Bool": {"aws:SecureTransport": False}}

    def test_exports_expire_by_the_tag_that_they_are_given(self, document: Document) -> None:
        media = document.of("AWS::S3::Bucket")["MediaBucket"]["Properties"]
        (rule,) = [rule for rule in media["LifecycleConfiguration"]["Rules"] if "TagFilters" in rule]
        (tag,) = rule["TagFilters"]
        assert f"{tag['Key']}={tag['Value']}" == archive.TAGGING
        assert timedelta(days=rule["ExpirationInDays"]) < export.FORGOTTEN

    def test_derivatives_are_never_watched(self, document: Document) -> None:
        assert "NotificationConfiguration" not in document.of("AWS::S3::Bucket")["MediaBucket"]["Properties"]


class TestApi:
    def routes(self, document: Document) -> list[dict[str, Any]]:
        routes = [
            event["Properties"]
            for function in document.functions().values()
            for event in function["Properties"].get("Events", {}).values()
            if event["Type"] == "HttpApi"
        ]
        assert routes
        return routes

    def test_few_routes_need_no_token(self, document: Document) -> None:
        (api,) = document.of("AWS::Serverless::HttpApi").values()
        assert api["Properties"]["Auth"]["DefaultAuthorizer"] in api["Properties"]["Auth"]["Authorizers"]
        open_routes = {route["Path"] for route in self.routes(document) if "Auth" in route}
        page = {"/", "/docs", "/health", "/openapi.json", "/version", "/web/{proxy+}"}
        signed = {"/webhooks/sns", "/webhooks/stripe"}
        assert open_routes == page | signed

    def test_a_preflight_is_not_asked_for_a_token(self, document: Document) -> None:
        """A route for ANY method takes OPTIONS too, and hands it to the authorizer."""
        methods = {route["Method"] for route in self.routes(document)}
        assert not methods & {"ANY", "OPTIONS"}
        (api,) = document.of("AWS::Serverless::HttpApi").values()
        _, cors, _ = api["Properties"]["CorsConfiguration"]["Fn::If"]
        assert methods == set(cors["AllowMethods"])

    def test_what_can_be_got_can_be_asked_for_without_its_content(self, document: Document) -> None:
        got, asked = (
            {route["Path"]: route.get("Auth") for route in self.routes(document) if route["Method"] == method}
            for method in ("GET", "HEAD")
        )
        assert got == asked

    def test_requests_are_logged_without_what_people_search_for(self, document: Document) -> None:
        (api,) = document.of("AWS::Serverless::HttpApi").values()
        logged = json.loads(api["Properties"]["AccessLogSettings"]["Format"])
        assert logged["path"] == "$context.path"
        assert "querystring" not in json.dumps(logged).lower()


def test_every_resource_has_a_sentence_above_it(document: Document) -> None:
    lines = document.text.splitlines()
    start = lines.index("Resources:")
    end = lines.index("Outputs:")
    bare = [
        lines[number].strip(" :")
        for number in range(start + 1, end)
        if re.fullmatch(r"  [A-Za-z]+:", lines[number]) and not lines[number - 1].startswith("  # ")
    ]
    assert len(document.body["Resources"]) > 20
    assert bare == []
