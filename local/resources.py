"""Make the template's resources on an AWS endpoint, by boto3: moto in a test, the local stack's otherwise.

Every type is either run (`RUN`), or named in `INERT` with the reason why it has nothing to do on one
machine. Anything else is an `UnsupportedResourceError`, and so is a property that is not known:
nothing is skipped in silence.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any

from local import functions, machines
from local.cognito import TRIGGERS
from local.functions import (
    FUNCTION,
    HTTP_API,
    LAYER,
    CustomResource,
    Function,
    HttpApi,
    QueueSource,
    Schedule,
)
from local.machines import STATE_MACHINE
from local.template import Names, Resource, Template, TemplateError, UnsupportedResourceError

INERT = {
    "AWS::CloudWatch::Alarm": "nobody is woken by one machine; `magpie doctor` says what is wrong",
    "AWS::CloudWatch::CompositeAlarm": "as alarms",
    "AWS::CloudWatch::Dashboard": "there are no CloudWatch metrics",
    "AWS::Events::EventBusPolicy": "the local AWS endpoint checks no permissions",
    "AWS::IAM::ManagedPolicy": "the local AWS endpoint checks no permissions",
    "AWS::IAM::Policy": "the local AWS endpoint checks no permissions",
    "AWS::IAM::Role": "the local AWS endpoint checks no permissions",
    "AWS::Lambda::Permission": "the local AWS endpoint checks no permissions",
    "AWS::Logs::LogGroup": "each function's log is a file in the data folder",
    "AWS::Logs::MetricFilter": "there are no CloudWatch metrics",
    "AWS::S3::BucketPolicy": "the local AWS endpoint checks no permissions and speaks plain HTTP on loopback",
    "AWS::SES::ConfigurationSetEventDestination": "what becomes of mail is told on the default bus",
    "AWS::SNS::TopicPolicy": "the local AWS endpoint checks no permissions",
    "AWS::SQS::QueuePolicy": "the local AWS endpoint checks no permissions",
}
"""Types that have nothing to run on one machine, each with its reason."""

PROPERTIES: dict[str, tuple[set[str], dict[str, str]]] = {
    "AWS::S3::Bucket": (
        {
            "BucketName",
            "BucketEncryption",
            "CorsConfiguration",
            "NotificationConfiguration",
            "OwnershipControls",
            "PublicAccessBlockConfiguration",
            "VersioningConfiguration",
        },
        {
            "LifecycleConfiguration": "nothing expires here: rules count in days",
            "Tags": "words",
        },
    ),
    "AWS::Events::EventBus": ({"Name"}, {"Description": "words", "Tags": "words"}),
    "AWS::Events::Rule": (
        {"Name", "EventBusName", "EventPattern", "ScheduleExpression", "State", "Targets"},
        {"Description": "words", "Tags": "words"},
    ),
    "AWS::SQS::Queue": (
        {
            "QueueName",
            "DelaySeconds",
            "MaximumMessageSize",
            "MessageRetentionPeriod",
            "ReceiveMessageWaitTimeSeconds",
            "RedriveAllowPolicy",
            "RedrivePolicy",
            "SqsManagedSseEnabled",
            "VisibilityTimeout",
        },
        {"Tags": "words"},
    ),
    "AWS::DynamoDB::Table": (
        {
            "TableName",
            "AttributeDefinitions",
            "BillingMode",
            "GlobalSecondaryIndexes",
            "KeySchema",
            "SSESpecification",
            "TimeToLiveSpecification",
        },
        {
            "DeletionProtectionEnabled": "the table lives as long as the stack",
            "PointInTimeRecoverySpecification": "the table lives as long as the stack",
            "Tags": "words",
        },
    ),
    "AWS::Cognito::UserPool": (
        {
            "UserPoolName",
            "AccountRecoverySetting",
            "AdminCreateUserConfig",
            "AutoVerifiedAttributes",
            "EnabledMfas",
            "LambdaConfig",
            "MfaConfiguration",
            "Policies",
            "Schema",
            "UserAttributeUpdateSettings",
            "UsernameAttributes",
            "UsernameConfiguration",
        },
        {
            "DeletionProtection": "the pool lives as long as the stack",
            "UserPoolTags": "words",
            "UserPoolTier": "a price",
        },
    ),
    "AWS::Cognito::UserPoolClient": (
        {
            "ClientName",
            "UserPoolId",
            "AccessTokenValidity",
            "AllowedOAuthFlows",
            "AllowedOAuthFlowsUserPoolClient",
            "AllowedOAuthScopes",
            "CallbackURLs",
            "EnableTokenRevocation",
            "ExplicitAuthFlows",
            "GenerateSecret",
            "IdTokenValidity",
            "LogoutURLs",
            "PreventUserExistenceErrors",
            "RefreshTokenValidity",
            "SupportedIdentityProviders",
            "TokenValidityUnits",
        },
        {},
    ),
    "AWS::Cognito::UserPoolDomain": (
        {"Domain", "UserPoolId"},
        {"ManagedLoginVersion": "the sign-in page of one machine is its own"},
    ),
    "AWS::Cognito::UserPoolIdentityProvider": (
        {"ProviderName"},
        {
            name: "no provider sends anybody back to one machine, whose users sign in at the local page"
            for name in ("AttributeMapping", "ProviderDetails", "ProviderType", "UserPoolId")
        },
    ),
    "AWS::SES::ConfigurationSet": (
        {"Name"},
        {
            "ReputationOptions": "there are no CloudWatch metrics",
            "SuppressionOptions": "no mail leaves this machine",
        },
    ),
    "AWS::SNS::Subscription": (
        {"TopicArn", "Protocol", "Endpoint"},
        {"DeliveryPolicy": "a message is posted once: nothing between here and there can fail for long"},
    ),
    "AWS::SNS::Topic": ({"TopicName", "SignatureVersion"}, {"Tags": "words"}),
    "AWS::SSM::Parameter": (
        {"Name", "Type", "Value"},
        {"Description": "words", "Tags": "words", "Tier": "a price"},
    ),
    STATE_MACHINE: (
        {"Name", "Type", "DefinitionUri", "DefinitionSubstitutions"},
        {
            "Logging": "the history of each execution is kept while the stack runs",
            "Role": "the local AWS endpoint checks no permissions",
            "Tags": "words",
            "Tracing": "there is no X-Ray daemon",
        },
    ),
    LAYER: (
        {"ContentUri", "LayerName"},
        {
            "CompatibleArchitectures": "Python code runs on whatever this machine is",
            "CompatibleRuntimes": "the Python that runs the stack runs the functions",
            "Description": "words",
            "RetentionPolicy": "nothing is published",
        },
    ),
}
"""Per type: the properties that are run, and those that have nothing to do here, each with its reason."""

TARGET = {"Id", "Arn"}
TARGET_INERT = {
    "DeadLetterConfig": "a local queue is never out of reach",
    "RetryPolicy": "a local queue is never out of reach",
}

Clients = Callable[[str], Any]


@dataclass
class Resources:
    """What was made, and what it is called.

    Attributes:
        names: `Ref` and `GetAtt` of every resource; `names.refs["UploadsBucket"]` is the bucket.
        functions: by logical id.
        queues: URL by ARN of every queue.
        dead_letters: ARN of the dead-letter queue by ARN of its source.
    """

    template: Template
    names: Names = field(default_factory=Names)
    functions: dict[str, Function] = field(default_factory=dict)
    queues: dict[str, str] = field(default_factory=dict)
    dead_letters: dict[str, str] = field(default_factory=dict)
    queue_sources: list[QueueSource] = field(default_factory=list)
    schedules: list[Schedule] = field(default_factory=list)
    apis: list[HttpApi] = field(default_factory=list)
    custom_resources: list[CustomResource] = field(default_factory=list)
    _visibility: dict[str, int] = field(default_factory=dict)

    def ref(self, logical_id: str) -> str:
        """Return what `!Ref` gives: a bucket's name, a queue's URL, a bus's name, ...

        Raises:
            TemplateError: nothing has this logical id.
        """
        return str(self.template.resolve({"Ref": logical_id}, self.names, logical_id))

    def attribute(self, logical_id: str, name: str) -> str:
        """Return what `!GetAtt` gives.

        Raises:
            TemplateError: there is no such resource or attribute.
        """
        return str(self.template.resolve({"Fn::GetAtt": [logical_id, name]}, self.names, logical_id))


def create(
    template: Template, clients: Clients | None = None, *, api_url: str = "http://127.0.0.1:8787"
) -> Resources:
    """Make every resource of the template, after checking that all of it can be run.

    No Lambda function and no event source mapping is made on the endpoint: functions, routes and
    queue sources are only read, for the local runtime, gateway and pollers to run.

    Args:
        clients: gives the boto3 client of a service; by default `boto3.client`, so that the
            environment decides which endpoint is asked.
        api_url: where the HTTP API answers.

    Raises:
        UnsupportedResourceError: the template holds something that is neither run nor inert.
        TemplateError: something in it cannot be resolved.
    """
    if clients is None:
        import boto3

        def clients(service: str) -> Any:
            return boto3.client(service, region_name=template.region)

    check(template)
    resources = Resources(template)
    for logical_id in _order(template):
        resource = template.resources[logical_id]
        make = RUN.get(resource.type)
        if make is None:
            continue  # inert, as `check` has made sure
        where = f"Resources.{logical_id}.Properties"
        own = dict(resource.properties)
        if resource.type in PROPERTIES:
            runs, _ = PROPERTIES[resource.type]
            own = template.resolve({k: v for k, v in own.items() if k in runs}, resources.names, where)
        _make(make, resources, resource, own, clients, api_url)
    for resource in template.resources.values():
        if resource.type == FUNCTION:
            resources.functions[resource.logical_id] = functions.read_function(
                template, resources.names, resource.logical_id
            )
    resources.queue_sources = functions.read_queue_sources(template, resources.names, resources._visibility)
    resources.schedules = functions.read_schedules(template, resources.names, resources.queue_sources)
    resources.apis = functions.read_apis(template, resources.names)
    resources.custom_resources = functions.read_custom_resources(template, resources.names)
    return resources


def environment(template: Template, resources: Resources, logical_id: str) -> dict[str, str]:
    """Return the variables that the template gives a function, Globals merged in.

    Raises:
        TemplateError: there is no such function.
    """
    if logical_id not in resources.functions:
        raise TemplateError(f"{template.path} has no function {logical_id}")
    return dict(resources.functions[logical_id].environment)


def check(template: Template) -> None:
    """Refuse a template that holds anything neither run nor inert.

    Raises:
        UnsupportedResourceError: names the resource, its type and what it is that is not known.
    """
    for resource in template.resources.values():
        if resource.type in (FUNCTION, HTTP_API):
            functions.check(resource)
        elif resource.type in PROPERTIES:
            runs, inert = PROPERTIES[resource.type]
            for name in resource.properties:
                if name not in runs and name not in inert:
                    raise _unsupported(resource, f"property {name} is not known to the local stack")
            if resource.type == "AWS::Events::Rule":
                for target in resource.properties.get("Targets", []):
                    for name in target:
                        if name not in TARGET and name not in TARGET_INERT:
                            raise _unsupported(
                                resource, f"target property {name} is not known to the local stack"
                            )
        elif resource.type not in INERT and not functions.is_custom(resource.type):
            raise _unsupported(resource, "the local stack does not run this type")


def _unsupported(resource: Resource, reason: str) -> UnsupportedResourceError:
    return UnsupportedResourceError(resource.logical_id, resource.type, reason)


def _make(
    make: Any, resources: Resources, resource: Resource, own: Any, clients: Clients, api_url: str
) -> None:
    from botocore.exceptions import ClientError, ParamValidationError

    try:
        make(resources, resource, own, clients, api_url)
    except ParamValidationError as error:
        raise _unsupported(resource, f"the local AWS endpoint does not take it: {error}") from error
    except ClientError as error:
        raise TemplateError(f"Resources.{resource.logical_id} ({resource.type}): {error}") from error


def _order(template: Template) -> Iterator[str]:
    """Logical ids of what is made, each after those that its properties name."""
    graph: dict[str, set[str]] = {}
    for resource in template.resources.values():
        if resource.type in RUN:
            # A function is only named here; what its properties hold is read when everything is there.
            named = set() if resource.type in (FUNCTION, HTTP_API) else set(_named(resource.properties))
            graph[resource.logical_id] = {name for name in named if name in template.resources}
    try:
        yield from [name for name in TopologicalSorter(graph).static_order() if name in graph]
    except CycleError as error:
        raise TemplateError(f"resources name each other in a circle: {' -> '.join(error.args[1])}") from error


def _named(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "Ref" and isinstance(inner, str):
                yield inner
            elif key == "Fn::GetAtt" and isinstance(inner, list):
                yield inner[0]
            elif key == "Fn::Sub":
                pattern = inner[0] if isinstance(inner, list) else inner
                yield from (name.split(".", 1)[0] for name in re.findall(r"\$\{([^!}][^}]*)\}", str(pattern)))
            yield from _named(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _named(inner)


def _name(resources: Resources, resource: Resource, given: Any) -> str:
    """A physical name: the template's, or one made of the stack's and the logical id."""
    return str(given or f"{resources.template.stack_name}-{resource.logical_id}")


def _bucket(
    resources: Resources, resource: Resource, own: Mapping[str, Any], clients: Clients, _: str
) -> None:
    s3 = clients("s3")
    name = _name(resources, resource, own.get("BucketName")).lower()
    s3.create_bucket(Bucket=name)
    if "VersioningConfiguration" in own:
        s3.put_bucket_versioning(Bucket=name, VersioningConfiguration=own["VersioningConfiguration"])
    if "BucketEncryption" in own:
        rules = [
            {"ApplyServerSideEncryptionByDefault": rule.pop("ServerSideEncryptionByDefault"), **rule}
            for rule in own["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        ]
        s3.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration={"Rules": rules})
    if "PublicAccessBlockConfiguration" in own:
        s3.put_public_access_block(
            Bucket=name, PublicAccessBlockConfiguration=own["PublicAccessBlockConfiguration"]
        )
    if "OwnershipControls" in own:
        s3.put_bucket_ownership_controls(Bucket=name, OwnershipControls=own["OwnershipControls"])
    if "CorsConfiguration" in own:
        renamed = {"Id": "ID", "MaxAge": "MaxAgeSeconds", "ExposedHeaders": "ExposeHeaders"}
        rules = [
            {renamed.get(key, key): value for key, value in rule.items()}
            for rule in own["CorsConfiguration"]["CorsRules"]
        ]
        s3.put_bucket_cors(Bucket=name, CORSConfiguration={"CORSRules": rules})
    if "NotificationConfiguration" in own:
        notification = own["NotificationConfiguration"]
        if set(notification) - {"EventBridgeConfiguration"}:
            raise _unsupported(resource, "only notifications to EventBridge are run")
        if notification.get("EventBridgeConfiguration", {}).get("EventBridgeEnabled", True):
            s3.put_bucket_notification_configuration(
                Bucket=name, NotificationConfiguration={"EventBridgeConfiguration": {}}
            )
    resources.names.add(
        resource.logical_id,
        name,
        Arn=f"arn:aws:s3:::{name}",
        DomainName=f"{name}.s3.amazonaws.com",
        RegionalDomainName=f"{name}.s3.{resources.template.region}.amazonaws.com",
    )


def _bus(resources: Resources, resource: Resource, own: Mapping[str, Any], clients: Clients, _: str) -> None:
    name = own["Name"]
    arn = clients("events").create_event_bus(Name=name)["EventBusArn"]
    resources.names.add(resource.logical_id, name, Arn=arn, Name=name)


def _rule(resources: Resources, resource: Resource, own: Mapping[str, Any], clients: Clients, _: str) -> None:
    if ("EventPattern" in own) == ("ScheduleExpression" in own):
        raise _unsupported(resource, "has neither or both of EventPattern and ScheduleExpression")
    events = clients("events")
    name = _name(resources, resource, own.get("Name"))
    bus = own.get("EventBusName", "default")
    if "EventPattern" in own:
        when = {"EventPattern": json.dumps(own["EventPattern"])}
    else:
        when = {"ScheduleExpression": str(own["ScheduleExpression"])}
    arn = events.put_rule(Name=name, EventBusName=bus, State=own.get("State", "ENABLED"), **when)["RuleArn"]
    targets = [{"Id": target["Id"], "Arn": target["Arn"]} for target in own.get("Targets", [])]
    for target in targets:
        if target["Arn"] not in resources.queues:
            raise _unsupported(
                resource,
                f"target {target['Arn']} is no queue of this template, and only queues are run as targets",
            )
    if targets:
        answer = events.put_targets(Rule=name, EventBusName=bus, Targets=targets)
        if answer.get("FailedEntryCount"):
            raise TemplateError(f"Resources.{resource.logical_id}: {answer['FailedEntries']}")
    resources.names.add(resource.logical_id, name if bus == "default" else f"{bus}|{name}", Arn=arn)


def _queue(
    resources: Resources, resource: Resource, own: Mapping[str, Any], clients: Clients, _: str
) -> None:
    name = _name(resources, resource, own.get("QueueName"))
    attributes = {}
    for key, value in own.items():
        if key in ("RedrivePolicy", "RedriveAllowPolicy"):
            attributes[key] = json.dumps(value)
        elif key != "QueueName":
            attributes[key] = str(value).lower() if isinstance(value, bool) else str(value)
    url = clients("sqs").create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
    arn = f"arn:aws:sqs:{resources.template.region}:{resources.template.account}:{name}"
    resources.queues[arn] = url
    resources._visibility[arn] = int(own.get("VisibilityTimeout", 30))
    if "RedrivePolicy" in own:
        resources.dead_letters[arn] = own["RedrivePolicy"]["deadLetterTargetArn"]
    resources.names.add(resource.logical_id, url, Arn=arn, QueueName=name, QueueUrl=url)


def _table(
    resources: Resources, resource: Resource, own: Mapping[str, Any], clients: Clients, _: str
) -> None:
    dynamodb = clients("dynamodb")
    name = _name(resources, resource, own.get("TableName"))
    arguments = {
        key: value for key, value in own.items() if key not in ("TableName", "TimeToLiveSpecification")
    }
    if "SSESpecification" in arguments:
        renamed = {"SSEEnabled": "Enabled"}
        arguments["SSESpecification"] = {
            renamed.get(key, key): value for key, value in arguments["SSESpecification"].items()
        }
    arn = dynamodb.create_table(TableName=name, **arguments)["TableDescription"]["TableArn"]
    if "TimeToLiveSpecification" in own:
        dynamodb.update_time_to_live(TableName=name, TimeToLiveSpecification=own["TimeToLiveSpecification"])
    resources.names.add(resource.logical_id, name, Arn=arn)


def _pool(resources: Resources, resource: Resource, own: Mapping[str, Any], clients: Clients, _: str) -> None:
    arguments = {key: value for key, value in own.items() if key not in ("UserPoolName", "EnabledMfas")}
    name = _name(resources, resource, own.get("UserPoolName"))
    if unknown := sorted(set(own.get("LambdaConfig", {})) - TRIGGERS):
        raise _unsupported(resource, f"trigger {unknown[0]} is not run")
    if set(mfas := own.get("EnabledMfas", [])) - {"SOFTWARE_TOKEN_MFA"}:
        raise _unsupported(resource, "only codes of an authenticator are known as a second factor")
    cognito = clients("cognito-idp")
    pool = cognito.create_user_pool(PoolName=name, **arguments)["UserPool"]
    if mfas:
        cognito.set_user_pool_mfa_config(
            UserPoolId=pool["Id"],
            MfaConfiguration=own.get("MfaConfiguration", "OFF"),
            SoftwareTokenMfaConfiguration={"Enabled": True},
        )
    provider = f"cognito-idp.{resources.template.region}.amazonaws.com/{pool['Id']}"
    resources.names.add(
        resource.logical_id,
        pool["Id"],
        Arn=pool["Arn"],
        ProviderName=provider,
        ProviderURL=f"https://{provider}",
        UserPoolId=pool["Id"],
    )


def _pool_client(
    resources: Resources, resource: Resource, own: Mapping[str, Any], clients: Clients, _: str
) -> None:
    arguments = {key: value for key, value in own.items() if key != "ClientName"}
    name = _name(resources, resource, own.get("ClientName"))
    made = clients("cognito-idp").create_user_pool_client(ClientName=name, **arguments)["UserPoolClient"]
    resources.names.add(resource.logical_id, made["ClientId"], ClientId=made["ClientId"], Name=name)


def _pool_domain(
    resources: Resources, resource: Resource, own: Mapping[str, Any], clients: Clients, _: str
) -> None:
    clients("cognito-idp").create_user_pool_domain(Domain=own["Domain"], UserPoolId=own["UserPoolId"])
    resources.names.add(resource.logical_id, own["Domain"])


def _identity_provider(
    resources: Resources, resource: Resource, own: Mapping[str, Any], clients: Clients, _: str
) -> None:
    """Only its name, which clients name."""
    resources.names.add(resource.logical_id, own["ProviderName"])


def _parameter(
    resources: Resources, resource: Resource, own: Mapping[str, Any], clients: Clients, _: str
) -> None:
    name = own.get("Name") or f"{resources.template.stack_name}-{resource.logical_id}"
    clients("ssm").put_parameter(Name=name, Type=own["Type"], Value=str(own["Value"]), Overwrite=True)
    resources.names.add(resource.logical_id, name, Type=own["Type"], Value=own["Value"])


def _configuration_set(
    resources: Resources, resource: Resource, own: Mapping[str, Any], clients: Clients, _: str
) -> None:
    """Only its name, which mail is sent with."""
    resources.names.add(resource.logical_id, _name(resources, resource, own.get("Name")))


def _topic(
    resources: Resources, resource: Resource, own: Mapping[str, Any], clients: Clients, _: str
) -> None:
    name = _name(resources, resource, own.get("TopicName"))
    # moto signs what it posts by version 2 always, and says 1 of a topic that does not ask for it.
    version = {"SignatureVersion": str(own["SignatureVersion"])} if "SignatureVersion" in own else {}
    arn = clients("sns").create_topic(Name=name, Attributes=version)["TopicArn"]
    resources.names.add(resource.logical_id, arn, TopicArn=arn, TopicName=name)


def _subscription(
    resources: Resources, resource: Resource, own: Mapping[str, Any], clients: Clients, api_url: str
) -> None:
    """What is posted comes to the HTTP API of this machine. Nobody is sent mail."""
    arn = f"{own['TopicArn']}:{resource.logical_id}"
    if own["Protocol"] == "https":
        endpoint = str(own["Endpoint"])
        if not endpoint.startswith(f"{api_url}/"):
            raise _unsupported(resource, "only the HTTP API of the template is posted to")
        # moto asks nobody to confirm. It posts to whatever it is given, and knows the protocol by its name.
        arn = clients("sns").subscribe(TopicArn=own["TopicArn"], Protocol="http", Endpoint=endpoint)[
            "SubscriptionArn"
        ]
    elif own["Protocol"] not in ("email", "email-json"):
        raise _unsupported(resource, f"nothing is sent by {own['Protocol']}")
    resources.names.add(resource.logical_id, arn, Arn=arn)


def _layer(
    resources: Resources, resource: Resource, own: Mapping[str, Any], clients: Clients, _: str
) -> None:
    """A layer's folder is on the import path as it is: the project's own folder is."""
    template = resources.template
    root = template.path.resolve().parent
    folder = (root / str(own.get("ContentUri", ""))).resolve()
    if folder.parent != root or not folder.is_dir():
        raise _unsupported(resource, f"ContentUri {own.get('ContentUri')} is no folder beside the template")
    name = _name(resources, resource, own.get("LayerName"))
    arn = f"arn:aws:lambda:{template.region}:{template.account}:layer:{name}:1"
    resources.names.add(resource.logical_id, arn)


def _function(resources: Resources, resource: Resource, own: Any, clients: Clients, _: str) -> None:
    template = resources.template
    name = functions.function_name(template, resource.logical_id)
    arn = f"arn:aws:lambda:{template.region}:{template.account}:function:{name}"
    resources.names.add(resource.logical_id, name, Arn=arn)


def _state_machine(
    resources: Resources, resource: Resource, own: Mapping[str, Any], clients: Clients, _: str
) -> None:
    if own.get("Type", "STANDARD") != "STANDARD":
        raise _unsupported(resource, "only standard workflows are run")
    name = _name(resources, resource, own.get("Name"))
    arn = clients("stepfunctions").create_state_machine(
        name=name,
        definition=json.dumps(
            machines.for_moto(machines.definition(resources.template, resource.logical_id, own))
        ),
        roleArn=f"arn:aws:iam::{resources.template.account}:role/local",
        type="STANDARD",
    )["stateMachineArn"]
    resources.names.add(resource.logical_id, arn, Arn=arn, Name=name)


def _http_api(resources: Resources, resource: Resource, own: Any, clients: Clients, api_url: str) -> None:
    own_id = functions.api_id(resources.template, resource.logical_id)
    resources.names.add(resource.logical_id, own_id, ApiId=own_id, ApiEndpoint=api_url)


RUN: dict[str, Callable[..., None]] = {
    "AWS::S3::Bucket": _bucket,
    "AWS::Events::EventBus": _bus,
    "AWS::Events::Rule": _rule,
    "AWS::SQS::Queue": _queue,
    "AWS::DynamoDB::Table": _table,
    "AWS::Cognito::UserPool": _pool,
    "AWS::Cognito::UserPoolClient": _pool_client,
    "AWS::Cognito::UserPoolDomain": _pool_domain,
    "AWS::Cognito::UserPoolIdentityProvider": _identity_provider,
    "AWS::SES::ConfigurationSet": _configuration_set,
    "AWS::SNS::Subscription": _subscription,
    "AWS::SNS::Topic": _topic,
    "AWS::SSM::Parameter": _parameter,
    LAYER: _layer,
    STATE_MACHINE: _state_machine,
    FUNCTION: _function,
    HTTP_API: _http_api,
}
"""What is made of each type. Custom resources are made by functions, once these run."""
