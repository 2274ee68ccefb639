"""What was signed can be done, and nothing beside it: URLs and forms, as S3 checks them."""

import base64
import json
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import boto3
import pytest
import urllib3
from botocore.config import Config
from moto.core.base_backend import BackendDict
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)

from local import signatures
from local.objects import ObjectStore
from local.patches import Patches, quieten
from local.serving import Server
from local.signatures import LOCAL, RefusedError

ACCOUNT, REGION = "123456789012", "us-east-1"
KEY = "alice/images/ä b+c%2F&d.jpg"
UPLOAD = "alice/0001/original"


class S3:
    """The local S3 with two buckets, `uploads` with versions and `media` without."""

    def __init__(self, folder: Path) -> None:
        BackendDict.reset()
        self._patches = Patches()
        quieten(self._patches)
        ObjectStore(folder / "objects", ACCOUNT, REGION).install(self._patches)
        self._listener = socket.create_server(("127.0.0.1", 0))
        application = DomainDispatcherApplication(create_backend_app)
        self._server = Server(application, self._listener, "s3", MotoRequestHandler)
        self._server.start()
        self.client = self.signed_by(LOCAL.access_key, LOCAL.secret_key, LOCAL.token)
        for bucket in ("uploads", "media"):
            self.client.create_bucket(Bucket=bucket)
        self.client.put_bucket_versioning(Bucket="uploads", VersioningConfiguration={"Status": "Enabled"})
        self._http = urllib3.PoolManager(retries=False)

    def signed_by(self, access_key: str, secret_key: str, token: str | None = None, **config: Any) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self._server.url,
            region_name=REGION,
            aws_access_key_id=access_key,
            aws_secret_access_key=secret_key,
            aws_session_token=token,
            config=Config(signature_version="s3v4", proxies={}, retries={"max_attempts": 0}, **config),
        )

    def view(self, key: str = KEY, method: str = "get_object", client: Any = None, **parameters: Any) -> str:
        """A URL for one thing, as the API makes them."""
        expires = parameters.pop("expires", 3600)
        return (client or self.client).generate_presigned_url(
            method, Params={"Bucket": "media", "Key": key, **parameters}, ExpiresIn=expires
        )

    def ask(self, url: str, method: str = "GET", **arguments: Any) -> Any:
        return self._http.request(method, url if "://" in url else self._server.url + url, **arguments)

    def form(self, low: int = 1, high: int = 10, **fields: str) -> dict[str, Any]:
        """A form for one key, one type and a range of sizes, as the API makes them."""
        return self.client.generate_presigned_post(
            "uploads",
            UPLOAD,
            Fields={"Content-Type": "image/jpeg", **fields},
            Conditions=[
                {"Content-Type": "image/jpeg"},
                ["content-length-range", low, high],
                *({k: v} for k, v in fields.items()),
            ],
            ExpiresIn=900,
        )

    def post(self, form: dict[str, Any], body: bytes = b"bytes", **changed: Any) -> Any:
        fields = {**form["fields"], **changed}
        sent = [(name, value) for name, value in fields.items() if value is not None]
        return self.ask(form["url"], "POST", fields=[*sent, ("file", ("a.jpg", body, "image/jpeg"))])

    def close(self) -> None:
        self._http.clear()
        self._server.stop()
        self._listener.close()
        self._patches.undo()
        BackendDict.reset()


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    s3 = S3(tmp_path_factory.mktemp("s3"))
    s3.client.put_object(Bucket="media", Key=KEY, Body=b"alice's", ContentType="image/jpeg")
    s3.client.put_object(Bucket="media", Key="bob/images/1.jpg", Body=b"bob's secret")
    yield s3
    s3.close()


def assert_refused(answer: Any, status: int, code: str) -> None:
    assert (answer.status, f"<Code>{code}</Code>" in answer.data.decode()) == (status, True), answer.data
    assert answer.headers["content-type"] == "application/xml"
    assert b"secret" not in answer.data


def with_query(url: str, **changed: str | None) -> str:
    """Return a URL with other values in its query; None takes a name out of it."""
    parts = urlsplit(url)
    kept = {
        **dict(parse_qsl(parts.query, keep_blank_values=True)),
        **{k.replace("_", "-"): v for k, v in changed.items()},
    }
    query = urlencode({name: value for name, value in kept.items() if value is not None}, quote_via=quote)
    return parts._replace(query=query).geturl()


# URLs


def test_a_signed_url_shows_its_object(s3: S3) -> None:
    answer = s3.ask(s3.view())
    assert (answer.status, answer.data) == (200, b"alice's")
    assert answer.headers["content-type"] == "image/jpeg"


def test_a_signed_url_can_force_what_the_answer_declares(s3: S3) -> None:
    url = s3.view(ResponseContentDisposition="attachment; filename=\"a b\"; filename*=UTF-8''%C3%A4")
    answer = s3.ask(url)
    assert answer.headers["content-disposition"] == "attachment; filename=\"a b\"; filename*=UTF-8''%C3%A4"


def test_the_order_of_a_query_says_nothing(s3: S3) -> None:
    """Nor does it at S3: a signature is made over the sorted query."""
    parts = urlsplit(s3.view())
    query = "&".join(reversed(parts.query.split("&")))
    assert s3.ask(parts._replace(query=query).geturl()).status == 200


def test_a_signed_url_shows_no_other_key_and_no_other_bucket(s3: S3) -> None:
    parts = urlsplit(s3.view())
    for path in (
        "/media/bob/images/1.jpg",
        "/uploads" + parts.path.removeprefix("/media"),
        "/media",
        "/media/",
        "/",
    ):
        assert_refused(s3.ask(parts._replace(path=path).geturl()), 403, "SignatureDoesNotMatch")


def test_a_key_is_the_same_however_it_is_spelled(s3: S3) -> None:
    parts = urlsplit(s3.view())
    spelled = parts.path.replace("images", "%69mages")
    assert s3.ask(parts._replace(path=spelled).geturl()).data == b"alice's"
    # One layer of escaping less, or a path with dots, is another key.
    for path in (parts.path.replace("%252F", "%2F"), "/media/alice/../bob/images/1.jpg"):
        assert s3.ask(parts._replace(path=path).geturl()).status == 403


@pytest.mark.parametrize("method", ["PUT", "DELETE", "HEAD", "POST"])
def test_a_url_to_read_does_nothing_else(s3: S3, method: str) -> None:
    answer = s3.ask(s3.view(), method, body=b"x" if method in ("PUT", "POST") else None)
    assert answer.status == 403
    assert answer.data == b"" or b"SignatureDoesNotMatch" in answer.data
    assert s3.ask(s3.view()).data == b"alice's"


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"X_Amz_Expires": "7200"}, "SignatureDoesNotMatch"),
        ({"X_Amz_Signature": "0" * 64}, "SignatureDoesNotMatch"),
        ({"X_Amz_Signature": "ä"}, "SignatureDoesNotMatch"),
        ({"versionId": "abc"}, "SignatureDoesNotMatch"),
        ({"acl": ""}, "SignatureDoesNotMatch"),
        ({"response_content_type": "text/html"}, "SignatureDoesNotMatch"),
        ({"X_Amz_Security_Token": None}, "SignatureDoesNotMatch"),
        ({"X_Amz_SignedHeaders": "host;range"}, "SignatureDoesNotMatch"),
        ({"X_Amz_SignedHeaders": "range"}, "AccessDenied"),
    ],
)
def test_a_url_that_was_changed_is_worth_nothing(s3: S3, changed: dict[str, Any], code: str) -> None:
    assert_refused(s3.ask(with_query(s3.view(), **changed)), 403, code)


@pytest.mark.parametrize(
    "changed",
    [
        {"X_Amz_Signature": None},
        {"X_Amz_Algorithm": "AWS4-HMAC-SHA1"},
        {"X_Amz_Algorithm": None},
        {"X_Amz_Expires": None},
        {"X_Amz_Expires": "-1"},
        {"X_Amz_Expires": "soon"},
        {"X_Amz_Expires": "604801"},
        {"X_Amz_Expires": "9" * 400},
        {"X_Amz_Date": "yesterday"},
        {"X_Amz_Date": "20200101T000000Z"},
        {"X_Amz_Credential": "local"},
        {"X_Amz_Credential": "local/20200101/us-east-1/s3/aws4_request"},
        {"X_Amz_SignedHeaders": ""},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_a_url_that_makes_no_sense_is_told_so(s3: S3, changed: dict[str, Any]) -> None:
    assert_refused(s3.ask(with_query(s3.view(), **changed)), 400, "AuthorizationQueryParametersError")


@pytest.mark.parametrize("part", ["eu-west-1/s3", "us-east-1/sqs"])
def test_a_signature_for_elsewhere_is_worth_nothing_here(s3: S3, part: str) -> None:
    url = s3.view().replace("us-east-1%2Fs3", part.replace("/", "%2F"))
    assert_refused(s3.ask(url), 400, "AuthorizationQueryParametersError")


def test_a_parameter_that_comes_twice_is_no_way_in(s3: S3) -> None:
    url = s3.view()
    for name in ("versionId=1", "X-Amz-Expires=604800", "X-Amz-Credential=local", "prefix=bob"):
        assert s3.ask(f"{url}&{name}").status in (400, 403)
        assert s3.ask(url.replace("?", f"?{name}&", 1)).status in (400, 403)


@pytest.mark.parametrize("name", ["X-Amz-Signature", "X-Amz-SignedHeaders", "X-Amz-Credential", "versionId"])
def test_bytes_that_are_no_text_are_refused_like_any_others(s3: S3, name: str) -> None:
    before, _, after = s3.view(VersionId="null").partition(f"{name}=")
    assert s3.ask(f"{before}{name}=%FF%00{after}").status in (400, 403)


def test_a_url_that_has_expired_says_when(s3: S3) -> None:
    now = datetime.now(UTC)
    request = request_of(s3.view(expires=60))
    signatures.check(request, [LOCAL], REGION, now + timedelta(seconds=50))
    with pytest.raises(RefusedError, match="Request has expired") as raised:
        signatures.check(request, [LOCAL], REGION, now + timedelta(seconds=62))
    assert (raised.value.status, raised.value.code) == (403, "AccessDenied")
    assert raised.value.details["X-Amz-Expires"] == "60"
    with pytest.raises(RefusedError, match="not valid yet"):
        signatures.check(request, [LOCAL], REGION, now - timedelta(minutes=16))


def request_of(url: str) -> signatures.Request:
    parts = urlsplit(url)
    return signatures.Request("GET", parts.path, parts.query, {"host": parts.netloc})


def test_a_url_signed_with_a_key_that_nobody_handed_out_is_refused(s3: S3) -> None:
    assert_refused(s3.ask(s3.view(client=s3.signed_by("mine", "mine"))), 403, "InvalidAccessKeyId")
    assert_refused(s3.ask(s3.view(client=s3.signed_by("local", "guess"))), 403, "SignatureDoesNotMatch")
    forged = s3.signed_by("local", "local", "another token")
    assert_refused(s3.ask(s3.view(client=forged)), 400, "InvalidToken")
    assert s3.ask(s3.view(client=s3.signed_by("local", "local"))).status == 200


def test_the_old_kind_of_signature_is_not_taken(s3: S3) -> None:
    old = boto3.client(
        "s3",
        endpoint_url=s3.client.meta.endpoint_url,
        region_name=REGION,
        aws_access_key_id="local",
        aws_secret_access_key="local",
        config=Config(signature_version="s3"),
    )
    assert_refused(s3.ask(s3.view(client=old)), 400, "InvalidRequest")


def test_one_version_is_not_another(s3: S3) -> None:
    first, second = (
        s3.client.put_object(Bucket="uploads", Key="v", Body=body)["VersionId"] for body in (b"1", b"2")
    )
    url = s3.view("v", Bucket="uploads", VersionId=first)
    assert s3.ask(url).data == b"1"
    assert_refused(s3.ask(with_query(url, versionId=second)), 403, "SignatureDoesNotMatch")
    assert_refused(s3.ask(with_query(url, versionId=None)), 403, "SignatureDoesNotMatch")


def test_a_url_to_write_takes_what_it_was_signed_for(s3: S3) -> None:
    url = s3.view("new", "put_object", ContentType="image/png")
    png = {"Content-Type": "image/png"}
    assert_refused(s3.ask(url, "PUT", body=b"x"), 403, "SignatureDoesNotMatch")
    html = {"Content-Type": "text/html"}
    assert_refused(s3.ask(url, "PUT", body=b"x", headers=html), 403, "SignatureDoesNotMatch")
    assert s3.ask(url, "PUT", body=b"x", headers=png).status == 200
    assert_refused(s3.ask(url), 403, "SignatureDoesNotMatch")


@pytest.mark.parametrize(
    "header", ["x-amz-copy-source", "x-amz-acl", "x-amz-meta-original-sha256", "x-amz-tagging"]
)
def test_a_header_that_was_not_signed_turns_a_write_into_nothing_else(s3: S3, header: str) -> None:
    """A copy source would make it read what belongs to somebody else."""
    url = s3.view("taken", "put_object")
    answer = s3.ask(url, "PUT", body=b"", headers={header: "/media/bob/images/1.jpg"})
    assert_refused(answer, 403, "AccessDenied")
    assert f"<HeadersNotSigned>{header}</HeadersNotSigned>" in answer.data.decode()
    assert s3.ask(s3.view("taken")).status == 404


def test_what_nobody_signed_is_nobodys(s3: S3) -> None:
    for path in (
        "/media/bob/images/1.jpg",
        "/media/nothing",
        "/media",
        "/media?list-type=2",
        "/",
        "/nowhere/x",
    ):
        assert_refused(s3.ask(path), 403, "AccessDenied")
    for method in ("PUT", "DELETE", "POST"):
        assert_refused(s3.ask("/media/bob/images/1.jpg", method, body=b"x"), 403, "AccessDenied")
    assert s3.ask("/media/bob/images/1.jpg", "HEAD").status == 403
    assert_refused(s3.ask("/media?delete", "POST", body=b"<Delete/>"), 403, "AccessDenied")
    assert s3.client.get_object(Bucket="media", Key="bob/images/1.jpg")["Body"].read() == b"bob's secret"


def test_programs_of_this_machine_sign_in_their_header_with_any_credentials(s3: S3) -> None:
    own = s3.signed_by("whoever", "whatever")
    own.put_object(Bucket="media", Key="put", Body=b"x")
    assert own.get_object(Bucket="media", Key="put")["Body"].read() == b"x"
    assert own.list_objects_v2(Bucket="media", Prefix="put")["KeyCount"] == 1
    assert_refused(s3.ask("/media/put", headers={"Authorization": "Bearer abc"}), 400, "InvalidArgument")


def test_signed_twice_is_signed_once_too_often(s3: S3) -> None:
    header = {"Authorization": "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/s3/aws4_request"}
    answer = s3.ask(with_query(s3.view("bob/images/1.jpg"), X_Amz_Expires="9"), headers=header)
    assert_refused(answer, 400, "InvalidArgument")


# Forms


def test_a_form_uploads_its_object_in_the_order_of_a_browser(s3: S3) -> None:
    form = s3.form()
    assert list(form["fields"])[0] == "Content-Type"
    assert s3.post(form, b"0123456789").status == 204
    kept = s3.client.get_object(Bucket="uploads", Key=UPLOAD)
    assert (kept["Body"].read(), kept["ContentType"]) == (b"0123456789", "image/jpeg")
    # Once more, in any other order of its fields, until it expires.
    form["fields"] = dict(reversed(form["fields"].items()))
    assert s3.post(form, b"x").status == 204


def test_a_form_may_hold_fields_that_say_nothing(s3: S3) -> None:
    assert s3.post(s3.form(), **{"x-ignore-me": "1"}).status == 204


@pytest.mark.parametrize(
    ("changed", "body", "status", "code"),
    [
        ({}, b"12345678901", 400, "EntityTooLarge"),
        ({}, b"", 400, "EntityTooSmall"),
        ({"key": "bob/0001/original"}, b"x", 403, "AccessDenied"),
        ({"key": "alice/0001/${filename}"}, b"x", 403, "AccessDenied"),
        ({"key": None}, b"x", 400, "InvalidArgument"),
        ({"Content-Type": "text/html"}, b"x", 403, "AccessDenied"),
        ({"Content-Type": None}, b"x", 403, "AccessDenied"),
        ({"acl": "public-read"}, b"x", 403, "AccessDenied"),
        ({"x-amz-meta-original-sha256": "0"}, b"x", 403, "AccessDenied"),
        ({"success_action_redirect": "https://evil.example"}, b"x", 403, "AccessDenied"),
        ({"policy": None}, b"x", 403, "AccessDenied"),
        ({"policy": "e30="}, b"x", 403, "SignatureDoesNotMatch"),
        ({"x-amz-signature": "0" * 64}, b"x", 403, "SignatureDoesNotMatch"),
        ({"x-amz-signature": None}, b"x", 400, "InvalidArgument"),
        ({"x-amz-credential": None}, b"x", 400, "InvalidArgument"),
        ({"x-amz-date": None}, b"x", 400, "InvalidArgument"),
        ({"x-amz-algorithm": None}, b"x", 400, "InvalidArgument"),
        ({"x-amz-algorithm": "none"}, b"x", 400, "AuthorizationQueryParametersError"),
        ({"x-amz-date": "20200101T000000Z"}, b"x", 400, "AuthorizationQueryParametersError"),
        ({"x-amz-credential": "x"}, b"x", 400, "AuthorizationQueryParametersError"),
        ({"x-amz-security-token": "another"}, b"x", 400, "InvalidToken"),
    ],
)
def test_a_form_that_was_changed_uploads_nothing(
    s3: S3, changed: dict[str, Any], body: bytes, status: int, code: str
) -> None:
    def stored() -> int:
        return len(s3.client.list_object_versions(Bucket="uploads").get("Versions", []))

    before = stored()
    assert_refused(s3.post(s3.form(), body, **changed), status, code)
    assert stored() == before


def test_a_form_with_another_policy_is_refused(s3: S3) -> None:
    form = s3.form()
    policy = json.loads(base64.b64decode(form["fields"]["policy"]))
    policy["conditions"] = [{"key": "bob/0001/original"} if "key" in c else c for c in policy["conditions"]]
    widened = base64.b64encode(json.dumps(policy).encode()).decode()
    answer = s3.post(form, policy=widened, key="bob/0001/original")
    assert_refused(answer, 403, "SignatureDoesNotMatch")


def test_a_form_is_for_its_bucket(s3: S3) -> None:
    form = s3.form()
    form["url"] = form["url"].replace("/uploads", "/media")
    assert_refused(s3.post(form), 403, "AccessDenied")


def test_a_form_has_one_file_and_each_field_once(s3: S3) -> None:
    form = s3.form()
    fields = list(form["fields"].items())
    file = ("file", ("a.jpg", b"x", "image/jpeg"))
    for sent in (
        fields,
        [*fields, file, file],
        [*fields, ("other", ("b.jpg", b"x", "image/jpeg"))],
        [*fields, file, ("other", ("b.jpg", b"x", "image/jpeg"))],
        [*fields, ("key", "bob/0001/original"), file],
        [*fields, ("KEY", "bob/0001/original"), file],
    ):
        answer = s3.ask(form["url"], "POST", fields=sent, encode_multipart=True)
        assert_refused(answer, 400, "InvalidArgument")
    assert s3.ask(form["url"], "POST", fields=[*fields, file]).status == 204


def test_a_form_signed_with_a_key_that_nobody_handed_out_is_refused(s3: S3) -> None:
    known, s3.client = s3.client, s3.signed_by("mine", "mine")
    try:
        form = s3.form()
    finally:
        s3.client = known
    assert_refused(s3.post(form), 403, "InvalidAccessKeyId")


# Policies

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def fields_of(*conditions: Any, expires: Any = "2026-01-01T00:15:00.000Z", **fields: str) -> dict[str, str]:
    policy = {"expiration": expires, "conditions": [{"bucket": "uploads"}, {"key": "u/i"}, *conditions]}
    return {"key": "u/i", "policy": base64.b64encode(json.dumps(policy).encode()).decode(), **fields}


def test_what_a_policy_allows_is_let_in() -> None:
    signatures.check_policy(
        fields_of(
            ["content-length-range", "1", 10],
            ["starts-with", "$Content-Type", "image/"],
            ["eq", "$x-amz-meta-A", "b"],
            **{"content-type": "image/png", "x-amz-meta-a": "b", "x-amz-signature": "s", "x-ignore-me": "1"},
        ),
        10,
        "uploads",
        NOW,
    )


@pytest.mark.parametrize(
    ("given", "size", "code"),
    [
        (fields_of(["content-length-range", 1, 10]), 11, "EntityTooLarge"),
        (fields_of(["content-length-range", 1, 10]), 0, "EntityTooSmall"),
        (fields_of(["content-length-range", "a", 10]), 1, "InvalidPolicyDocument"),
        (fields_of(expires="2026-01-01T00:00:00Z"), 1, "AccessDenied"),
        (fields_of(expires="2027-01-01T00:00:00"), 1, "InvalidPolicyDocument"),
        (fields_of(expires=5), 1, "InvalidPolicyDocument"),
        ({**fields_of(), "key": "somebody/else"}, 1, "AccessDenied"),
        (fields_of(["starts-with", "$Content-Type", "image/"], **{"content-type": "text/html"}), 1,
         "AccessDenied"),
        (fields_of(["starts-with", "$Content-Type", "image/"]), 1, "AccessDenied"),
        (fields_of(["contains", "$key", "x"]), 1, "AccessDenied"),
        (fields_of(["eq", "key", "u/i"]), 1, "AccessDenied"),
        (fields_of({"key": ["u/i"]}), 1, "AccessDenied"),
        (fields_of({}), 1, "AccessDenied"),
        (fields_of(surprise="field"), 1, "AccessDenied"),
        ({"key": "u/i", "policy": "not base64!"}, 1, "InvalidPolicyDocument"),
        ({"key": "u/i", "policy": base64.b64encode(b"[]").decode()}, 1, "InvalidPolicyDocument"),
        ({"key": "u/i", "policy": base64.b64encode(b"[" * 100_000).decode()}, 1, "InvalidPolicyDocument"),
    ],
)  # fmt: skip
def test_what_a_policy_does_not_allow_is_refused(given: dict[str, str], size: int, code: str) -> None:
    with pytest.raises(RefusedError) as raised:
        signatures.check_policy(given, size, "uploads", NOW)
    assert raised.value.code == code


def test_a_policy_is_for_its_bucket() -> None:
    with pytest.raises(RefusedError, match="Policy Condition failed"):
        signatures.check_policy(fields_of(), 1, "media", NOW)


def test_a_refusal_is_written_as_s3_writes_it() -> None:
    xml = RefusedError(403, "AccessDenied", "a < b & c", Expires="now").xml().decode()
    assert xml.startswith('<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code>')
    assert "<Message>a &lt; b &amp; c</Message><Expires>now</Expires><RequestId>" in xml
