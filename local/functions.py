"""What the template says about functions: how each is run, what calls it, and what it is given."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from local.template import Names, Resource, Template, TemplateError, UnsupportedResourceError, text
from shared import schedules

FUNCTION = "AWS::Serverless::Function"
HTTP_API = "AWS::Serverless::HttpApi"
CUSTOM_RESOURCE = "AWS::CloudFormation::CustomResource"

FUNCTION_RUN = {
    "FunctionName",
    "Handler",
    "Runtime",
    "CodeUri",
    "Layers",
    "MemorySize",
    "Timeout",
    "Environment",
    "Events",
    "LoggingConfig",
    "ReservedConcurrentExecutions",
}
"""Function properties that are honoured here."""
FUNCTION_INERT = {
    "Architectures": "Python code runs on whatever this machine is",
    "Description": "words",
    "EphemeralStorage": "the temporary folder is this machine's",
    "Policies": "the local AWS endpoint checks no permissions",
    "Role": "the local AWS endpoint checks no permissions",
    "PermissionsBoundary": "the local AWS endpoint checks no permissions",
    "Tags": "words",
    "Tracing": "there is no X-Ray daemon",
    "VpcConfig": "everything is on the loopback interface",
}
"""Function properties that have nothing to do on one machine, and why."""

SQS_EVENT = {
    "Queue",
    "BatchSize",
    "Enabled",
    "FunctionResponseTypes",
    "MaximumBatchingWindowInSeconds",
    "ScalingConfig",
}
LOGGING_RUN = {"LogFormat", "ApplicationLogLevel"}
LOGGING_INERT = {"LogGroup", "SystemLogLevel"}  # a function's log is one file
LAYER = "AWS::Serverless::LayerVersion"

SCHEDULE_EVENT = {"Schedule", "Enabled", "Input"}
SCHEDULE_INERT = {
    "Description": "words",
    "Name": "words",
    "RetryPolicy": "a function's process is never out of reach",
    "DeadLetterConfig": "a function's process is never out of reach",
}
HTTP_EVENT = {"ApiId", "Path", "Method", "Auth", "PayloadFormatVersion", "TimeoutInMillis", "RouteSettings"}
HTTP_API_RUN = {"Auth", "CorsConfiguration", "DefaultRouteSettings", "RouteSettings"}
HTTP_API_INERT = {
    "AccessLogSettings": "requests are logged by the local stack itself",
    "Description": "words",
    "Name": "words",
    "FailOnWarnings": "nothing is imported from OpenAPI",
    "Tags": "words",
}
METHODS = {"ANY", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
ROUTE_SETTINGS = {"ThrottlingBurstLimit", "ThrottlingRateLimit"}
ROUTE_SETTINGS_INERT = {"DetailedMetricsEnabled"}


@dataclass(frozen=True)
class Function:
    """A function as Lambda would run it.

    Attributes:
        timeout: seconds.
        memory: MB, told to the function; the operating system is not asked to enforce it.
        reserved: the most environments it may have at once, or None.
        environment: the template's variables, Globals merged in.
    """

    logical_id: str
    name: str
    arn: str
    handler: str
    timeout: int
    memory: int
    environment: Mapping[str, str]
    reserved: int | None = None
    log_format: str = "Text"
    log_level: str | None = None


@dataclass(frozen=True)
class QueueSource:
    """An SQS queue that feeds a function.

    Attributes:
        window: seconds to wait for more messages once the first is there.
        partial: whether the function says itself which messages failed.
    """

    logical_id: str
    function: str
    queue_arn: str
    batch_size: int = 10
    window: int = 0
    maximum_concurrency: int | None = None
    partial: bool = False


@dataclass(frozen=True)
class Schedule:
    """A schedule that runs a function.

    Attributes:
        name: what the function is called in the code, for people: `sweeper`; with the event's name behind it
            where a function has several.
        expression: `cron(…)`, in UTC, or `rate(…)`.
        input: JSON that the function is given; None for EventBridge's own event.
        queue: ARN of the queue before the function; None where it is invoked directly.
    """

    logical_id: str
    name: str
    function: str
    expression: str
    enabled: bool = True
    input: str | None = None
    queue: str | None = None


@dataclass(frozen=True)
class Throttle:
    """A token bucket: `rate` requests a second, `burst` at once."""

    rate: float | None = None
    burst: int | None = None


@dataclass(frozen=True)
class Authorizer:
    """A JWT authorizer.

    Attributes:
        identity_source: where the token is, as `$request.header.Authorization`.
        audience: acceptable `aud`, or `client_id` where a token has no `aud`.
    """

    name: str
    identity_source: str
    issuer: str
    audience: tuple[str, ...]


@dataclass(frozen=True)
class Route:
    """One route of an HTTP API.

    Attributes:
        path: with `{name}` and `{name+}` parameters.
        timeout: seconds until the API gives up on the function.
    """

    method: str
    path: str
    function: str
    authorizer: Authorizer | None = None
    scopes: tuple[str, ...] = ()
    timeout: float = 30.0
    throttle: Throttle = field(default_factory=Throttle)

    @property
    def key(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(frozen=True)
class Cors:
    """What a browser is told; empty lists say nothing."""

    origins: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    expose: tuple[str, ...] = ()
    max_age: int | None = None
    credentials: bool = False


@dataclass(frozen=True)
class HttpApi:
    """An HTTP API with its routes."""

    logical_id: str
    api_id: str
    routes: tuple[Route, ...]
    cors: Cors | None = None


@dataclass(frozen=True)
class CustomResource:
    """Something that a function makes when the stack is created."""

    logical_id: str
    type: str
    function: str
    properties: Mapping[str, Any]


def function_name(template: Template, logical_id: str) -> str:
    """The physical name, without resolving anything that is created later."""
    given = template.resources[logical_id].properties.get("FunctionName")
    if given is None:
        return f"{template.stack_name}-{logical_id}"
    return text(template.resolve(given, Names(), f"Resources.{logical_id}.FunctionName"), logical_id)


def api_id(template: Template, logical_id: str) -> str:
    """Ten characters, as API Gateway's ids have, the same at every start."""
    return hashlib.sha256(f"{template.stack_name}/{logical_id}".encode()).hexdigest()[:10]


def check(resource: Resource) -> None:
    """Refuse what a function or an API has that nothing here runs.

    Raises:
        UnsupportedResourceError: names the property or event source.
    """

    def known(properties: Any, names: set[str], what: str) -> None:
        if not isinstance(properties, dict):
            raise UnsupportedResourceError(resource.logical_id, resource.type, f"{what} must be written out")
        for name in properties:
            if name not in names:
                raise UnsupportedResourceError(
                    resource.logical_id, resource.type, f"{what} {name} is not known to the local stack"
                )

    if resource.type == HTTP_API:
        known(resource.properties, HTTP_API_RUN | set(HTTP_API_INERT), "property")
        settings = [resource.properties.get("DefaultRouteSettings", {})]
        settings += resource.properties.get("RouteSettings", {}).values()
        for setting in settings:
            known(setting, ROUTE_SETTINGS | ROUTE_SETTINGS_INERT, "route setting")
        auth = resource.properties.get("Auth", {})
        known(auth, {"DefaultAuthorizer", "Authorizers"}, "property Auth")
        for name, authorizer in auth.get("Authorizers", {}).items():
            known(
                authorizer,
                {"IdentitySource", "JwtConfiguration", "AuthorizationScopes"},
                f"authorizer {name}: only JWT authorizers are known,",
            )
        return
    known(resource.properties, FUNCTION_RUN | set(FUNCTION_INERT), "property")
    known(resource.properties.get("LoggingConfig", {}), LOGGING_RUN | LOGGING_INERT, "logging property")
    runtime = resource.properties.get("Runtime", "")
    if not isinstance(runtime, str) or not runtime.startswith("python3."):
        raise UnsupportedResourceError(
            resource.logical_id, resource.type, f"runtime {runtime or '(none)'} is not Python"
        )
    for name, event in resource.properties.get("Events", {}).items():
        kind = event.get("Type")
        if kind == "SQS":
            known(event.get("Properties", {}), SQS_EVENT, f"event source {name}: SQS property")
        elif kind == "HttpApi":
            known(event.get("Properties", {}), HTTP_EVENT, f"event source {name}: HttpApi property")
        elif kind == "Schedule":
            known(
                event.get("Properties", {}),
                SCHEDULE_EVENT | set(SCHEDULE_INERT),
                f"event source {name}: Schedule property",
            )
        else:
            raise UnsupportedResourceError(
                resource.logical_id,
                resource.type,
                f"event source {name} is of type {kind}, which the local stack does not run",
            )


def read_function(template: Template, names: Names, logical_id: str) -> Function:
    """Resolve one function.

    Raises:
        TemplateError: something in it is not known or not allowed by Lambda.
    """
    where = f"Resources.{logical_id}.Properties"
    properties = dict(template.resources[logical_id].properties)
    if isinstance(logging := properties.get("LoggingConfig"), dict):
        # A function's log is a file of the stack's own here, whatever its group is on AWS.
        properties["LoggingConfig"] = {key: value for key, value in logging.items() if key != "LogGroup"}
    settled = {
        key: template.resolve(properties[key], names, f"{where}.{key}")
        for key in FUNCTION_RUN - {"Events", "LoggingConfig"}
        if key in properties
    }
    _check_layers(template, names, logical_id, settled.get("Layers") or [])
    logging = {
        key: template.resolve(value, names, f"{where}.LoggingConfig.{key}")
        for key, value in properties.get("LoggingConfig", {}).items()
        if key in LOGGING_RUN
    }
    variables = (settled.get("Environment") or {}).get("Variables", {})
    timeout = int(settled.get("Timeout", 3))
    memory = int(settled.get("MemorySize", 128))
    if not 1 <= timeout <= 900 or not 128 <= memory <= 10240:
        raise TemplateError(f"{where}: Lambda takes time-outs up to 900 s and memory of 128 to 10240 MB")
    if "Handler" not in settled:
        raise TemplateError(f"{where}: has no Handler")
    reserved = settled.get("ReservedConcurrentExecutions")
    name = function_name(template, logical_id)
    return Function(
        logical_id=logical_id,
        name=name,
        arn=f"arn:aws:lambda:{template.region}:{template.account}:function:{name}",
        handler=settled["Handler"],
        timeout=timeout,
        memory=memory,
        environment={key: text(value, f"{where}.Environment.{key}") for key, value in variables.items()},
        reserved=None if reserved is None else int(reserved),
        log_format=logging.get("LogFormat", "Text"),
        log_level=logging.get("ApplicationLogLevel"),
    )


def _check_layers(template: Template, names: Names, logical_id: str, layers: list[Any]) -> None:
    """A layer of this template is on the import path anyway; code from anywhere else is not here."""
    own = {names.refs[r.logical_id] for r in template.resources.values() if r.type == LAYER}
    for layer in layers:
        if layer not in own:
            raise UnsupportedResourceError(logical_id, FUNCTION, f"layer {layer} is none of this template")


def _events(template: Template, names: Names, kind: str) -> Iterator[tuple[Resource, str, dict[str, Any]]]:
    for resource in template.resources.values():
        if resource.type != FUNCTION:
            continue
        for name, event in resource.properties.get("Events", {}).items():
            if event["Type"] == kind:
                where = f"Resources.{resource.logical_id}.Events.{name}"
                yield resource, where, template.resolve(event.get("Properties", {}), names, where)


def read_queue_sources(template: Template, names: Names, visibility: Mapping[str, int]) -> list[QueueSource]:
    """Resolve every SQS event source.

    Args:
        visibility: visibility time-out in seconds by queue ARN.

    Raises:
        TemplateError: Lambda would refuse the mapping.
    """
    sources = []
    for resource, where, event in _events(template, names, "SQS"):
        if not event.get("Enabled", True):
            continue
        queue = str(event.get("Queue"))
        if queue not in visibility:
            raise TemplateError(f"{where}: {queue} is no queue of this template")
        types = event.get("FunctionResponseTypes", [])
        source = QueueSource(
            logical_id=where.removeprefix("Resources."),
            function=resource.logical_id,
            queue_arn=queue,
            batch_size=int(event.get("BatchSize", 10)),
            window=int(event.get("MaximumBatchingWindowInSeconds", 0)),
            maximum_concurrency=(event.get("ScalingConfig") or {}).get("MaximumConcurrency"),
            partial="ReportBatchItemFailures" in types,
        )
        timeout = read_function(template, names, resource.logical_id).timeout
        if visibility[queue] < timeout:
            raise TemplateError(
                f"{where}: the queue's visibility time-out is shorter than the function's time-out"
            )
        if not 1 <= source.batch_size <= 10_000 or not 0 <= source.window <= 300:
            raise TemplateError(f"{where}: Lambda takes 1 to 10000 messages and a window of up to 300 s")
        if source.batch_size > 10 and source.window < 1:
            raise TemplateError(f"{where}: a batch of more than 10 needs MaximumBatchingWindowInSeconds")
        if source.maximum_concurrency is not None and not 2 <= int(source.maximum_concurrency) <= 1000:
            raise TemplateError(f"{where}: MaximumConcurrency is 2 to 1000")
        sources.append(source)
    return sources


def read_schedules(
    template: Template, names: Names, queue_sources: Sequence[QueueSource] = ()
) -> list[Schedule]:
    """Resolve every schedule: events of functions, and rules that fill the queue before one.

    Raises:
        TemplateError: its expression is none that EventBridge takes, its input is no JSON, or nobody
            takes anything from its queue.
    """
    found = [
        Schedule(
            logical_id=where.removeprefix("Resources."),
            name=where.rpartition(".")[2],
            function=resource.logical_id,
            expression=str(event.get("Schedule", "")),
            enabled=bool(event.get("Enabled", True)),
            input=event.get("Input"),
        )
        for resource, where, event in _events(template, names, "Schedule")
    ]
    takers = {source.queue_arn: source.function for source in queue_sources}
    for resource in template.resources.values():
        if resource.type != "AWS::Events::Rule" or "ScheduleExpression" not in resource.properties:
            continue
        where = f"Resources.{resource.logical_id}"
        own = template.resolve(dict(resource.properties), names, where)
        for target in own.get("Targets", []):
            if target["Arn"] not in takers:
                raise TemplateError(f"{where}: no function takes anything from {target['Arn']}")
            found.append(
                Schedule(
                    logical_id=resource.logical_id,
                    name=resource.logical_id,
                    function=takers[target["Arn"]],
                    expression=str(own["ScheduleExpression"]),
                    enabled=own.get("State", "ENABLED") == "ENABLED",
                    queue=target["Arn"],
                )
            )
    several = Counter(schedule.function for schedule in found)
    named = []
    for schedule in found:
        try:
            schedules.parse(schedule.expression)
            if schedule.input is not None:
                json.loads(schedule.input)
        except (schedules.ScheduleError, ValueError, TypeError) as error:
            raise TemplateError(f"{schedule.logical_id}: {error}") from error
        name = _in_code(schedule.function)
        if several[schedule.function] > 1:
            name += f".{_in_code(schedule.name)}"
        named.append(replace(schedule, name=name))
    return named


def _in_code(logical_id: str) -> str:
    """`ScanTick` is `scan_tick`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", logical_id).lower()


def read_apis(template: Template, names: Names) -> list[HttpApi]:
    """Resolve every HTTP API with the routes that functions ask for.

    Raises:
        TemplateError: a route names an API or authorizer that is not there.
    """
    apis = []
    asked: dict[str, list[tuple[str, str, dict[str, Any]]]] = {}
    for resource, where, event in _events(template, names, "HttpApi"):
        if "ApiId" not in event:
            raise UnsupportedResourceError(
                resource.logical_id, resource.type, f"{where} names no ApiId; SAM's implicit API is not run"
            )
        asked.setdefault(event["ApiId"], []).append((resource.logical_id, where, event))
    for resource in template.resources.values():
        if resource.type != HTTP_API:
            continue
        where = f"Resources.{resource.logical_id}.Properties"
        properties = template.resolve({k: resource.properties.get(k) for k in HTTP_API_RUN}, names, where)
        own_id = names.refs[resource.logical_id]
        routes = tuple(_route(properties, *route) for route in asked.pop(own_id, []))
        if len({route.key for route in routes}) < len(routes):
            raise TemplateError(f"{where}: a route is there twice")
        apis.append(HttpApi(resource.logical_id, own_id, routes, _cors(properties.get("CorsConfiguration"))))
    for unknown in asked:
        raise TemplateError(f"{asked[unknown][0][1]}: {unknown} is no HTTP API of this template")
    return apis


def _route(api: Mapping[str, Any], function: str, where: str, event: Mapping[str, Any]) -> Route:
    if str(event.get("PayloadFormatVersion", "2.0")) != "2.0":
        raise TemplateError(f"{where}: only payload format 2.0 is run")
    method, path = str(event.get("Method", "ANY")).upper(), str(event.get("Path", ""))
    if method not in METHODS or not path.startswith("/"):
        raise TemplateError(f"{where}: {method} {path} is no route")
    auth = api.get("Auth") or {}
    own = event.get("Auth") or {}
    name = own.get("Authorizer", auth.get("DefaultAuthorizer", "NONE"))
    authorizer, scopes = None, own.get("AuthorizationScopes", [])
    if name != "NONE":
        specification = (auth.get("Authorizers") or {}).get(name)
        if specification is None:
            raise TemplateError(f"{where}: no authorizer {name}")
        jwt = specification.get("JwtConfiguration") or {}
        authorizer = Authorizer(
            name=name,
            identity_source=specification.get("IdentitySource", "$request.header.Authorization"),
            issuer=jwt["issuer"],
            audience=tuple(jwt.get("audience", [])),
        )
        scopes = scopes or specification.get("AuthorizationScopes", [])
    settings = {
        **(api.get("DefaultRouteSettings") or {}),
        **(api.get("RouteSettings") or {}).get(f"{method} {path}", {}),
        **(event.get("RouteSettings") or {}),
    }
    return Route(
        method=method,
        path=path,
        function=function,
        authorizer=authorizer,
        scopes=tuple(scopes),
        timeout=int(event.get("TimeoutInMillis", 30_000)) / 1000,
        throttle=Throttle(settings.get("ThrottlingRateLimit"), settings.get("ThrottlingBurstLimit")),
    )


def _cors(configuration: Any) -> Cors | None:
    if not configuration:
        return None
    if configuration is True:
        return Cors(origins=("*",))
    return Cors(
        origins=tuple(configuration.get("AllowOrigins", [])),
        methods=tuple(configuration.get("AllowMethods", [])),
        headers=tuple(configuration.get("AllowHeaders", [])),
        expose=tuple(configuration.get("ExposeHeaders", [])),
        max_age=configuration.get("MaxAge"),
        credentials=bool(configuration.get("AllowCredentials", False)),
    )


def read_custom_resources(template: Template, names: Names) -> list[CustomResource]:
    """Resolve every custom resource; each is made by a function of this template.

    Raises:
        UnsupportedResourceError: its ServiceToken is not such a function.
    """
    functions = {
        names.attributes[resource.logical_id, "Arn"]: resource.logical_id
        for resource in template.resources.values()
        if resource.type == FUNCTION
    }
    found = []
    for resource in template.resources.values():
        if not is_custom(resource.type):
            continue
        where = f"Resources.{resource.logical_id}.Properties"
        properties = template.resolve(dict(resource.properties), names, where)
        function = functions.get(properties.get("ServiceToken"))
        if function is None:
            raise UnsupportedResourceError(
                resource.logical_id, resource.type, "its ServiceToken is no function of this template"
            )
        found.append(CustomResource(resource.logical_id, resource.type, function, properties))
    return found


def is_custom(kind: str) -> bool:
    return kind == CUSTOM_RESOURCE or kind.startswith("Custom::")
