"""S3's signatures: was a URL, or a browser's form, signed for what somebody does with it?

Signature Version 4 as S3 checks it, with S3's own errors:
https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-post-example.html

A signed URL says one method, host, path and query, the version of the object and what the answer is to
declare among it, and a time at which it ends. A signed form says a policy: a key, a type, a range of sizes.
Whoever holds one can do that, and nothing beside it.

Requests that are signed in their `Authorization` header are taken at their word: they come from programs of
this machine, with whatever credentials these have, whose secrets nobody here can know.
"""

import base64
import hashlib
import hmac
import json
import re
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NoReturn
from urllib.parse import quote, unquote
from xml.sax.saxutils import escape

ALGORITHM = "AWS4-HMAC-SHA256"
MAX_EXPIRES = 604_800
"""Seconds, a week."""
MAX_SKEW = timedelta(minutes=15)
"""How far in the future a clock that signs may be."""

_PARAMETERS = (
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Signature",
    "X-Amz-Date",
    "X-Amz-SignedHeaders",
    "X-Amz-Expires",
)
_FIELDS = ("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Signature")
_UNCONDITIONED = {"policy", "x-amz-signature", "file", "bucket"}
"""Fields of a form that no condition needs to name; the bucket is in the URL."""


@dataclass(frozen=True)
class Credentials:
    """A key that the stack hands out, and knows the secret of."""

    access_key: str
    secret_key: str
    token: str | None = None


LOCAL = Credentials("local", "local", "local")
"""What the stack gives its functions. No secret from anybody on this machine, who is trusted anyway."""


@dataclass(frozen=True)
class Request:
    """What S3 sees of a request.

    Attributes:
        path: as it was sent, percent-encoded.
        query: as it was sent, without its question mark.
        headers: by lower-case name.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]


class RefusedError(Exception):
    """S3 would refuse the request.

    Attributes:
        status, code: of HTTP and of S3.
        details: further elements of S3's answer.
    """

    def __init__(self, status: int, code: str, message: str, **details: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.details = details

    def xml(self) -> bytes:
        """Return the answer's body."""
        request_id = uuid.uuid4().hex[:16].upper()
        told = {"Code": self.code, "Message": str(self), **self.details, "RequestId": request_id}
        inside = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in told.items())
        return f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{inside}</Error>'.encode(errors="replace")


@dataclass(frozen=True)
class _Scope:
    """What a credential says it is good for: `KEY/20260101/us-east-1/s3/aws4_request`."""

    credentials: Credentials
    date: str
    region: str

    def __str__(self) -> str:
        return f"{self.date}/{self.region}/s3/aws4_request"

    def sign(self, text: str) -> str:
        key = f"AWS4{self.credentials.secret_key}".encode()
        for part in (self.date, self.region, "s3", "aws4_request", text):
            key = hmac.digest(key, _bytes(part), "sha256")
        return key.hex()

    def has_signed(self, text: str, signature: str) -> bool:
        return hmac.compare_digest(self.sign(text).encode(), _bytes(signature))


def check(request: Request, known: Collection[Credentials], region: str, now: datetime) -> None:
    """Refuse a request that nobody has signed, or that was signed for something else.

    Args:
        known: the credentials whose signatures can be checked; a URL that is signed with others is refused.
        region: of the buckets.

    Raises:
        RefusedError
    """
    given = _query(request.query)
    names = {name for name, _ in given}
    in_header = "authorization" in request.headers
    in_query = bool(names & {"X-Amz-Algorithm", "X-Amz-Signature", "X-Amz-Credential"})
    if "Signature" in names or "AWSAccessKeyId" in names:
        raise RefusedError(
            400,
            "InvalidRequest",
            f"The authorization mechanism you have provided is not supported. Please use {ALGORITHM}.",
        )
    if in_header and in_query:
        raise RefusedError(
            400,
            "InvalidArgument",
            "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query "
            "string parameter or the Authorization header should be specified",
            ArgumentName="Authorization",
            ArgumentValue=request.headers["authorization"].split(" ")[0],
        )
    if in_header:
        if not request.headers["authorization"].startswith((f"{ALGORITHM} ", "AWS ")):
            raise RefusedError(
                400, "InvalidArgument", "Unsupported Authorization Type", ArgumentName="Authorization"
            )
    elif in_query:
        _check_url(request, given, known, region, now)
    else:
        raise RefusedError(403, "AccessDenied", "Access Denied")


def _check_url(
    request: Request,
    given: Sequence[tuple[str, str]],
    known: Collection[Credentials],
    region: str,
    now: datetime,
) -> None:
    parameters = dict(reversed(given))
    if any(not parameters.get(name) for name in _PARAMETERS):
        _bad_parameters(
            "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, "
            "X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters."
        )
    if parameters["X-Amz-Algorithm"] != ALGORITHM:
        _bad_parameters(f'X-Amz-Algorithm only supports "{ALGORITHM}"')
    signed_at = _date(parameters["X-Amz-Date"])
    expires = parameters["X-Amz-Expires"]
    if not re.fullmatch(r"[0-9]{1,9}", expires):
        _bad_parameters("X-Amz-Expires should be a number")
    if int(expires) > MAX_EXPIRES:
        _bad_parameters(
            "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be "
            f"less than {MAX_EXPIRES} seconds"
        )
    scope = _scope(
        parameters["X-Amz-Credential"],
        parameters["X-Amz-Date"],
        parameters.get("X-Amz-Security-Token"),
        known,
        region,
    )
    ends = signed_at + timedelta(seconds=int(expires))
    if now > ends:
        raise RefusedError(
            403,
            "AccessDenied",
            "Request has expired",
            **{"X-Amz-Expires": expires, "Expires": _iso(ends), "ServerTime": _iso(now)},
        )
    if signed_at > now + MAX_SKEW:
        raise RefusedError(403, "AccessDenied", "Request is not valid yet")
    signed = parameters["X-Amz-SignedHeaders"].split(";")
    open_headers = sorted(
        name
        for name in {*request.headers, "host"}
        if (name == "host" or name.startswith("x-amz-")) and name not in signed
    )
    if open_headers:
        # One of them could turn a permission to write into a copy of what belongs to somebody else.
        raise RefusedError(
            403,
            "AccessDenied",
            "There were headers present in the request which were not signed",
            HeadersNotSigned=", ".join(open_headers),
        )
    canonical = _canonical(request, given, signed)
    digest = hashlib.sha256(_bytes(canonical)).hexdigest()
    text = "\n".join([ALGORITHM, parameters["X-Amz-Date"], str(scope), digest])
    if not scope.has_signed(text, parameters["X-Amz-Signature"]):
        _does_not_match(scope)


def _canonical(request: Request, given: Sequence[tuple[str, str]], signed: Sequence[str]) -> str:
    """Return a request in the one form that its signature is made over, whatever its parts' order was."""
    query = sorted((_encode(name), _encode(value)) for name, value in given if name != "X-Amz-Signature")
    return "\n".join(
        [
            request.method,
            quote(unquote(request.path, errors="surrogateescape"), safe="/-_.~", errors="surrogateescape"),
            "&".join(f"{name}={value}" for name, value in query),
            *(f"{name}:{' '.join(request.headers.get(name, '').split())}" for name in signed),
            "",
            ";".join(signed),
            "UNSIGNED-PAYLOAD",  # whoever signs a URL does not know yet what it will carry
        ]
    )


def check_form(
    fields: Sequence[tuple[str, str]],
    files: Sequence[tuple[str, int]],
    bucket: str,
    known: Collection[Credentials],
    region: str,
    now: datetime,
) -> None:
    """Hold a browser's upload to the policy that was signed for it.

    Args:
        fields: names and values, those of files aside, in the form's order.
        files: names of the fields that are files, and their sizes in bytes.

    Raises:
        RefusedError
    """
    named = [name.lower() for name, _ in fields]
    for name in named:
        if named.count(name) > 1:
            raise RefusedError(400, "InvalidArgument", "A field is there more than once", ArgumentName=name)
    given = {name.lower(): value for name, value in fields}
    if "key" not in given:
        _missing("key")
    if [name for name, _ in files] != ["file"]:
        raise RefusedError(400, "InvalidArgument", "POST requires exactly one file upload per request.")
    if "policy" not in given:
        raise RefusedError(403, "AccessDenied", "Access Denied")
    for name in _FIELDS:
        if name.lower() not in given:
            _missing(name)
    if given["x-amz-algorithm"] != ALGORITHM:
        _bad_parameters(f'X-Amz-Algorithm only supports "{ALGORITHM}"')
    _date(given["x-amz-date"])
    scope = _scope(
        given["x-amz-credential"], given["x-amz-date"], given.get("x-amz-security-token"), known, region
    )
    if not scope.has_signed(given["policy"], given["x-amz-signature"]):
        _does_not_match(scope)
    check_policy(given, files[0][1], bucket, now)


def check_policy(given: Mapping[str, str], size: int, bucket: str, now: datetime) -> None:
    """Hold a form's fields, by lower-case name, to its policy, whose signature is good.

    Args:
        size: of the file, in bytes.

    Raises:
        RefusedError
    """
    try:
        policy = json.loads(base64.b64decode(given["policy"], validate=True))
        expired = datetime.fromisoformat(policy["expiration"]) <= now
        conditions = list(policy["conditions"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RefusedError(400, "InvalidPolicyDocument", "Invalid Policy: Invalid JSON.") from error
    if expired:
        _deny("Policy expired.")
    fields = {**given, "bucket": bucket}
    named = set(_UNCONDITIONED)
    for condition in conditions:
        match condition:
            case ["content-length-range", int() | str() as low, int() | str() as high]:
                _check_size(size, low, high)
                continue
            case [("eq" | "starts-with") as operator, str() as field, str() as value] if field[:1] == "$":
                name = field[1:].lower()
            case dict() if len(condition) == 1 and isinstance(next(iter(condition.values())), str):
                ((field, value),) = condition.items()
                operator, name = "eq", field.lower()
            case _:
                _deny(f"Policy Condition failed: {json.dumps(condition)}")
        named.add(name)
        held = fields.get(name, "")
        if not (held == value if operator == "eq" else held.startswith(value)):
            _deny(f"Policy Condition failed: {json.dumps(condition)}")
    extra = [name for name in fields if name not in named and not name.startswith("x-ignore-")]
    if extra:
        _deny(f"Extra input fields: {', '.join(extra)}")


def _check_size(size: int, low: int | str, high: int | str) -> None:
    try:
        least, most = int(low), int(high)
    except ValueError as error:
        raise RefusedError(400, "InvalidPolicyDocument", "Invalid Policy: Invalid range.") from error
    if size > most:
        raise RefusedError(
            400,
            "EntityTooLarge",
            "Your proposed upload exceeds the maximum allowed size",
            ProposedSize=str(size),
            MaxSizeAllowed=str(most),
        )
    if size < least:
        raise RefusedError(
            400,
            "EntityTooSmall",
            "Your proposed upload is smaller than the minimum allowed size",
            ProposedSize=str(size),
            MinSizeAllowed=str(least),
        )


def _scope(
    credential: str, date: str, token: str | None, known: Collection[Credentials], region: str
) -> _Scope:
    parts = credential.rsplit("/", 4)
    if len(parts) != 5 or parts[4] != "aws4_request":
        _bad_parameters(
            "Error parsing the X-Amz-Credential parameter; the Credential is mal-formed; expecting "
            '"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".'
        )
    access_key, day, where, service, _ = parts
    if day != date[:8]:
        _bad_parameters(
            f'Invalid credential date "{day}". This date is not the same as X-Amz-Date: "{date[:8]}".'
        )
    if where != region:
        _bad_parameters(
            f"Error parsing the X-Amz-Credential parameter; the region '{where}' is wrong; "
            f"expecting '{region}'"
        )
    if service != "s3":
        _bad_parameters(
            f'Error parsing the X-Amz-Credential parameter; incorrect service "{service}". This endpoint '
            'belongs to "s3".'
        )
    credentials = next((one for one in known if one.access_key == access_key), None)
    if credentials is None:
        raise RefusedError(
            403,
            "InvalidAccessKeyId",
            "The AWS Access Key Id you provided does not exist in our records.",
            AWSAccessKeyId=access_key,
        )
    if token is not None and token != credentials.token:
        raise RefusedError(400, "InvalidToken", "The provided token is malformed or otherwise invalid.")
    return _Scope(credentials, day, where)


def _query(text: str) -> list[tuple[str, str]]:
    """Return the names and values of a query string, decoded."""
    pairs = [part.partition("=") for part in text.split("&") if part]
    return [(_decode(name), _decode(value)) for name, _, value in pairs]


def _decode(text: str) -> str:
    return unquote(text.replace("+", " "), errors="surrogateescape")


def _encode(text: str) -> str:
    return quote(text, safe="-_.~", errors="surrogateescape")


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")


def _date(text: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        _bad_parameters("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"")


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _bad_parameters(message: str) -> NoReturn:
    raise RefusedError(400, "AuthorizationQueryParametersError", message)


def _missing(field: str) -> NoReturn:
    raise RefusedError(
        400,
        "InvalidArgument",
        f"Bucket POST must contain a field named '{field}'.  If it is specified, please check the order of "
        "the fields.",
        ArgumentName=field,
        ArgumentValue="",
    )


def _deny(reason: str) -> NoReturn:
    raise RefusedError(403, "AccessDenied", f"Invalid according to Policy: {reason}")


def _does_not_match(scope: _Scope) -> NoReturn:
    raise RefusedError(
        403,
        "SignatureDoesNotMatch",
        "The request signature we calculated does not match the signature you provided. Check your key and "
        "signing method.",
        AWSAccessKeyId=scope.credentials.access_key,
    )
