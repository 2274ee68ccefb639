"""The template as it is written, intrinsic functions and all."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from samcli.yamlhelper import yaml_parse

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Document:
    """template.yaml, and the questions that tests ask of it."""

    body: dict[str, Any] = field(repr=False)
    text: str = field(repr=False)

    def of(self, kind: str) -> dict[str, dict[str, Any]]:
        """Resources of one type, by logical id; there has to be one."""
        found = {name: made for name, made in self.body["Resources"].items() if made["Type"] == kind}
        assert found, f"there is no {kind} to check"
        return found

    def functions(self) -> dict[str, dict[str, Any]]:
        return self.of("AWS::Serverless::Function")

    def queue_of(self, function: str) -> dict[str, Any] | None:
        """The SQS event source of a function."""
        events = self.body["Resources"][function]["Properties"].get("Events", {})
        sources = [event["Properties"] for event in events.values() if event["Type"] == "SQS"]
        assert len(sources) <= 1
        return sources[0] if sources else None

    def dead_letter_queues(self) -> set[str]:
        queues = self.of("AWS::SQS::Queue").values()
        redrives = [queue["Properties"].get("RedrivePolicy") for queue in queues]
        return {named(redrive["deadLetterTargetArn"]) for redrive in redrives if redrive}

    def common_environment(self) -> dict[str, Any]:
        """The variables that every function gets."""
        return dict(self.body["Globals"]["Function"]["Environment"]["Variables"])

    def own_environment(self, function: str) -> dict[str, Any]:
        """The variables that a function gets besides."""
        properties = self.body["Resources"][function]["Properties"]
        return dict(properties.get("Environment", {}).get("Variables", {}))

    def environment(self, function: str) -> dict[str, Any]:
        """All variables that a function gets."""
        return {**self.common_environment(), **self.own_environment(function)}


def named(value: Any) -> str:
    """The logical id behind `!Ref X`, `!GetAtt X.Y`."""
    if "Ref" in value:
        return value["Ref"]
    target = value["Fn::GetAtt"]
    return target[0] if isinstance(target, list) else target.split(".")[0]


def folder(function: str) -> str:
    """`ImageProcessor` lives in `image_processor`."""
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in function).lstrip("_")


@pytest.fixture(scope="session")
def document() -> Document:
    text = (ROOT / "template.yaml").read_text()
    return Document(yaml_parse(text), text)
