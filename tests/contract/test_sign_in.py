"""What signing in needs of the template: triggers that answer in time, a client without a secret."""

import json
from typing import Any

from tests.contract.conftest import ROOT, Document, folder, named

COGNITO_SECONDS = 5
"""How long Cognito waits for a trigger."""


def only(document: Document, kind: str) -> dict[str, Any]:
    (found,) = document.of(f"AWS::Cognito::{kind}").values()
    properties: dict[str, Any] = found["Properties"]
    return properties


def triggers(document: Document) -> dict[str, str]:
    config = only(document, "UserPool")["LambdaConfig"]
    assert config
    return {trigger: named(arn) for trigger, arn in config.items()}


def test_only_this_pool_asks_each_trigger(document: Document) -> None:
    permissions = {
        named(permission["Properties"]["FunctionName"]): permission["Properties"]
        for permission in document.of("AWS::Lambda::Permission").values()
        if permission["Properties"]["Principal"] == "cognito-idp.amazonaws.com"
    }
    assert set(permissions) == set(triggers(document).values())
    for permission in permissions.values():
        assert permission["Action"] == "lambda:InvokeFunction"
        assert permission["SourceArn"] == {"Fn::GetAtt": ["UserPool", "Arn"]}


def test_a_trigger_ends_before_cognito_gives_up_and_knows_nothing_of_the_pool(document: Document) -> None:
    for name in triggers(document).values():
        function = document.functions()[name]["Properties"]
        assert function["Timeout"] <= COGNITO_SECONDS
        assert document.environment(name)["DATABASE_CONNECT_SECONDS"] < COGNITO_SECONDS - 2
        # Either would be a circle: the pool names the function.
        assert "UserPool" not in json.dumps([function, document.body["Resources"][f"{name}Role"]])


def test_every_trigger_has_samples_of_its_sources(document: Document) -> None:
    for trigger, name in triggers(document).items():
        samples = (ROOT / "events" / "samples" / folder(name)).glob("*.json")
        sources = {json.loads(path.read_text())["triggerSource"] for path in samples}
        prefix = "TokenGeneration_" if trigger == "PreTokenGeneration" else f"{trigger}_"
        assert any(source.startswith(prefix) for source in sources), trigger


def test_a_trigger_that_fails_wakes_somebody(document: Document) -> None:
    filters = {
        named(filtered["Properties"]["LogGroupName"]): filtered["Properties"]
        for filtered in document.of("AWS::Logs::MetricFilter").values()
    }
    (alarm,) = [
        alarm["Properties"]
        for alarm in document.of("AWS::CloudWatch::Alarm").values()
        if alarm["Properties"]["MetricName"] == "SignInFailures"
    ]
    said = (ROOT / "shared" / "triggers.py").read_text()
    for name in triggers(document).values():
        own = filters[f"{name}Logs"]
        assert '$.message = "trigger failed"' in own["FilterPattern"]
        (transformation,) = own["MetricTransformations"]
        assert transformation["MetricName"] == alarm["MetricName"]
        assert transformation["MetricNamespace"] == alarm["Namespace"]
    assert 'logger.exception("trigger failed"' in said


def test_the_pool_asks_for_long_passwords_and_takes_codes_of_an_authenticator(document: Document) -> None:
    pool = only(document, "UserPool")
    assert pool["Policies"]["PasswordPolicy"]["MinimumLength"] >= 12
    assert (pool["MfaConfiguration"], pool["EnabledMfas"]) == ("OPTIONAL", ["SOFTWARE_TOKEN_MFA"])
    assert pool["UsernameAttributes"] == ["email"]
    assert pool["UsernameConfiguration"] == {"CaseSensitive": False}
    assert pool["AdminCreateUserConfig"]["AllowAdminCreateUserOnly"] == {
        "Fn::If": ["SelfSignUp", False, True]
    }
    assert document.body["Parameters"]["AllowedEmailDomains"]["Default"] == ""


def test_the_client_takes_codes_only_and_keeps_no_secret(document: Document) -> None:
    client = only(document, "UserPoolClient")
    assert "GenerateSecret" not in client
    nothing = {"Ref": "AWS::NoValue"}
    origins = {"Fn::Split": [",", {"Ref": "AllowedOrigins"}]}
    assert client["AllowedOAuthFlows"] == {"Fn::If": ["FromTheWeb", ["code"], nothing]}
    assert client["AllowedOAuthScopes"] == {"Fn::If": ["FromTheWeb", ["openid", "email"], nothing]}
    assert client["CallbackURLs"] == client["LogoutURLs"] == {"Fn::If": ["FromTheWeb", origins, nothing]}


def test_google_is_optional_and_its_secret_is_not_in_the_template(document: Document) -> None:
    (google,) = document.of("AWS::Cognito::UserPoolIdentityProvider").values()
    assert google["Condition"] == "WithGoogle"
    details = google["Properties"]["ProviderDetails"]
    for name in ("client_id", "client_secret"):
        # ssm-secure is resolved for a few properties of other services only.
        assert details[name]["Fn::Sub"].startswith("{{resolve:ssm:/magpie/${Stage}/google-")
    assert google["Properties"]["AttributeMapping"]["email_verified"] == "email_verified"
