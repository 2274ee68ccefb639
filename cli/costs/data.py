"""What costs are reckoned from, read once: prices, what was measured and is assumed, what is deployed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from cli.errors import CommandError

HERE = Path(__file__).parent
TEMPLATE = HERE.parent.parent / "template.yaml"
FUNCTION = "AWS::Serverless::Function"
ALARM = "AWS::CloudWatch::Alarm"
RULE = "AWS::Events::Rule"


@cache
def read(name: str) -> Mapping[str, Any]:
    """Return what one of the files beside this module says."""
    document: Mapping[str, Any] = json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))
    return document


def price(name: str) -> float:
    """Return a price in US dollars, per what prices.json says."""
    return float(read("prices")["prices"][name]["usd"])


def assumed(name: str) -> float:
    """Return a value that nobody measured, whose reason assumed.json tells."""
    return float(read("assumed")[name]["value"])


def measured(function: str, case: str) -> Mapping[str, Any]:
    """Return what a message took, by `python -m benchmarks.durations`."""
    took: Mapping[str, Any] = read("measured")["messages"][function][case]
    return took


@dataclass(frozen=True)
class Deployed:
    """A function as the template has it.

    Attributes:
        disk_mb: of /tmp above the 512 that cost nothing.
    """

    memory_mb: int
    disk_mb: int


@dataclass(frozen=True)
class Stack:
    """What is counted in template.yaml.

    Attributes:
        functions: by their names in the template.
        polled: queues that Lambda asks for messages, by the name of their function.
        connections: to the database that the queues' functions may hold, of the analyzer two each.
        runs_a_month: by the name of the function, for what a schedule starts.
        retention_days: of logs.
    """

    functions: Mapping[str, Deployed]
    polled: frozenset[str]
    alarms: int
    connections: int
    runs_a_month: Mapping[str, float]
    retention_days: int


@cache
def stack() -> Stack:
    """Return what the template has.

    Raises:
        CommandError: `bad_template`, it cannot be read.
    """
    from local import template

    try:
        found = template.load(TEMPLATE)
    except template.TemplateError as error:
        raise CommandError("bad_template", f"What is deployed cannot be counted: {error}") from None
    functions, polled, schedules, alarms, connections = {}, set(), {}, 0, 0
    for name, resource in found.resources.items():
        properties = resource.properties
        if resource.type == FUNCTION:
            disk = properties.get("EphemeralStorage", {}).get("Size", 512)
            functions[name] = Deployed(int(properties["MemorySize"]), int(disk) - 512)
            for source in properties.get("Events", {}).values():
                if source["Type"] == "SQS":
                    polled.add(name)
                    at_once = int(source["Properties"]["ScalingConfig"]["MaximumConcurrency"])
                    # While a model answers, the analyzer holds a second one (decision 2).
                    connections += at_once * (2 if name == "Analyzer" else 1)
        elif resource.type == ALARM:
            alarms += 1
        elif resource.type == RULE and "ScheduleExpression" in properties:
            schedules[name.removesuffix("Schedule")] = runs_a_month(properties["ScheduleExpression"])
    retention_days = int(found.parameters["LogRetentionDays"])
    return Stack(functions, frozenset(polled), alarms, connections, schedules, retention_days)


MINUTES_A_MONTH = 60 * 24 * 30
_UNITS = {"minute": 1, "hour": 60, "day": 60 * 24}


def runs_a_month(expression: str) -> float:
    """Return how often a schedule comes in 30 days: `rate(5 minutes)`, or a `cron(…)` of once a day.

    Raises:
        ValueError: it is neither; it has to be told here.
    """
    kind, _, inner = expression.rstrip(")").partition("(")
    fields = inner.split()
    if kind == "rate" and len(fields) == 2 and fields[1].removesuffix("s") in _UNITS:
        return MINUTES_A_MONTH / (int(fields[0]) * _UNITS[fields[1].removesuffix("s")])
    if kind == "cron" and fields[0].isdigit() and fields[1].isdigit() and fields[2:5] == ["*", "*", "?"]:
        return 30
    raise ValueError(f"how often {expression} comes is not known here")
