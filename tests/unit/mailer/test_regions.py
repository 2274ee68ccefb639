"""Where mail is sent from, and that the role allows that and nothing else."""

from typing import Any

import pytest

from functions.mailer.handler import Env
from local import template
from local.template import Names
from tests.contract.conftest import ROOT


def statement(**parameters: str) -> dict[str, Any]:
    """What Mailer's role says of SES, with these parameters of the template."""
    loaded = template.load(ROOT / "template.yaml", parameters)
    names = Names()
    names.add("MailConfiguration", "magpie-dev")
    (policy,) = loaded.resources["MailerRole"].properties["Policies"]
    (found,) = [
        each for each in policy["PolicyDocument"]["Statement"] if str(each["Action"]).startswith("ses:")
    ]
    resolved: dict[str, Any] = loaded.resolve(found, names, "MailerRole")
    return resolved


def test_the_role_sends_from_one_region_and_as_one_sender() -> None:
    here = "arn:aws:ses:us-east-1:123456789012"
    assert statement(MailFrom="magpie@example.com") == {
        "Effect": "Allow",
        "Action": "ses:SendEmail",
        "Resource": [f"{here}:identity/*", f"{here}:configuration-set/magpie-dev"],
        "Condition": {"StringEquals": {"ses:FromAddress": "magpie@example.com"}},
    }


def test_a_second_region_is_allowed_where_there_is_one() -> None:
    there = "arn:aws:ses:eu-west-1:123456789012"
    allowed = statement(MailFrom="magpie@example.com", MailFallbackRegion="eu-west-1")["Resource"]
    assert allowed[2:] == [f"{there}:identity/*", f"{there}:configuration-set/magpie-dev"]


@pytest.mark.parametrize(
    ("fallback", "regions"),
    [("", ["us-east-1"]), ("us-east-1", ["us-east-1"]), ("eu-west-1", ["us-east-1", "eu-west-1"])],
)
def test_each_region_is_asked_once(fallback: str, regions: list[str]) -> None:
    env = Env.model_validate(
        {
            "MAIL_FROM": "magpie@example.com",
            "MAIL_FALLBACK_REGION": fallback,
            "MAIL_CONFIGURATION_SET": "magpie-dev",
            "PAGE_URL": "https://m.example.com",
            "AWS_REGION": "us-east-1",
        }
    )
    assert env.regions == regions


@pytest.mark.parametrize(
    "value", ["nobody", "a@b", "Magpie <a@example.com>", "a@example.com,b@example.com", "ö@example.com"]
)
def test_a_sender_is_one_plain_address(value: str) -> None:
    with pytest.raises(template.TemplateError, match="MailFrom"):
        template.load(ROOT / "template.yaml", {"MailFrom": value})


@pytest.mark.parametrize("value", ["eu", "eu-west-1 ", "eu-west-1,us-west-2", "EU-WEST-1"])
def test_a_region_is_one_region(value: str) -> None:
    with pytest.raises(template.TemplateError, match="MailFallbackRegion"):
        template.load(ROOT / "template.yaml", {"MailFallbackRegion": value})


@pytest.mark.parametrize("value", ["us-gov-west-1", "ap-southeast-2", "eu-west-1"])
def test_every_region_of_aws_is_one(value: str) -> None:
    loaded = template.load(
        ROOT / "template.yaml", {"MailFallbackRegion": value, "MailFrom": "a.b@x-y.example"}
    )
    assert loaded.parameters["MailFallbackRegion"] == value
