"""S3 on this machine: objects are files that survive the stack, and are announced as S3 announces them.

moto keeps objects in memory or in unnamed temporary files. Here each version's bytes are one file,
written and synced before the request is answered, and one journal says which file is which version
of which key. Starting again reads the journal; the bytes are only read when somebody asks for them.

    DATA/objects/journal.jsonl
    DATA/objects/<bucket>/<last two digits>/<sequencer>

A put is in the journal before S3 speaks of it, so that whoever hears the event finds the object.
Tags, ACLs and uploads in parts that were not completed do not survive.
"""

import contextlib
import io
import json
import os
import threading
import time
import uuid
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from local import bus, signatures
from local.patches import Patches

REASONS = {
    "ObjectCreated:Put": ("Object Created", "PutObject"),
    "ObjectCreated:Post": ("Object Created", "POST Object"),
    "ObjectCreated:Copy": ("Object Created", "CopyObject"),
    "ObjectCreated:CompleteMultipartUpload": ("Object Created", "CompleteMultipartUpload"),
    "ObjectRemoved:Delete": ("Object Deleted", "DeleteObject"),
}
"""What S3 says of each of moto's event names. https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html"""
LOCKS = 64


class Sequence:
    """Numbers that only ever grow, also across restarts and when the clock goes back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def next(self) -> str:
        """The next number, in sixteen hexadecimal digits."""
        with self._lock:
            self._last = max(self._last + 1, time.time_ns())
            return f"{self._last:016x}"

    def seen(self, number: str) -> None:
        with self._lock:
            self._last = max(self._last, int(number, 16))


class StoredValue(io.RawIOBase):
    """Stands for an object's bytes where moto keeps a file; opened only while it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: 0}[whence]
        if whence == io.SEEK_END:
            base = self.path.stat().st_size
        self._position = base + offset
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        with self.path.open("rb") as file:
            file.seek(self._position)
            data = file.read(-1 if size is None else size)
        self._position += len(data)
        return data

    def tell(self) -> int:
        return self._position


class ObjectStore:
    """The files of one data folder, and moto's S3 made to use them."""

    def __init__(self, folder: Path, account: str, region: str) -> None:
        self.folder = folder
        self.account = account
        self.region = region
        self.sequence = Sequence()
        self._journal_path = folder / "journal.jsonl"
        self._journal_lock = threading.Lock()
        self._locks = [threading.RLock() for _ in range(LOCKS)]
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def load(self) -> int:
        """Give moto what earlier runs have kept, and return how many versions there are.

        Buckets must be there. Versions of a bucket that is no longer in the template stay on disk.
        """
        from moto.s3.models import FakeDeleteMarker, FakeKey, s3_backends

        backend = s3_backends[self.account]["aws"]
        lines = sum(1 for _ in self._read_journal())
        entries = self._replay()
        for entry in entries.values():
            self.sequence.seen(entry["sequence"])
            bucket = backend.buckets.get(entry["bucket"])
            if bucket is None:
                continue
            if entry["op"] == "marker":
                hidden = FakeKey(entry["key"], b"", self.account, self.region)
                hidden.dispose()
                marker = FakeDeleteMarker(key=hidden)
                marker._version_id = entry["version"]
                marker.last_modified = datetime.fromisoformat(entry["modified"])
                marker.sequencer = entry["sequence"]
                bucket.keys.setlist(entry["key"], [*bucket.keys.getlist(entry["key"], []), marker])
                continue
            key = FakeKey(
                name=entry["key"],
                value=b"",
                account_id=self.account,
                region_name=self.region,
                storage=entry["storage"],
                etag=entry["etag"],
                is_versioned=entry["version"] != "null",
                version_id=entry["version"],
                bucket_name=entry["bucket"],
                encryption=entry["encryption"],
            )
            key.last_modified = datetime.fromisoformat(entry["modified"])
            key._metadata.update(entry["metadata"])
            self._attach(key, entry["sequence"], entry["size"])
            bucket.keys.setlist(entry["key"], [*bucket.keys.getlist(entry["key"], []), key])
        if lines > len(entries) + 1:
            self._compact(entries)
        self._sweep(entries)
        return len(entries)

    def install(self, patches: Patches) -> None:
        """Have moto's S3 keep objects here, announce them as S3 does, and look at signatures."""
        from moto.s3 import notifications
        from moto.s3.models import FakeKey, S3Backend

        def put_object(
            backend: Any, bucket_name: str, key_name: str, value: Any, *args: Any, **kwargs: Any
        ) -> Any:
            silent = kwargs.pop("disable_notification", False)
            with self._exclusively(bucket_name, key_name):
                before = _versions(backend, bucket_name, key_name)
                key = original_put(
                    backend, bucket_name, key_name, value, *args, disable_notification=True, **kwargs
                )
                self._keep(key)
                self._drop_replaced(backend, bucket_name, key_name, before)
            # An upload in parts is announced when it is complete, under its own name.
            if not silent and key.multipart is None:
                name = "OBJECT_CREATED_POST_EVENT" if kwargs.get("request_method") == "POST" else None
                event = getattr(notifications.S3NotificationEvent, name or "OBJECT_CREATED_PUT_EVENT")
                notifications.send_event(backend.account_id, event, backend.get_bucket(bucket_name), key)
            return key

        def complete_multipart_upload(backend: Any, bucket_name: str, multipart_id: str, body: Any) -> Any:
            key = original_complete(backend, bucket_name, multipart_id, body)
            if key is not None:
                parts, key.multipart = key.multipart, None
                if parts is not None:
                    parts.dispose()
            return key

        def delete_object(backend: Any, bucket_name: str, key_name: str, *args: Any, **kwargs: Any) -> Any:
            with self._exclusively(bucket_name, key_name):
                before = _versions(backend, bucket_name, key_name)
                answer = original_delete(backend, bucket_name, key_name, *args, **kwargs)
                self._drop_replaced(backend, bucket_name, key_name, before)
                for version in _versions(backend, bucket_name, key_name):
                    if all(version is not other for other in before):
                        self._mark(backend, bucket_name, key_name, version)
            return answer

        def set_metadata(key: Any, metadata: Any, replace: bool = False) -> None:
            original_set_metadata(key, metadata, replace)
            if isinstance(key._value_buffer, StoredValue):
                self._write({"op": "metadata", "sequence": key.sequencer, "metadata": dict(key.metadata)})

        def announce(account_id: str, bucket: Any, event_name: Any, key: Any) -> None:
            self._announce(bucket, str(getattr(event_name, "value", event_name)).removeprefix("s3:"), key)

        original_put = patches.replace(S3Backend, "put_object", put_object)
        original_complete = patches.replace(S3Backend, "complete_multipart_upload", complete_multipart_upload)
        original_delete = patches.replace(S3Backend, "delete_object", delete_object)
        original_set_metadata = patches.replace(FakeKey, "set_metadata", set_metadata)
        patches.replace(notifications, "_send_event_bridge_message", announce)
        check_signatures(patches, [signatures.LOCAL], self.region)

    # Keeping

    def _keep(self, key: Any) -> None:
        """Write a version's bytes and its line in the journal, and let go of moto's copy."""
        sequence = self.sequence.next()
        path = self._path(key.bucket_name, sequence)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".part")
        etag = key.etag  # read while the bytes are at hand
        moved = key._value_buffer
        moved.seek(0)
        with temporary.open("wb") as file:
            while block := moved.read(1024 * 1024):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        self._attach(key, sequence, key.contentsize)
        self._write(
            {
                "op": "put",
                "bucket": key.bucket_name,
                "key": key.name,
                "version": key.version_id,
                "sequence": sequence,
                "size": key.contentsize,
                "etag": etag.strip('"'),
                "modified": key.last_modified.isoformat(),
                "metadata": dict(key.metadata),
                "encryption": key.encryption,
                "storage": key.storage_class,
            }
        )

    def _mark(self, backend: Any, bucket_name: str, key_name: str, marker: Any) -> None:
        marker.sequencer = self.sequence.next()
        self._write(
            {
                "op": "marker",
                "bucket": bucket_name,
                "key": key_name,
                "version": marker.version_id,
                "sequence": marker.sequencer,
                "modified": marker.last_modified.isoformat(),
            }
        )

    def _attach(self, key: Any, sequence: str, size: int) -> None:
        key._value_buffer.close()
        key._value_buffer = StoredValue(self._path(key.bucket_name, sequence))
        key.disposed = True  # there is nothing left that would have to be closed
        key.contentsize = size
        key.sequencer = sequence

    def _drop_replaced(self, backend: Any, bucket_name: str, key_name: str, before: list[Any]) -> None:
        after = _versions(backend, bucket_name, key_name)
        for version in before:
            sequence = getattr(version, "sequencer", None)
            if sequence is not None and all(version is not other for other in after):
                self._write({"op": "drop", "sequence": sequence})
                self._path(bucket_name, sequence).unlink(missing_ok=True)

    def _path(self, bucket: str, sequence: str) -> Path:
        return self.folder / bucket / sequence[-2:] / sequence

    @contextlib.contextmanager
    def _exclusively(self, bucket: str, key: str) -> Iterator[None]:
        """One change of a key at a time: moto would lose one of two versions put at once."""
        with self._locks[hash((bucket, key)) % LOCKS]:
            yield

    # The journal

    def _write(self, entry: Mapping[str, Any]) -> None:
        line = json.dumps(entry, separators=(",", ":")).encode() + b"\n"
        with self._journal_lock, self._journal_path.open("ab") as journal:
            journal.write(line)
            journal.flush()
            os.fsync(journal.fileno())

    def _read_journal(self) -> Iterator[dict[str, Any]]:
        with contextlib.suppress(FileNotFoundError), self._journal_path.open("rb") as journal:
            for line in journal:
                # A line that is cut off was never answered for.
                with contextlib.suppress(ValueError):
                    yield json.loads(line)

    def _replay(self) -> dict[str, dict[str, Any]]:
        """Entries of the versions that are still there, oldest first, by sequence number."""
        entries: dict[str, dict[str, Any]] = {}
        for entry in self._read_journal():
            match entry["op"]:
                case "put" | "marker":
                    entries[entry["sequence"]] = entry
                case "metadata" if entry["sequence"] in entries:
                    entries[entry["sequence"]]["metadata"] = entry["metadata"]
                case "drop":
                    entries.pop(entry["sequence"], None)
                    self.sequence.seen(entry["sequence"])
                case "floor":
                    self.sequence.seen(entry["sequence"])
        return dict(sorted(entries.items()))

    def _compact(self, entries: Mapping[str, Mapping[str, Any]]) -> None:
        temporary = self._journal_path.with_suffix(".part")
        with temporary.open("w", encoding="utf-8") as journal:
            for entry in [{"op": "floor", "sequence": self.sequence.next()}, *entries.values()]:
                journal.write(json.dumps(entry, separators=(",", ":")) + "\n")
            journal.flush()
            os.fsync(journal.fileno())
        temporary.replace(self._journal_path)

    def _sweep(self, entries: Mapping[str, Mapping[str, Any]]) -> None:
        """Remove files whose line never came to be, or was dropped just before the end."""
        for path in self.folder.glob("*/??/*"):
            if path.name not in entries:
                path.unlink()

    # Announcing

    def _announce(self, bucket: Any, event_name: str, key: Any) -> None:
        if event_name not in REASONS:
            return
        detail_type, reason = REASONS[event_name]
        described = {
            "key": key.name,
            "size": key.size,
            "etag": key.etag.strip('"'),
            "version-id": key.version_id,
            "sequencer": getattr(key, "sequencer", None) or self.sequence.next(),
        }
        if detail_type == "Object Deleted":
            described = {name: described[name] for name in ("key", "etag", "version-id", "sequencer")}
        if key.version_id == "null":
            del described["version-id"]
        detail = {
            "version": "0",
            "bucket": {"name": bucket.name},
            "object": described,
            "request-id": uuid.uuid4().hex[:16].upper(),
            "requester": self.account,
            "source-ip-address": "127.0.0.1",
            "reason": reason,
        }
        if detail_type == "Object Deleted":
            detail["deletion-type"] = "Permanently Deleted"
        event = bus.envelope(
            detail_type,
            "aws.s3",
            detail,
            account=self.account,
            region=self.region,
            resources=[bucket.arn],
            time=datetime.now(UTC),
        )
        bus.deliver(self.account, self.region, "default", event)


def _versions(backend: Any, bucket_name: str, key_name: str) -> list[Any]:
    return list(backend.get_bucket(bucket_name).keys.getlist(key_name, []))


def check_signatures(patches: Patches, known: Collection[signatures.Credentials], region: str) -> None:
    """Have moto's S3 refuse what is not signed, or was signed for something else.

    Args:
        known: the credentials whose signatures can be checked.
        region: of the buckets.
    """
    from moto.s3.responses import S3Response

    def refused(response: Any, request: Any, full_url: str) -> Any:
        """Return S3's answer to a request that it refuses, None to any other."""
        if request.method == "OPTIONS":
            return None  # what a browser asks before it asks
        now = datetime.now(UTC)
        try:
            if request.method == "POST" and request.mimetype == "multipart/form-data":
                response.headers = request.headers
                bucket = response.parse_bucket_name_from_url(request, full_url)
                fields = list(request.form.items(multi=True))
                sizes = [(name, _size(file.stream)) for name, file in request.files.items(multi=True)]
                signatures.check_form(fields, sizes, bucket, known, region, now)
            else:
                signatures.check(_seen(request), known, region, now)
        except signatures.RefusedError as error:
            for _, file in request.files.items(multi=True):
                file.close()
            body = b"" if request.method == "HEAD" else error.xml()
            return error.status, {"content-type": "application/xml"}, body
        return None

    def bucket_response(response: Any, request: Any, full_url: str, headers: Any) -> Any:
        return refused(response, request, full_url) or original_bucket(response, request, full_url, headers)

    def key_response(response: Any, request: Any, full_url: str, headers: Any) -> Any:
        return refused(response, request, full_url) or original_key(response, request, full_url, headers)

    original_bucket = patches.replace(S3Response, "bucket_response", bucket_response)
    original_key = patches.replace(S3Response, "key_response", key_response)


def _size(stream: Any) -> int:
    size: int = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    return size


def _seen(request: Any) -> signatures.Request:
    return signatures.Request(
        method=request.method,
        path=request.raw_path,
        query=request.query_string.decode("ascii", "surrogateescape"),
        headers={name.lower(): value for name, value in request.headers.items()},
    )
