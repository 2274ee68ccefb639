"""State machines on one machine: moto's interpreter, with what it lacks, and the functions of the stack.

moto runs the Amazon States Language. Added here, each as AWS does it:

- JSONata, by jsonata-python: moto brings the syntax, and no evaluator.
- Functions are run by the stack, and manifests read by its clients.
- A distributed Map fails once more of its items have failed than it tolerates; each item's execution has a
  context of its own, with its start and its `RedriveCount`; a million items keep no million threads.
- `ResultWriter` of JSONata, which moto's grammar lacks, is taken out: what items end with is written nowhere.
- The end of an execution is an event on the default bus (`Step Functions Execution Status Change`).

https://docs.aws.amazon.com/step-functions/latest/dg/state-map-distributed.html
"""

import json
import logging
import re
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import yaml

from local import bus
from local.patches import Patches
from local.runtime import FunctionMissingError, PayloadTooLargeError, PoolClosedError, Result
from local.template import Template, TemplateError

logger = logging.getLogger(__name__)

STATE_MACHINE = "AWS::Serverless::StateMachine"
KEPT_OUTPUTS = 10_000
"""Of a Map: the outputs of more items would not fit into a state on AWS either."""
EVENT = "Step Functions Execution Status Change"

Invoke = Callable[[str, bytes], Result]
Client = Callable[[str], Any]


def definition(template: Template, logical_id: str, properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return a machine's definition, with the substitutions that the template makes in it.

    Raises:
        TemplateError: the file is not there, is no YAML, or names a substitution that nobody makes.
    """
    where = f"Resources.{logical_id}.Properties.DefinitionUri"
    path = template.path.resolve().parent / str(properties.get("DefinitionUri", ""))
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise TemplateError(f"{where}: {path} cannot be read") from error
    values = properties.get("DefinitionSubstitutions") or {}
    used: set[str] = set()

    def replace(match: re.Match[str]) -> str:
        used.add(match[1])
        if match[1] not in values:
            raise TemplateError(
                f"{where}: {path.name} names {match[0]}, and DefinitionSubstitutions does not"
            )
        return str(values[match[1]])

    text = re.sub(r"\$\{(\w+)\}", replace, text)
    if unused := sorted(set(values) - used):
        raise TemplateError(f"{where}: {path.name} does not name the substitution {unused[0]}")
    try:
        read = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise TemplateError(f"{where}: {path.name} is no YAML: {error}") from error
    if not isinstance(read, dict):
        raise TemplateError(f"{where}: {path.name} holds no state machine")
    return read


def for_moto(read: Any) -> Any:
    """Return a definition without what moto's grammar lacks."""
    if isinstance(read, dict):
        return {key: for_moto(inner) for key, inner in read.items() if key != "ResultWriter"}
    return [for_moto(inner) for inner in read] if isinstance(read, list) else read


def install(patches: Patches, invoke: Invoke, client: Client) -> None:
    """Have moto run state machines: JSONata, functions, manifests, Maps and the events about ends.

    Args:
        invoke: runs a function by its ARN.
        client: gives the boto3 client of a service.
    """
    from moto.core.config import default_user_config
    from moto.stepfunctions.parser.asl.component import eval_component
    from moto.stepfunctions.parser.asl.parse import preprocessor

    # One writes its whole program down whenever a step of it fails; the other says on everybody's terminal
    # that tolerated failures have no effect, which they have here.
    for module in (eval_component, preprocessor):
        patches.replace(module, "LOG", _Silent())
    # Retries are counted under a key that moto makes when it is first asked for: two items of a Map that
    # asked at once got two, and one of them another attempt.
    patches.replace(eval_component.EvalComponent, "heap_key", property(lambda component: str(id(component))))
    _configure(patches, default_user_config)
    _install_jsonata(patches)
    _install_functions(patches, invoke)
    _install_clients(patches, client)
    _install_maps(patches)
    _install_context(patches)
    _install_ends(patches)


class _Silent:
    """A logger that writes nothing."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


def _configure(patches: Patches, config: dict[str, Any]) -> None:
    class Key:
        """Lets a dictionary's entry be patched as an attribute."""

        def __setattr__(self, name: str, value: Any) -> None:
            config[name] = value

    key = Key()
    vars(key)["stepfunctions"] = config.get("stepfunctions", {})
    patches.replace(key, "stepfunctions", {"execute_state_machine": True})


def _install_jsonata(patches: Patches) -> None:
    from jsonata import Jsonata, parser
    from moto.stepfunctions.parser.asl.eval import states, variable_store
    from moto.stepfunctions.parser.asl.jsonata import jsonata as bridge

    # moto runs every step in a thread of its own, and jsonata-python would make a parser for each: that takes
    # longer than most expressions do.
    lock, only = threading.Lock(), parser.Parser()

    def evaluate(expression: str) -> Any:
        try:
            with lock:
                Jsonata.PARSER.parser = only
                return _plain(Jsonata(expression).evaluate(None))
        except Exception as error:
            raise bridge.JSONataException("JSONata", str(error)) from error

    def declarations(bindings: Mapping[str, Any]) -> str:
        # A text with a quote in it is a text all the same; moto writes it as it is.
        return "".join(f"{name}:={json.dumps(value, default=str)};" for name, value in bindings.items())

    patches.replace(bridge, "_eval_jsonata", evaluate)
    for module in (states, variable_store):
        patches.replace(module, "encode_jsonata_variable_declarations", declarations)


def _plain(value: Any) -> Any:
    """Return a value of jsonata-python as JSON: its null is an object of its own, and 2.0 is 2."""
    from jsonata.utils import Utils

    if value is Utils.NULL_VALUE:
        return None
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _install_functions(patches: Patches, invoke: Invoke) -> None:
    from moto.stepfunctions.parser.asl.component.state.exec.state_task import lambda_eval_utils

    def call(parameters: Mapping[str, Any], **_: Any) -> dict[str, Any]:
        """Run a function; what Lambda itself refuses is an error by the name that it has there."""
        try:
            result = invoke(str(parameters["FunctionName"]), bytes(parameters["Payload"]))
        except FunctionMissingError as error:
            return _refused("Lambda.ResourceNotFoundException", f"Function not found: {error}")
        except PayloadTooLargeError as error:
            return _refused("Lambda.RequestTooLargeException", str(error))
        except PoolClosedError:
            return _refused("Lambda.ServiceException", "the stack is stopping")
        answer = {"StatusCode": 200, "Payload": result.json(), "ExecutedVersion": "$LATEST"}
        return answer if result.error is None else {**answer, "FunctionError": result.error}

    patches.replace(lambda_eval_utils, "_invoke_lambda_function", call)


def _refused(kind: str, message: str) -> dict[str, Any]:
    return {
        "StatusCode": 200,
        "FunctionError": "Unhandled",
        "Payload": {"errorType": kind, "errorMessage": message},
    }


def _install_clients(patches: Patches, client: Client) -> None:
    from moto.stepfunctions.parser.asl.component.state.exec.state_map.item_reader.eval import (
        resource_eval_s3 as reader,
    )
    from moto.stepfunctions.parser.asl.component.state.exec.state_map.result_writer.resource_eval import (
        resource_eval_s3 as writer,
    )

    def client_for(region: str, service: str, state_credentials: Any = None) -> Any:
        return client(service)

    for module in (reader, writer):
        patches.replace(module, "boto_client_for", client_for)


def _install_context(patches: Patches) -> None:
    """Give every execution the number of its redrives; here it is nought, for nothing redrives."""
    from moto.stepfunctions.parser.backend.execution_worker import ExecutionWorker

    def environment(worker: Any) -> Any:
        made = original(worker)
        execution = made.states.context_object.context_object_data["Execution"]
        execution["RedriveCount"] = 0
        if isinstance(execution["StartTime"], datetime):
            execution["StartTime"] = execution["StartTime"].isoformat()
        return made

    original = patches.replace(ExecutionWorker, "_get_evaluation_environment", environment)


def _install_maps(patches: Patches) -> None:
    from moto.stepfunctions.parser.asl.component.state.exec.state_map.iteration import (
        distributed_iteration_component as module,
    )

    def map_run(component: Any, env: Any, eval_input: Any) -> None:
        MapRun(component, env, eval_input).run(env.stack.pop())

    patches.replace(module.DistributedIterationComponent, "_map_run", map_run)


class MapRun:
    """One distributed Map: a number of threads, each of which takes one item after the other."""

    def __init__(self, component: Any, env: Any, eval_input: Any) -> None:
        self._program = component._get_iteration_program()
        self._env = env
        self._input = eval_input
        self._map_input = env.states.get_input()
        self._lock = threading.Lock()
        self._next = 0
        self._failed = 0
        self._exceeded = False
        self._outputs: dict[int, Any] = {}

    def run(self, items: list[Any]) -> None:
        """Run every item; returns when all have ended.

        Raises:
            FailureEventException: more have failed than the Map tolerates, as AWS calls it.
        """
        wanted = self._input.map_run_record.max_concurrency or len(items)
        threads = [
            threading.Thread(target=self._work, args=(items,), daemon=True)
            for _ in range(max(min(wanted, len(items)), 0))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        _forget_threads()
        if self._exceeded:
            raise self._too_many()
        self._env.stack.append([self._outputs.get(n) for n in range(min(len(items), KEPT_OUTPUTS))])

    def _work(self, items: list[Any]) -> None:
        while True:
            with self._lock:
                number = self._next
                if number >= len(items) or self._exceeded or not self._env.is_running():
                    return
                self._next += 1
            counter = self._input.map_run_record.item_counter
            counter.total.count()
            try:
                output, failed = self._item(number, items[number])
            except Exception:
                if not self._env.is_running():  # it was stopped before the item had begun
                    counter.aborted.count()
                    return
                logger.exception("an item of a Map was not run")
                output, failed = None, True
            with self._lock:
                self._failed += failed
                if number < KEPT_OUTPUTS:
                    self._outputs[number] = output
                if self._failed and self._failed > self._tolerated(len(items)):
                    self._exceeded = True
            if number % 500 == 0:
                _forget_threads()

    def _tolerated(self, total: int) -> float:
        count = self._input.tolerated_failure_count
        percentage = self._input.tolerated_failure_percentage
        return max(float(count), total * float(percentage) / 100)

    def _item(self, number: int, item: Any) -> tuple[Any, bool]:
        """Run one item as an execution of its own; returns its output and whether it failed."""
        from moto.stepfunctions.parser.asl.eval.event.event_manager import EventManager
        from moto.stepfunctions.parser.asl.eval.program_state import ProgramEnded, ProgramStopped
        from moto.stepfunctions.parser.asl.eval.states import ItemData, MapData

        counter = self._input.map_run_record.item_counter
        frame = self._env.open_inner_frame()
        try:
            frame.event_manager = EventManager()  # its history is its own
            context = frame.states.context_object.context_object_data
            context["Map"] = MapData(Item=ItemData(Index=number, Value=item))
            frame.states.reset(input_value=self._map_input)
            child = item
            if self._input.item_selector is not None:
                frame.stack.append(self._map_input)
                self._input.item_selector.eval(frame)
                child = frame.stack.pop()
            context["Execution"] = {
                **context["Execution"],
                "Input": child,
                "StartTime": datetime.now(UTC).isoformat(),
                "RedriveCount": 0,
            }
            frame.states.reset(input_value=child)
            frame.stack.clear()
            self._program.eval(frame)
            state = frame.program_state()
            if isinstance(state, ProgramEnded):
                counter.succeeded.count()
                return frame.states.get_input(), False
            if isinstance(state, ProgramStopped):
                counter.aborted.count()
                return None, False
            counter.failed.count()
            logger.info("item %d of a Map failed: %s", number, getattr(state, "error", state))
            return None, True
        finally:
            self._env.delete_frame(frame)

    def _too_many(self) -> Exception:
        from moto.stepfunctions.parser.api import HistoryEventType, MapRunFailedEventDetails
        from moto.stepfunctions.parser.asl.component.common.error_name.failure_event import (
            FailureEvent,
            FailureEventException,
        )
        from moto.stepfunctions.parser.asl.component.common.error_name.states_error_name import (
            StatesErrorName,
        )
        from moto.stepfunctions.parser.asl.component.common.error_name.states_error_name_type import (
            StatesErrorNameType,
        )
        from moto.stepfunctions.parser.asl.eval.event.event_detail import EventDetails

        kind = StatesErrorNameType.StatesExceedToleratedFailureThreshold
        cause = "The specified tolerated failure threshold was exceeded"
        return FailureEventException(
            failure_event=FailureEvent(
                env=self._env,
                error_name=StatesErrorName(typ=kind),
                event_type=HistoryEventType.MapStateFailed,
                event_details=EventDetails(
                    mapRunFailedEventDetails=MapRunFailedEventDetails(error=kind.to_name(), cause=cause)
                ),
            )
        )


def _forget_threads() -> None:
    """Let go of the threads that have ended: moto remembers every one that it ever made."""
    from moto.stepfunctions.parser.utils import TMP_THREADS

    TMP_THREADS[:] = [thread for thread in TMP_THREADS if thread.is_alive()]


def _install_ends(patches: Patches) -> None:
    from moto.stepfunctions.parser.backend.execution import BaseExecutionWorkerCommunication

    def reflect(communication: Any) -> None:
        original(communication)
        execution = communication.execution
        if execution.exec_arn in _abandoned:
            return
        try:
            bus.deliver(execution.account_id, execution.region_name, "default", _event(execution))
        except Exception:
            logger.exception("the end of an execution was not told")

    original = patches.replace(BaseExecutionWorkerCommunication, "_reflect_execution_status", reflect)


_abandoned: set[str] = set()
"""Executions that ended because the stack did. Nobody is told: the sweeper starts their runs anew."""


def abandon(account: str, region: str) -> None:
    """Stop every execution, because the stack stops."""
    from moto.stepfunctions.parser.models import stepfunctions_parser_backends

    for machine in stepfunctions_parser_backends[account][region].state_machines:
        for execution in machine.executions:
            if execution.exec_status is not None and execution.status == "RUNNING":
                _abandoned.add(execution.exec_arn)
                execution.stop(datetime.now(UTC), "Stopped", "the local stack stopped")


def _event(execution: Any) -> dict[str, Any]:
    """https://docs.aws.amazon.com/step-functions/latest/dg/eventbridge-integration.html"""
    detail = {
        "executionArn": execution.exec_arn,
        "stateMachineArn": execution.state_machine.arn,
        "name": execution.name,
        "status": execution.exec_status.value,
        "startDate": _milliseconds(execution.start_date),
        "stopDate": _milliseconds(execution.stop_date),
        "input": json.dumps(execution.input_data),
        "output": None,
        "inputDetails": {"included": True},
        "outputDetails": None,
        "error": execution.error,
        "cause": execution.cause,
    }
    return bus.envelope(
        EVENT,
        "aws.states",
        detail,
        account=execution.account_id,
        region=execution.region_name,
        resources=[execution.exec_arn],
        time=execution.stop_date,
    )


def _milliseconds(time: datetime) -> int:
    return int(time.timestamp() * 1000)
