"""A compressed file in S3 that grows line by line, in as much memory as one of its parts needs."""

import hashlib
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn, Self

from aws_lambda_powertools import Logger
from botocore.exceptions import BotoCoreError, ClientError

from shared import clients
from shared.errors import TransientError

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

logger = Logger(child=True)

PART_BYTES = 8 << 20
"""S3 takes parts from 5 MiB on, the last excepted, and 10,000 of them: 78 GiB compressed."""
GZIP = 16 + zlib.MAX_WBITS
TAGGING = "kind=export"
"""By this tag a rule of the bucket makes exports expire."""


class Archive:
    """A file that is there only once it is complete.

    Attributes:
        size: bytes so far, compressed.
    """

    def __init__(self, bucket: str, key: str, upload_id: str) -> None:
        self.bucket = bucket
        self.key = key
        self.size = 0
        self._upload_id = upload_id
        self._compressor = zlib.compressobj(wbits=GZIP)
        self._digest = hashlib.sha256()
        self._waiting = bytearray()
        self._parts: list[CompletedPartTypeDef] = []
        self._complete = False

    @classmethod
    @contextmanager
    def open(cls, bucket: str, key: str) -> Iterator[Self]:
        """Begin a file; at the end of the block nothing is left of it, unless it is complete.

        Raises:
            TransientError: S3 throttled or the connection broke, here and in every method.
        """
        try:
            begun = clients.s3().create_multipart_upload(
                Bucket=bucket, Key=key, ContentType="application/gzip", Tagging=TAGGING
            )
        except (ClientError, BotoCoreError) as error:
            _fail(error)
        archive = cls(bucket, key, begun["UploadId"])
        try:
            yield archive
        finally:
            if not archive._complete:
                archive._abort()

    @property
    def sha256(self) -> str:
        """Of what was written so far, hexadecimal."""
        return self._digest.hexdigest()

    def write(self, line: bytes) -> None:
        """Add a line."""
        self._add(self._compressor.compress(line + b"\n"))

    def finish(self) -> None:
        """Send what is left. Nothing can be written any more, and nothing can be read yet."""
        self._add(self._compressor.flush())
        if self._waiting:
            self._send()

    def complete(self) -> None:
        """Make one object of all parts."""
        try:
            clients.s3().complete_multipart_upload(
                Bucket=self.bucket,
                Key=self.key,
                UploadId=self._upload_id,
                MultipartUpload={"Parts": self._parts},
            )
        except (ClientError, BotoCoreError) as error:
            _fail(error)
        self._complete = True

    def _add(self, compressed: bytes) -> None:
        self._waiting += compressed
        if len(self._waiting) >= PART_BYTES:
            self._send()

    def _send(self) -> None:
        body = bytes(self._waiting)
        self._waiting.clear()
        self._digest.update(body)
        self.size += len(body)
        number = len(self._parts) + 1
        try:
            sent = clients.s3().upload_part(
                Bucket=self.bucket, Key=self.key, UploadId=self._upload_id, PartNumber=number, Body=body
            )
        except (ClientError, BotoCoreError) as error:
            _fail(error)
        self._parts.append({"PartNumber": number, "ETag": sent["ETag"]})

    def _abort(self) -> None:
        try:
            clients.s3().abort_multipart_upload(Bucket=self.bucket, Key=self.key, UploadId=self._upload_id)
        except (ClientError, BotoCoreError):
            # An erasure was faster, or S3 is away; after a day the bucket aborts it by itself.
            logger.warning("upload not aborted", exc_info=True)


def _fail(error: ClientError | BotoCoreError) -> NoReturn:
    raise TransientError("S3 did not answer as it should") from error
