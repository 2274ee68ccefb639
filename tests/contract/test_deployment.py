"""What CloudFormation is given: the template after SAM's transform, as `sam validate` never sees it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from samcli.yamlhelper import yaml_parse
from samtranslator.translator.transform import transform

from tests.contract.conftest import ROOT


class NoManagedPolicies:
    def load(self) -> dict[str, str]:
        return {}


@pytest.fixture
def deployed(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The transformed template; names of generated resources that clash would be an error."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    packaged = yaml_parse((ROOT / "template.yaml").read_text())
    for resource in packaged["Resources"].values():
        properties = resource.get("Properties", {})
        for name in {"CodeUri", "ContentUri", "DefinitionUri"} & set(properties):
            properties[name] = "s3://magpie-artifacts/0123456789abcdef"
    origins = {"AllowedOrigins": "https://one.example,https://two.example"}
    return transform(packaged, {"Stage": "dev", **origins}, NoManagedPolicies())


@pytest.mark.heavy
def test_cfn_lint_accepts_what_cloudformation_is_given(deployed: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "deployed.json"
    path.write_text(json.dumps(deployed))
    done = subprocess.run(
        [Path(sys.prefix) / "bin" / "cfn-lint", "--regions", "us-east-1", "--template", path],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_sam_adds_no_role_of_its_own(deployed: dict[str, Any]) -> None:
    written = yaml_parse((ROOT / "template.yaml").read_text())["Resources"]
    roles = {name for name, resource in deployed["Resources"].items() if resource["Type"] == "AWS::IAM::Role"}
    assert roles
    assert roles <= set(written)


def test_browsers_are_told_of_every_web_origin_and_method(deployed: dict[str, Any]) -> None:
    body = deployed["Resources"]["HttpApi"]["Properties"]["Body"]
    condition, cors, nothing = body["x-amazon-apigateway-cors"]["Fn::If"]
    assert (condition, nothing) == ("FromTheWeb", {"Ref": "AWS::NoValue"})
    assert set(cors) == {"allowOrigins", "allowMethods", "allowHeaders", "maxAge"}
    split = cors["allowOrigins"]["Fn::Split"]
    assert split in ([",", "https://one.example,https://two.example"], [",", {"Ref": "AllowedOrigins"}])


OPEN = {
    "/",
    "/docs",
    "/health",
    "/openapi.json",
    "/version",
    "/web/{proxy+}",
    "/webhooks/sns",
    "/webhooks/stripe",
}
"""What can be asked for without a token: the page, and what others sign in their own way."""


def test_every_other_route_checks_a_token(deployed: dict[str, Any]) -> None:
    paths = deployed["Resources"]["HttpApi"]["Properties"]["Body"]["paths"]
    assert set(paths) > OPEN
    for path, methods in paths.items():
        for method in methods.values():
            expected = "NONE" if path in OPEN else "UserPoolTokens"
            assert method["security"] == [{expected: []}]
