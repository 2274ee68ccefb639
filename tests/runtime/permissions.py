"""What a function asks of AWS, and whether its role in the template allows it: moto allows everything."""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from email.utils import parseaddr
from fnmatch import fnmatchcase
from io import BytesIO
from typing import Any
from urllib.parse import parse_qs, unquote
from xml.etree import ElementTree

from local.resources import Resources
from local.template import REGION, Template

ACCOUNT = "123456789012"
FUNCTION_KEY = "KEYOF"
"""How the access keys that tests give functions begin: their own requests are not recorded."""

SEND_EMAIL = "/v2/email/outbound-emails"

Start = Callable[..., Any]
Application = Callable[[dict[str, Any], Start], Iterable[bytes]]


@dataclass(frozen=True)
class Call:
    """One request, in the words of a policy."""

    action: str
    resource: str


class Recorder:
    """Passes every request on, and remembers who asked for what, by the access key that signed it."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._calls: list[tuple[str, Call]] = []

    def __call__(self, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        key, service = _signer(environ)
        if key.startswith(FUNCTION_KEY):
            body = b""
            # What is asked for stands in the body, or what it is asked for.
            in_body = "HTTP_X_AMZ_TARGET" in environ or environ["PATH_INFO"] == SEND_EMAIL
            if in_body or environ.get("QUERY_STRING", "").startswith("delete"):
                body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
                environ["wsgi.input"] = BytesIO(body)
            self._calls += [(key, call) for call in _calls(service, environ, body)]
        return self._application(environ, start)

    def forget(self) -> None:
        self._calls.clear()

    def of(self, access_key: str) -> list[Call]:
        return [call for key, call in self._calls if key == access_key]


def _signer(environ: dict[str, Any]) -> tuple[str, str]:
    """The access key and the service of a request's signature, in its header or in its URL."""
    query = parse_qs(environ.get("QUERY_STRING", ""))
    scope = re.search(r"Credential=([^,\s]+)", environ.get("HTTP_AUTHORIZATION", ""))
    given = scope[1] if scope else query.get("X-Amz-Credential", [""])[0]
    parts = given.split("/")
    return (parts[0], parts[3]) if len(parts) == 5 else ("", "")


def _calls(service: str, environ: dict[str, Any], body: bytes) -> Iterator[Call]:
    if service == "s3":
        yield from _s3(environ, body)
        return
    if service == "ses":
        yield from _ses(environ, json.loads(body))
        return
    operation = environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2]
    assert operation, f"a request to {service} that this recorder cannot read"
    asked = json.loads(body)
    here = f"arn:aws:{service}:{REGION}:{ACCOUNT}"
    if service == "ssm":
        yield Call(f"ssm:{operation}", f"{here}:parameter{asked['Name']}")
    elif service == "events":
        for entry in asked["Entries"]:
            yield Call(f"events:{operation}", f"{here}:event-bus/{entry['EventBusName']}")
    elif service == "sqs":
        name = asked.get("QueueName") or asked["QueueUrl"].rpartition("/")[2]
        yield Call(f"sqs:{operation}", f"{here}:{name}")
    elif service == "states":
        yield Call(f"states:{operation}", asked.get("executionArn") or asked["stateMachineArn"])
    elif service == "dynamodb":
        yield Call(f"dynamodb:{operation}", f"{here}:table/{asked['TableName']}")
    elif service == "cognito-idp":
        yield Call(f"cognito-idp:{operation}", f"{here}:userpool/{asked['UserPoolId']}")
    else:
        raise AssertionError(f"a request to {service} that this recorder cannot read")


def _ses(environ: dict[str, Any], mail: Any) -> Iterator[Call]:
    """Yield what a mail has to be allowed: the identity that it is from, and its configuration set."""
    assert environ["PATH_INFO"] == SEND_EMAIL, "a request to SES that this recorder cannot read"
    here = f"arn:aws:ses:{REGION}:{ACCOUNT}"
    domain = parseaddr(mail["FromEmailAddress"])[1].rpartition("@")[2]
    yield Call("ses:SendEmail", f"{here}:identity/{domain}")
    yield Call("ses:SendEmail", f"{here}:configuration-set/{mail['ConfigurationSetName']}")


def _s3(environ: dict[str, Any], body: bytes) -> Iterator[Call]:
    """Yield what a request to S3 has to be allowed: some ask for several things at once.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations.html
    """
    bucket, _, key = unquote(environ["PATH_INFO"]).removeprefix("/").partition("/")
    query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
    method, here = environ["REQUEST_METHOD"], f"arn:aws:s3:::{bucket}"
    if method == "POST" and "delete" in query:
        whole = ElementTree.fromstring(body)  # noqa: S314 - written by our own function
        for each in whole.iterfind("{*}Object"):
            versioned = "Version" if each.find("{*}VersionId") is not None else ""
            yield Call(f"s3:DeleteObject{versioned}", f"{here}/{each.findtext('{*}Key')}")
    elif not key:
        kinds = {"versions": "s3:ListBucketVersions", "uploads": "s3:ListBucketMultipartUploads"}
        (action,) = {kinds[name] for name in query if name in kinds} or {"s3:ListBucket"}
        yield Call(action, here)
    elif method == "DELETE" and "uploadId" in query:
        yield Call("s3:AbortMultipartUpload", f"{here}/{key}")
    else:
        verb = {"GET": "Get", "HEAD": "Get", "PUT": "Put", "POST": "Put", "DELETE": "Delete"}[method]
        versioned = "Version" if "versionId" in query and verb != "Put" else ""
        yield Call(f"s3:{verb}Object{versioned}", f"{here}/{key}")
        if "HTTP_X_AMZ_TAGGING" in environ:
            yield Call("s3:PutObjectTagging", f"{here}/{key}")


def allowed(call: Call, statements: list[dict[str, Any]]) -> bool:
    """Say whether one of the statements, which all allow, covers a call."""
    return any(
        fnmatchcase(call.action, action) and fnmatchcase(call.resource, resource)
        for statement in statements
        for action in _list(statement["Action"])
        for resource in _list(statement["Resource"])
    )


def statements(template: Template, made: Resources, logical_id: str) -> list[dict[str, Any]]:
    """What a function's role and its managed policies allow, but for logs, which Lambda itself writes."""
    role = template.resources[template.resources[logical_id].properties["Role"]["Fn::GetAtt"][0]].properties
    documents = [policy["PolicyDocument"] for policy in role["Policies"]]
    documents += [
        template.resources[policy["Ref"]].properties["PolicyDocument"] for policy in role["ManagedPolicyArns"]
    ]
    found = [
        template.resolve(statement, made.names, logical_id)
        for document in documents
        for statement in document["Statement"]
        if "logs:PutLogEvents" not in _list(statement.get("Action", []))
    ]
    found = [statement for statement in found if statement]
    assert found
    assert {statement["Effect"] for statement in found} == {"Allow"}
    return found


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
