"""State machines ↔ functions, errors, inputs and permissions; every name in them is one that exists."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.runs import RunInput
from tests.contract import sources
from tests.contract.conftest import ROOT, Document, folder, named

MACHINES = sorted((ROOT / "statemachines").glob("*.asl.yaml"))
LAMBDAS_OWN = {
    "Lambda.ClientExecutionTimeoutException",
    "Lambda.ServiceException",
    "Lambda.AWSLambdaException",
    "Lambda.SdkClientException",
    "Lambda.TooManyRequestsException",
}
"""https://docs.aws.amazon.com/step-functions/latest/dg/sfn-best-practices.html#bp-lambda-serviceexception"""


def read(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text()))


@pytest.fixture(params=MACHINES, ids=lambda path: path.name.partition(".")[0])
def machine(request: pytest.FixtureRequest) -> dict[str, Any]:
    return read(request.param)


def states(machine: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every state with its name, those of a Map's items too."""
    for name, state in machine["States"].items():
        yield name, state
        if "ItemProcessor" in state:
            yield from states(state["ItemProcessor"])


def tasks(machine: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    found = [(name, state) for name, state in states(machine) if state["Type"] == "Task"]
    assert found
    return found


def function_of(task: Mapping[str, Any]) -> str:
    """Logical id of the function that a task runs."""
    found = re.fullmatch(r"\$\{(\w+)Arn\}", task["Resource"])
    assert found, task["Resource"]
    return found[1]


def test_there_is_a_machine_to_check() -> None:
    assert [path.name for path in MACHINES] == ["reprocess.asl.yaml"]


def test_cfn_lint_accepts_the_definition(machine: dict[str, Any], tmp_path: Path) -> None:
    """`sam validate --lint` opens no file that DefinitionUri names: here it is in the template."""
    # Expressions here are documented, and cfn-lint's schema knows numbers only.
    for _, state in states(machine):
        for name in {"MaxConcurrency", "ToleratedFailurePercentage"} & set(state):
            assert state[name].startswith("{%")
            state[name] = 1
    substitutions = set(re.findall(r"\$\{(\w+)\}", json.dumps(machine)))
    template = {
        "Resources": {
            "Machine": {
                "Type": "AWS::StepFunctions::StateMachine",
                "Properties": {
                    "RoleArn": "arn:aws:iam::123456789012:role/machine",
                    "Definition": json.loads(
                        re.sub(
                            r"\$\{(\w+)Arn\}",
                            r"arn:aws:lambda:us-east-1:123456789012:function:\1",
                            json.dumps(machine).replace("${Partition}", "aws"),
                        )
                    ),
                },
            }
        }
    }
    assert substitutions
    path = tmp_path / "machine.json"
    path.write_text(json.dumps(template))
    done = subprocess.run(
        [Path(sys.prefix) / "bin" / "cfn-lint", "--regions", "us-east-1", "--template", path],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_the_template_gives_each_substitution_its_own_function(document: Document) -> None:
    for resource in document.of("AWS::Serverless::StateMachine").values():
        properties = resource["Properties"]
        text = (ROOT / properties["DefinitionUri"]).read_text()
        given = properties["DefinitionSubstitutions"]
        assert set(re.findall(r"\$\{(\w+)\}", text)) == set(given)
        for name, value in given.items():
            assert value == {"Ref": "AWS::Partition"} or named(value) == name.removesuffix("Arn")


def test_the_machine_may_invoke_what_it_names_and_nothing_else(document: Document) -> None:
    for resource in document.of("AWS::Serverless::StateMachine").values():
        machine = read(ROOT / resource["Properties"]["DefinitionUri"])
        role = document.body["Resources"][named(resource["Properties"]["Role"])]["Properties"]
        statements = [s for policy in role["Policies"] for s in policy["PolicyDocument"]["Statement"]]
        (invoking,) = [s for s in statements if s["Action"] == "lambda:InvokeFunction"]
        assert {named(each) for each in invoking["Resource"]} == {
            function_of(task) for _, task in tasks(machine)
        }


def test_tasks_are_tried_again_for_what_may_pass_only(machine: dict[str, Any]) -> None:
    for name, task in tasks(machine):
        (retry,) = task["Retry"]
        assert set(retry["ErrorEquals"]) == LAMBDAS_OWN | {"TransientError"}, name
        assert retry["JitterStrategy"] == "FULL"
        assert retry["BackoffRate"] >= 2
        assert retry["MaxAttempts"] >= 5
        assert retry["MaxDelaySeconds"] <= 600


def test_every_error_that_is_named_exists(machine: dict[str, Any]) -> None:
    classes = {
        node.name
        for package in ("shared", "functions")
        for path in sources.modules(package)
        for node in sources.tree(path).body
        if isinstance(node, ast.ClassDef)
    }
    named_errors = {
        error
        for _, state in states(machine)
        for handler in [*state.get("Retry", []), *state.get("Catch", [])]
        for error in handler["ErrorEquals"]
    }
    assert named_errors - LAMBDAS_OWN - {"States.ALL"} <= classes
    assert "TransientError" in named_errors


def test_functions_in_a_machine_raise_what_may_pass_under_the_name_that_it_knows(
    machine: dict[str, Any],
) -> None:
    """Lambda tells the class's name alone: a subclass would not be tried again."""
    for _, task in tasks(machine):
        path = ROOT / "functions" / folder(function_of(task)) / "handler.py"
        text = path.read_text()
        assert "respond(" in text or "respond_together(" in text or "except TransientError" in text, path


def test_a_state_has_the_name_of_its_function_or_says_what_it_is_for(machine: dict[str, Any]) -> None:
    others = {name for name, task in tasks(machine) if name != function_of(task)}
    assert others == {"Question", "Original", "Failure"}


def test_a_task_waits_longer_than_its_function_may_take(machine: dict[str, Any], document: Document) -> None:
    for name, task in tasks(machine):
        timeout = document.functions()[function_of(task)]["Properties"]["Timeout"]
        assert timeout < task["TimeoutSeconds"] <= timeout + 30, name
    assert machine["TimeoutSeconds"] <= 31_536_000


def test_the_failure_of_a_stage_is_caught_and_that_of_planning_is_not(machine: dict[str, Any]) -> None:
    """What is caught goes on behind the Catch, and a redrive goes on there too; see decision 17."""
    stages = {"ImageProcessor", "Original", "Analyzer", "Embedder"}
    caught = {name: state["Catch"] for name, state in states(machine) if "Catch" in state}
    assert set(caught) == stages
    for (catch,) in caught.values():
        assert (catch["ErrorEquals"], catch["Next"]) == (["States.ALL"], "Failure")
    assert not [name for name, state in states(machine) if state["Type"] == "Fail"]


def test_how_an_execution_ended_is_heard_of(document: Document) -> None:
    rules = document.of("AWS::Events::Rule")
    for name in document.of("AWS::Serverless::StateMachine"):
        (pattern,) = [
            rule["Properties"]["EventPattern"]
            for rule in rules.values()
            if rule["Properties"].get("EventPattern", {}).get("source") == ["aws.states"]
            and {"Ref": name} in rule["Properties"]["EventPattern"]["detail"]["stateMachineArn"]
        ]
        assert set(pattern["detail"]["status"]) == {"FAILED", "TIMED_OUT", "ABORTED"}


def test_there_are_no_aliases_and_no_random_ids() -> None:
    for path in MACHINES:
        text = path.read_text()
        assert not re.search(r"(:|-) [&*]\w", text), "CloudFormation refuses aliases"
        assert "$uuid" not in text
        assert "ItemBatcher" not in text


@pytest.mark.parametrize(
    "path", sorted((ROOT / "events" / "console").glob("*.json")), ids=lambda path: path.stem
)
def test_an_input_for_the_console_is_one_and_the_page_tells_of_it(path: Path) -> None:
    asked = RunInput.model_validate_json(path.read_text())
    assert asked.reason
    assert f"`{path.name}`" in (ROOT / "docs" / "replay.md").read_text()


# Paths


def constants(function: str) -> set[str]:
    """Every text in a function's code: the names that its answers can have are among them."""
    return {
        node.value
        for path in sources.closure(folder(function))
        for node in ast.walk(sources.tree(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    } | {
        keyword.arg
        for path in sources.closure(folder(function))
        for node in ast.walk(sources.tree(path))
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg
    }


def wrong_paths(machine: Mapping[str, Any]) -> list[str]:
    """Paths into inputs and results that nobody writes."""
    wrong = []
    plan = constants("ScanPlanner") & constants("ScanPlanner")
    outer = {*RunInput.model_fields, "question", "plan"}
    (items,) = [state for _, state in states(machine) if state["Type"] == "Map"]
    inner = {*items["ItemSelector"], "failure"}
    context = {"Execution.Input", "Execution.Id", "Execution.StartTime", "Execution.RedriveCount"}
    context |= {"State.RetryCount", *(f"Map.Item.Value.{name}" for name in ("user_id", "item_id", "key"))}

    def look(name: str, state: Mapping[str, Any], fields: set[str]) -> None:
        own = {key: value for key, value in state.items() if key != "ItemProcessor"}
        for kind, path in re.findall(r"\$states\.(\w+)((?:\.\w+)*)", json.dumps(own)):
            parts = path.removeprefix(".").split(".") if path else []
            if kind == "context":
                fine = ".".join(parts) in context
            elif kind == "errorOutput":
                fine = parts in (["Error"], ["Cause"])
            elif kind == "result":
                fine = not parts or parts[0] in constants(function_of(state))
            else:
                fine = kind == "input" and (
                    not parts or (parts[0] in fields and all(part in plan for part in parts[1:]))
                )
            if not fine:
                wrong.append(f"{name}: $states.{kind}{path}")

    for name, state in machine["States"].items():
        look(name, state, outer)
        for child, inside in state.get("ItemProcessor", {"States": {}})["States"].items():
            look(child, inside, inner)
    return wrong


def test_every_path_leads_to_something(machine: dict[str, Any]) -> None:
    assert wrong_paths(machine) == []


@pytest.mark.parametrize(
    ("right", "misspelt"),
    [
        ("$states.input.plan.manifest", "$states.input.plan.manifst"),
        ("$states.input.run.stages", "$states.input.run.stage_s"),
        ("$states.input.user_id", "$states.input.userid"),
        ("$states.result.status", "$states.result.stauts"),
        ("$states.errorOutput.Cause", "$states.errorOutput.cause"),
        ("$states.context.Execution.RedriveCount", "$states.context.Execution.Redrives"),
    ],
)
def test_a_misspelt_path_is_found(right: str, misspelt: str) -> None:
    text = MACHINES[0].read_text()
    assert right in text
    assert wrong_paths(yaml.safe_load(text.replace(right, misspelt)))
