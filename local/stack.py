"""The whole system on one machine: template.yaml, run.

One process holds the AWS endpoint, the HTTP API and the queue pollers; PostgreSQL and each environment
of a function are processes of their own. All of it lives in one data folder, and everything a user
has trusted it with is there when it is started again:

    DATA/postgres/              the database
    DATA/objects/, queues/      S3 and SQS
    DATA/mail/                  what SES was given to send
    DATA/users.json             Cognito's users
    DATA/sign_in.json           the key that signs their tokens, and the sign-ins that were ended
    DATA/logs/                  one file per function, stack.log and postgres.log
    DATA/stack.json             how to reach the stack, while it runs
"""

import contextlib
import fcntl
import json
import logging
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Self

from local import bus, machines, resources
from local.files import write_json
from local.functions import CustomResource, Function
from local.guardian import Guardian
from local.patches import Patches, quieten
from local.postgres import DatabaseError, Server
from local.queues import Poller
from local.resources import Clients, Resources
from local.runtime import FunctionMissingError, Pool, Result
from local.schedules import Clock
from local.signatures import LOCAL
from local.template import UnsupportedResourceError, load

logger = logging.getLogger("local")

ROOT = Path(__file__).resolve().parent.parent
EMAIL = "local@magpie.test"
MAIL_FROM = "magpie@magpie.test"
"""Who sends mail here, where it goes no further than a folder."""
MAX_LOG_BYTES = 20 * 1024 * 1024
MODEL_KEYS = {"ANTHROPIC_KEY_PARAMETER": "ANTHROPIC_API_KEY", "VOYAGE_KEY_PARAMETER": "VOYAGE_API_KEY"}
KEYS = {**MODEL_KEYS, "STRIPE_KEY_PARAMETER": "STRIPE_SECRET_KEY"}
"""A function's variable that names a parameter, and the variable of this machine that holds its value."""
WEBHOOK_SECRETS_PARAMETER = "STRIPE_WEBHOOK_SECRETS_PARAMETER"
WEBHOOK_SECRETS = ("STRIPE_WEBHOOK_SECRETS", "STRIPE_WEBHOOK_SECRET")
"""This machine's variables for what Stripe signs with: one or two, separated by a comma. Without them the
stack makes a secret of its own, so that signed deliveries can be tried without an account."""
DATABASE_PARAMETER = "DATABASE_URL_PARAMETER"
HOSTED_UI = "HOSTED_UI_URL"
"""A function's variable that says where Cognito's sign-in page is: here it is the endpoint's own."""
MAX_ENVIRONMENTS = 4
"""Of one function, unless it waits for models: more only share the same processors and memory."""
WAITING_FACTOR = 3
"""As many times more when functions wait for models elsewhere, instead of computing here."""
MEMORY_SHARE = 0.5
"""Of this machine's memory, that environments of one function may be promised together."""


class StackError(Exception):
    """The stack cannot start or go on; the message is one line for the person who started it."""


class PortTakenError(StackError):
    """Something else listens on a port; says which, and which option chooses another."""


class DataDirInUseError(StackError):
    """Another stack uses the data folder."""


class _StopError(BaseException):
    """A signal asked to stop while the stack was starting."""


class Stack:
    """Everything in template.yaml, started and stopped together.

    Args:
        data_dir: made when it is not there.
        port: of the HTTP API; 0 takes any free one.
        aws_port: of the AWS endpoint; 0 takes any free one.
        template: which template.
        parameters: values for its parameters.
        environment: variables for every function, beyond the template's.
        say: is told in a short sentence what is being done.
        concurrency: the most environments of one function; by default what the processors are good for.

    Attributes, once started:
        api_url, aws_url, database_url: how to reach it.
        uploads_bucket, media_bucket: names.
        user: email, password and sub of the first user.
        webhook_secrets: what Stripe signs with, as in the parameter.
        sign_in: region, user_pool_id and client_id.
        resources: what was made, and what it is called.
        start_seconds: how long it took to start.
    """

    api_url: str
    aws_url: str
    database_url: str
    uploads_bucket: str
    media_bucket: str
    user: dict[str, str]
    webhook_secrets: str
    sign_in: dict[str, str]
    resources: Resources
    start_seconds: float

    def __init__(
        self,
        data_dir: Path,
        port: int = 8787,
        aws_port: int = 4566,
        *,
        template: Path = ROOT / "template.yaml",
        parameters: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        say: Callable[[str], None] | None = None,
        concurrency: int | None = None,
    ) -> None:
        self.data_dir = Path(data_dir).expanduser().resolve()
        self._ports = {"--port": port, "--aws-port": aws_port}
        self._template_path = template
        self._parameters = dict(parameters or {})
        self._environment = dict(environment or {})
        self._say = say or (lambda sentence: None)
        self._concurrency = concurrency
        self._started = contextlib.ExitStack()
        self._pools: dict[str, Pool] = {}
        self._pollers: list[Poller] = []
        self._database: Server | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start everything; returns when it is ready, or raises with nothing left running.

        Raises:
            StackError: a port is taken, the data folder is in use, the database or a migration fails.
            TemplateError: the template holds what cannot be run here.
        """
        began = time.monotonic()
        try:
            self._start()
        except DatabaseError as error:
            self.stop()
            raise StackError(str(error)) from error
        except BaseException:
            self.stop()
            raise
        self.start_seconds = time.monotonic() - began

    def stop(self) -> None:
        """Stop everything that was started; does nothing the second time.

        Signals that ask to stop are ignored meanwhile: it is being done, and leaves nobody behind.
        """
        with _deaf():
            self._started.close()

    def run(self, ready: Callable[["Stack"], None] | None = None) -> None:
        """Start, stay until SIGINT, SIGTERM or SIGHUP, and stop. To be called on the main thread.

        Raises:
            StackError: also when the database ends by itself.
        """
        asked = threading.Event()
        starting = True

        def ask(number: int, frame: FrameType | None) -> None:
            asked.set()
            if starting:
                raise _StopError

        signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = [signal.signal(number, ask) for number in signals]
        try:
            try:
                self.start()
            except _StopError:
                return
            starting = False
            if ready is not None:
                ready(self)
            while not asked.wait(1.0):
                if self._database is None or not self._database.running:
                    raise StackError(f"the database has ended; see {self.data_dir / 'logs' / 'postgres.log'}")
        finally:
            starting = False
            self.stop()
            for number, handler in zip(signals, before, strict=True):
                signal.signal(number, handler)

    def invoke(self, logical_id: str, payload: Any) -> tuple[Any, str | None]:
        """Run a function on a JSON value and return its answer, and `Unhandled` if it failed."""
        result = self._pools[logical_id].invoke(json.dumps(payload).encode())
        return result.json(), result.error

    def wait_until_idle(self, timeout: float) -> bool:
        """Return True once no queue holds a message (dead letters aside), False at the time-out."""
        deadline = time.monotonic() + timeout
        # Twice: a message may move on while the queues are looked at one by one.
        while not (self._idle() and self._idle()):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def _idle(self) -> bool:
        return not any(poller.backlog() for poller in self._pollers)

    def _start(self) -> None:
        cleanup = self._started
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        cleanup.callback(self._lock().close)
        api_listener, aws_listener = self._bind()
        cleanup.callback(aws_listener.close)
        cleanup.callback(api_listener.close)
        self.api_url = _url(api_listener)
        origins = [self.api_url, self.api_url.replace("127.0.0.1", "localhost")]
        # Pages come from the stack's own port, unless somebody says otherwise.
        defaults = {"AllowedOrigins": ",".join(origins), "MailFrom": MAIL_FROM}
        template = load(self._template_path, self._parameters, defaults=defaults)
        resources.check(template)
        logs = self.data_dir / "logs"
        logs.mkdir(mode=0o700, exist_ok=True)
        cleanup.enter_context(_logging(logs))
        cleanup.enter_context(_no_aws_settings())
        guardian = Guardian()
        cleanup.callback(guardian.stop)

        starter = cleanup.enter_context(ThreadPoolExecutor(1))
        self._database = Server(self.data_dir / "postgres", logs / "postgres.log", guardian, self._say)
        self._say("starting the database")
        database_started = starter.submit(self._database.start)
        cleanup.callback(self._database.stop)
        cleanup.callback(starter.shutdown)

        self._say("starting the AWS endpoint")
        from local.aws import Endpoint
        from local.cognito import Cognito
        from local.mail import MailStore
        from local.messages import MessageStore
        from local.objects import ObjectStore
        from local.refresh_tokens import RefreshTokens
        from local.sign_in import SignInPage
        from local.users import UserStore

        where = (template.account, template.region)
        objects = ObjectStore(self.data_dir / "objects", *where)
        messages = MessageStore(self.data_dir / "queues", *where)
        users = UserStore(self.data_dir / "users.json", *where)
        tokens = RefreshTokens(self.data_dir / "sign_in.json")
        cognito = Cognito(template.region, tokens, self._invoke_by_name)
        _forget_earlier_stacks()
        patches = Patches()
        cleanup.callback(patches.undo)
        quieten(patches)
        bus.install(patches)
        objects.install(patches)
        messages.install(patches)
        users.install(patches)
        cognito.install(patches)
        endpoint = Endpoint(
            aws_listener,
            invoke=self._invoke_by_name,
            messages=messages,
            users=users,
            mails=MailStore(self.data_dir / "mail", *where),
            sign_in=SignInPage(cognito, users),
            origins=origins,
        )
        cleanup.callback(endpoint.stop)
        endpoint.start()
        self.aws_url = endpoint.url

        self._say("making the template's resources")
        clients = _clients(endpoint.url, template.region)
        machines.install(patches, self._invoke_by_name, clients)
        made = resources.create(template, clients, api_url=self.api_url)
        self.resources = made
        self.uploads_bucket, self.media_bucket = made.ref("UploadsBucket"), made.ref("MediaBucket")
        users.load()
        objects.load()
        messages.load()
        self._make_pools(logs, guardian)
        cleanup.callback(self._close_pools)
        cleanup.callback(machines.abandon, *where)
        for resource in made.custom_resources:
            self._pools[resource.function].warm()  # takes half a second, while the database starts

        database_started.result()
        self.database_url = self._database.url
        self._put_parameters(clients)
        for resource in made.custom_resources:
            self._say(f"making {resource.logical_id}")
            self._make_custom(resource, endpoint)
        self._sign_in(users)

        for source in made.queue_sources:
            pool = self._pools[source.function]
            concurrency = min(source.maximum_concurrency or pool.limit, pool.limit)
            others = partial(self._others_at_work, source.logical_id)
            poller = Poller(
                source, messages, pool.invoke, concurrency, more_to_come=others, idle=self._end_windows
            )
            self._pollers.append(poller)
        cleanup.callback(self._stop_pollers)
        clock = Clock(
            made.schedules, self._invoke_scheduled, messages.send, account=where[0], region=where[1]
        )
        cleanup.callback(clock.stop)
        endpoint.clock = clock
        self._start_gateway(api_listener)
        for poller in self._pollers:
            poller.start()
        clock.start()
        self._announce(guardian)

    def _lock(self) -> Any:
        lock = (self.data_dir / "lock").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise DataDirInUseError(
                f"another stack uses {self.data_dir}: stop it, or choose another folder with --data"
            ) from None
        return lock

    def _bind(self) -> tuple[socket.socket, socket.socket]:
        listeners: list[socket.socket] = []
        for option, port in self._ports.items():
            try:
                listeners.append(socket.create_server(("127.0.0.1", port), backlog=128))
            except OSError as error:
                for listener in listeners:
                    listener.close()
                reason = os.strerror(error.errno or 0)
                raise PortTakenError(
                    f"port {port} cannot be used ({reason}): choose another with {option}"
                ) from error
        return listeners[0], listeners[1]

    def _make_pools(self, logs: Path, guardian: Guardian) -> None:
        for logical_id, function in self.resources.functions.items():
            _rotate(logs / f"{logical_id}.log")
            limit = self._concurrency or self._limit(function.memory)
            self._pools[logical_id] = Pool(
                function,
                limit=min(limit, function.reserved or limit),
                endpoint=self.aws_url,
                extra={**self._own_addresses(function), **self._environment},
                root=self.resources.template.path.resolve().parent,
                logs=logs,
                guardian=guardian,
                region=self.resources.template.region,
            )

    def _own_addresses(self, function: Function) -> dict[str, str]:
        """Variables of a function that name a place of Cognito's, which is another one here."""
        from local.sign_in import PREFIX

        return {HOSTED_UI: self.aws_url + PREFIX} if function.environment.get(HOSTED_UI) else {}

    def _limit(self, memory: int) -> int:
        """The most environments of a function with this much memory, in MB, that are worth having."""
        import psutil

        processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        wanted = min(MAX_ENVIRONMENTS, max(2, processors or 2))
        if any(os.environ.get(key) for key in MODEL_KEYS.values()):
            wanted *= WAITING_FACTOR
        fitting = int(psutil.virtual_memory().total * MEMORY_SHARE / 2**20 / memory)
        return max(1, min(wanted, fitting))

    def _close_pools(self) -> None:
        for pool in self._pools.values():
            pool.close()
        self._pools.clear()

    def _stop_pollers(self) -> None:
        for poller in self._pollers:
            poller.stop()
        for pool in self._pools.values():
            pool.close()
        for poller in self._pollers:
            poller.join()
        self._pollers.clear()

    def _others_at_work(self, logical_id: str) -> bool:
        """Whether there is work on any queue, but for the one of this event source."""
        return any(each.at_work() for each in self._pollers if each.source.logical_id != logical_id)

    def _end_windows(self) -> None:
        """Let those look again who wait for more to come, now that there is no work left on a queue."""
        for poller in self._pollers:
            if poller.source.window:
                poller.wake()

    def _invoke_scheduled(self, logical_id: str, payload: bytes) -> Result:
        return self._pools[logical_id].invoke(payload)

    def _invoke_by_name(self, name: str, payload: bytes) -> Result:
        """Run a function by its name or ARN, with or without a qualifier."""
        for logical_id, function in self.resources.functions.items():
            partial = f"{self.resources.template.account}:function:{function.name}"
            for known in (function.name, function.arn, partial):
                if name in (known, f"{known}:$LATEST"):
                    return self._pools[logical_id].invoke(payload)
        raise FunctionMissingError(name)

    def _keys(self) -> dict[str, str]:
        given = (os.environ.get(name) for name in WEBHOOK_SECRETS)
        self.webhook_secrets = next(filter(None, given), None) or f"whsec_local{secrets.token_hex(16)}"
        known = {variable: os.environ[source] for variable, source in KEYS.items() if os.environ.get(source)}
        return {WEBHOOK_SECRETS_PARAMETER: self.webhook_secrets, **known}

    def _put_parameters(self, clients: Clients) -> None:
        """Give each parameter that a function's environment names its value."""
        values = {DATABASE_PARAMETER: self.database_url, **self._keys()}
        named = {
            function.environment[variable]: value
            for function in self.resources.functions.values()
            for variable, value in values.items()
            if variable in function.environment
        }
        ssm = clients("ssm")
        for name, value in named.items():
            ssm.put_parameter(Name=name, Type="SecureString", Value=value, Overwrite=True)

    def _make_custom(self, resource: CustomResource, endpoint: Any) -> None:
        """Ask the resource's function as CloudFormation does: Create the first time, Update afterwards."""
        path = self.data_dir / "custom_resources.json"
        made = json.loads(path.read_text()) if path.exists() else {}
        before = made.get(resource.logical_id)
        template = self.resources.template
        url, token = endpoint.answer_url()
        event = {
            "RequestType": "Update" if before else "Create",
            "ServiceToken": resource.properties["ServiceToken"],
            "ResponseURL": url,
            "StackId": template.pseudo_parameters()["AWS::StackId"],
            "RequestId": token,
            "LogicalResourceId": resource.logical_id,
            "ResourceType": resource.type,
            "ResourceProperties": _as_texts(resource.properties),
        }
        if before:
            event["PhysicalResourceId"] = before["id"]
            event["OldResourceProperties"] = before["properties"]
        result, error = self.invoke(resource.function, event)
        answer = endpoint.wait_for_answer(token, 1.0)
        log = self.data_dir / "logs" / f"{resource.function}.log"
        if answer is None:
            raise StackError(
                f"{resource.logical_id} was not made: {error or 'no answer'} {result}; see {log}"
            )
        if answer["Status"] != "SUCCESS":
            raise StackError(f"{resource.logical_id} was not made: {answer.get('Reason')}; see {log}")
        made[resource.logical_id] = {
            "id": answer["PhysicalResourceId"],
            "properties": event["ResourceProperties"],
        }
        write_json(path, made)

    def _sign_in(self, users: Any) -> None:
        pool_id = self._ref_of("AWS::Cognito::UserPool")
        client_id = self._ref_of("AWS::Cognito::UserPoolClient")
        self.sign_in = {
            "region": self.resources.template.region,
            "user_pool_id": pool_id,
            "client_id": client_id,
        }
        from moto.core.exceptions import JsonRESTError

        try:
            self.user = users.first(pool_id, EMAIL)
        except JsonRESTError as error:
            raise StackError(f"the first user, {EMAIL}, cannot be made: {error.message}") from error

    def _ref_of(self, kind: str) -> str:
        for resource in self.resources.template.resources.values():
            if resource.type == kind:
                return self.resources.ref(resource.logical_id)
        raise StackError(f"the template has no {kind}, so that nobody can sign in")

    def _start_gateway(self, listener: socket.socket) -> None:
        from local.gateway import Gateway
        from local.tokens import KeySet

        template = self.resources.template
        apis = self.resources.apis
        for second in apis[1:]:
            raise UnsupportedResourceError(
                second.logical_id, "AWS::Serverless::HttpApi", "there is one port, for one API"
            )
        pools = [
            resource for resource in template.resources.values() if resource.type == "AWS::Cognito::UserPool"
        ]
        key_sets = {
            f"https://cognito-idp.{template.region}.amazonaws.com/{pool_id}": KeySet(
                f"{self.aws_url}/{pool_id}/.well-known/jwks.json"
            )
            for pool_id in (self.resources.ref(pool.logical_id) for pool in pools)
        }
        for api in apis:
            for route in api.routes:
                if route.authorizer is not None and route.authorizer.issuer not in key_sets:
                    raise UnsupportedResourceError(
                        api.logical_id,
                        "AWS::Serverless::HttpApi",
                        f"issuer {route.authorizer.issuer} is no user pool of this template",
                    )
            gateway = Gateway(
                api,
                listener,
                invoke=lambda function, payload: self._pools[function].invoke(payload),
                key_sets=key_sets,
                account=template.account,
                region=template.region,
            )
            self._started.callback(gateway.stop)
            gateway.start()

    def _announce(self, guardian: Guardian) -> None:
        """Write stack.json, which says that everything is ready, and goes when the stack goes."""
        path = self.data_dir / "stack.json"
        self._started.callback(path.unlink, missing_ok=True)
        guardian.remove(path)
        write_json(
            path,
            {
                "pid": os.getpid(),
                "api_url": self.api_url,
                "aws_url": self.aws_url,
                "uploads_bucket": self.uploads_bucket,
                "media_bucket": self.media_bucket,
                "user": self.user,
                "sign_in": self.sign_in,
                "database_url": self.database_url,
                "stripe_webhook_secret": self.webhook_secrets.partition(",")[0].strip(),
            },
        )


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{host}:{port}"


def _as_texts(value: Any) -> Any:
    """Properties as CloudFormation sends them: every number and truth value is a text."""
    if isinstance(value, dict):
        return {key: _as_texts(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_as_texts(inner) for inner in value]
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _clients(url: str, region: str) -> Clients:
    """Clients of the local endpoint, each made once."""
    import boto3
    from botocore.config import Config

    session = boto3.Session(
        aws_access_key_id=LOCAL.access_key,
        aws_secret_access_key=LOCAL.secret_key,
        region_name=region,
    )
    config = Config(proxies={}, retries={"mode": "standard", "max_attempts": 2})
    made: dict[str, Any] = {}

    def client(service: str) -> Any:
        if service not in made:
            made[service] = session.client(service, endpoint_url=url, config=config)
        return made[service]

    return client


@contextlib.contextmanager
def _no_aws_settings() -> Iterator[None]:
    """Hide this machine's own AWS configuration from moto and from the stack's clients.

    A profile that is not there would stop them, an endpoint or account would lead them astray.
    """
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("AWS_")}
    ours = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)
        os.environ.update(hidden)


def _forget_earlier_stacks() -> None:
    """Empty moto, which is one per process."""
    from moto.core.base_backend import BackendDict

    BackendDict.reset()


def _rotate(path: Path) -> None:
    if path.exists() and path.stat().st_size > MAX_LOG_BYTES:
        path.replace(path.with_suffix(".1.log"))


@contextlib.contextmanager
def _logging(folder: Path) -> Iterator[None]:
    """Write what the stack itself has to say to a file; standard output belongs to the command line."""
    path = folder / "stack.log"
    _rotate(path)
    _rotate(folder / "postgres.log")
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    propagated, level = logger.propagate, logger.level
    logger.addHandler(handler)
    logger.propagate = False
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagated
        logger.setLevel(level)
        handler.close()


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """Ignore signals that ask to stop; only the main thread hears them at all."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, signal.SIG_IGN) for number in signals]
    try:
        yield
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)
