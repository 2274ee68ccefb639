"""People who all have the same file, and something in every table, marked with a word of their own.

Every text, key and id of a person holds that word, or is known by heart: an answer to somebody else that
holds one of them has let something through.
"""

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from uuid import uuid4

import psycopg
from psycopg import sql

from shared import hashed_words, items
from tests.conftest import Aws, client
from tests.fakes.http_api import Answer, Caller
from tests.fakes.pictures import picture
from tests.isolation import allowed
from tests.sql_capture import Sent, schema

Database = psycopg.Connection[dict[str, Any]]

SHA256 = "5e" * 32
"""Of the file that everybody has."""
HASH = 0x0F0F_0F0F_0F0F_0F0F

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|\+00(:00)?)")
_SIGNED = re.compile(r"\?[^\"\s]*X-Amz-[^\"\s]*")
_CURSOR = re.compile(r'"next_cursor": "([^"]*)"')
_PASSING = re.compile(r'"(correlation_id|expires_at)": "[^"]*"')

REST = """
INSERT INTO item_events (user_id, item_id, stage, event, detail)
VALUES (%(user)s, %(item)s, 'api', 'pending',
        jsonb_build_object('message', %(token)s::text, 'sha256', %(sha256)s::text));
INSERT INTO corrections (user_id, item_id, headline, tags)
VALUES (%(user)s, %(item)s, 'striped tabby ' || %(token)s, ARRAY['striped', %(token)s]);
INSERT INTO model_replies (user_id, sha256, prompt_hash, provider, model, reply)
VALUES (%(user)s, %(sha256)s, 'hash', 'offline', 'measured-1', %(token)s);
INSERT INTO usage_ledger (user_id, item_id, stage, provider, model, input_tokens, cost_usd)
VALUES (%(user)s, %(item)s, 'analyzer', 'anthropic', 'model-' || %(token)s, 1200, 0.001234567);
INSERT INTO user_profiles (user_id, email, email_key, subscription_tier, usage_limits, stripe_customer_id,
                           subscription_status)
VALUES (%(user)s, %(token)s || '@example.com', %(token)s || '@example.com', 'free', '{"items": 2000}',
        'cus_' || %(token)s, 'canceled');
INSERT INTO audit_log (user_id, event, outcome, detail)
VALUES (%(user)s, 'signed_in', 'allowed', jsonb_build_object('client', %(token)s::text));
INSERT INTO deleted_items (user_id, item_id, object_key, objects_removed_at)
VALUES (%(user)s, %(deleted)s, %(user)s || '/gone', now());
INSERT INTO exports (user_id, export_id, status, object_key, file_size, sha256, requested_at, finished_at)
VALUES (%(user)s, %(export)s, 'succeeded', %(user)s || '/exports/' || %(export)s || '.ndjson.gz', 5, 'ab',
        now() - interval '2 minutes', now() - interval '1 minute');
INSERT INTO scans (user_id, scan_id, name, work, schedule, zone)
VALUES (%(user)s, %(scan)s, 'nightly ' || %(token)s, '{"select": {"all": true}, "stages": ["embed"]}',
        '{"every": "day", "at": "03:00"}', 'UTC');
INSERT INTO scan_runs (user_id, run_id, scan_id, kind, request, status, error_message, finished_at)
VALUES (%(user)s, %(run)s, %(scan)s, 'reprocess',
        jsonb_build_object('user_id', %(user)s::text, 'run_id', %(run)s::text, 'kind', 'reprocess',
                           'select', jsonb_build_object('all', true), 'stages', jsonb_build_array('embed')),
        'failed', 'because of ' || %(token)s, now());
INSERT INTO scan_results (user_id, run_id, item_id, run_owner, outcome, stage, code, message, began_at)
VALUES (%(user)s, %(run)s, %(item)s, %(user)s, 'failed', 'embed', 'broken', 'for ' || %(token)s, now());
INSERT INTO scan_findings (user_id, run_id, kind, subject, run_owner)
VALUES (%(user)s, %(run)s, 'missing', %(user)s || '/images/1.jpg', %(user)s);
INSERT INTO sweeps (user_id, item_id, status) VALUES (%(user)s, %(item)s, 'processed');
INSERT INTO usage_counters (user_id, meter, used) VALUES (%(user)s, 'items', 1);
INSERT INTO quota_reservations (user_id, reservation_id, stage, period, usd, expires_at)
VALUES (%(user)s, gen_random_uuid(), %(token)s, '2026-11', 0, now() + interval '1 day');
INSERT INTO webhook_events (provider, event_id, user_id, event_type, subject, occurred_at, body)
VALUES ('stripe', 'evt_' || %(token)s, %(user)s, 'invoice.paid', 'cus_' || %(token)s, now(), %(token)s);
INSERT INTO mails (user_id, mail_id, kind, occasion, status, message_id, region, sent_at)
VALUES (%(user)s, gen_random_uuid(), 'scan_complete', %(run)s, 'sent', 'message-' || %(token)s, 'us-east-1',
        now());
INSERT INTO email_events (event_id, address_key, user_id, message_id, event_type, occurred_at)
VALUES ('delivered-' || %(token)s, %(token)s, %(user)s, 'message-' || %(token)s, 'Delivery', now());
INSERT INTO imports (user_id, import_id, fingerprint, name)
VALUES (%(user)s, %(imported)s, repeat('5e', 32), %(token)s || '.db');
INSERT INTO import_items (user_id, item_id, import_id, source, updated_at, sha256)
VALUES (%(user)s, %(alike)s, %(imported)s, jsonb_build_object('filename', %(token)s::text), now(),
        %(sha256)s),
       (%(user)s, %(copy)s, %(imported)s, '{}', now(), NULL)
"""


@dataclass
class Names:
    """Ids of things, somebody's or nobody's, that requests can be made with; the items' in their order."""

    item: str = field(default_factory=lambda: "0" + str(uuid4())[1:])
    copy: str = field(default_factory=lambda: "7" + str(uuid4())[1:])
    alike: str = field(default_factory=lambda: "f" + str(uuid4())[1:])
    deleted: str = field(default_factory=lambda: str(uuid4()))
    run: str = field(default_factory=lambda: str(uuid4()))
    scan: str = field(default_factory=lambda: str(uuid4()))
    export: str = field(default_factory=lambda: str(uuid4()))
    imported: str = field(default_factory=lambda: str(uuid4()))

    def all(self) -> set[str]:
        return set(vars(self).values())


@dataclass
class Person:
    """Somebody who is signed in.

    Attributes:
        token: a word that nobody else's things hold. It is part of the user id, and so of every key.
        names: of things that are theirs.
    """

    token: str
    call: Caller
    names: Names = field(default_factory=Names)

    @property
    def user_id(self) -> str:
        return self.call.user_id


class World:
    """The database and the buckets that people share without knowing of each other."""

    def __init__(self, aws: Aws, db: Database, client_id: str) -> None:
        self.aws, self.db = aws, db
        self._client_id = client_id
        client("stepfunctions").create_state_machine(
            name=aws.resources.ref("Reprocess").rpartition(":")[2],
            definition="{}",
            roleArn="arn:aws:iam::123456789012:role/test",
        )

    def person(self, token: str) -> Person:
        return Person(token, Caller(f"{token}-user", self._client_id))

    def fill(self, person: Person, objects: bool = True) -> None:
        """Give a person two pictures of the same file, one that looks like it, and a row in every table.

        Args:
            objects: whether the buckets hold what the rows speak of.
        """
        names, user_id = person.names, person.user_id
        self.picture(person, names.item, objects)
        self.picture(person, names.copy, objects, duplicate_of=names.item)
        self.picture(person, names.alike, objects, sha256=SHA256[::-1])
        values = {"user": user_id, "token": person.token, "sha256": SHA256, **vars(names)}
        psycopg.ClientCursor(self.db).execute(REST, values)
        self.db.execute("SELECT refresh_search_document(%s, %s)", (user_id, names.item))
        if objects:
            key = f"{user_id}/exports/{names.export}.ndjson.gz"
            self.aws.s3.put_object(Bucket=self.aws.media, Key=key, Body=person.token.encode())

    def picture(self, person: Person, item_id: str, objects: bool = True, **columns: Any) -> None:
        """Give a person the file that everybody has, with its objects."""
        user_id = person.user_id
        kept = (
            (self.aws.uploads, items.uploads_key(user_id, item_id)),
            (self.aws.media, items.image_key(user_id, item_id)),
            (self.aws.media, items.thumbnail_key(user_id, item_id)),
        )
        for bucket, key in kept if objects else ():
            stored = self.aws.s3.put_object(Bucket=bucket, Key=key, Body=person.token.encode())
            columns.setdefault("object_version", stored.get("VersionId"))
        picture(
            self.db,
            user_id,
            f"tabby cat {person.token}",
            filename=f"cat {item_id[0]} {person.token}.jpg",
            category="Animal",
            summary=f"a tabby cat sleeps, says {person.token}",
            details={"extracted_text": [person.token]},
            item_id=item_id,
            vector=_vector(),
            **{"sha256": SHA256, "perceptual_hash": HASH, "file_size": len(person.token)} | columns,
        )

    def rows(self, user_id: str) -> dict[str, list[dict[str, Any]]]:
        """Everything that the tables hold of a user, by table."""
        query = sql.SQL(
            "SELECT to_jsonb(t) AS row FROM {} AS t WHERE user_id = %s ORDER BY to_jsonb(t)::text"
        )
        return {
            table: [
                found["row"] for found in self.db.execute(query.format(sql.Identifier(table)), (user_id,))
            ]
            for table in sorted(schema().tenant_tables)
        }

    def objects(self, user_id: str) -> list[tuple[str, str, str]]:
        """Bucket, key and version of everything that the buckets hold of a user."""
        found = []
        for bucket in (self.aws.uploads, self.aws.media):
            page = self.aws.s3.list_object_versions(Bucket=bucket, Prefix=f"{user_id}/")
            for each in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]:
                found.append((bucket, each["Key"], each["VersionId"]))
        return sorted(found)

    def belongings(self, person: Person) -> tuple[object, object]:
        return self.rows(person.user_id), self.objects(person.user_id)


@cache
def _vector() -> list[float] | None:
    """Everybody's, so that scores can be compared."""
    return hashed_words.embed("an animal: a striped tabby cat sleeps")


def assert_held_to(user_id: str, sent: list[Sent], what: object) -> None:
    """Check that every statement about people's rows was about one person's only."""
    for statement in sent:
        assert statement.users <= {user_id}, f"{what}: {statement.text}"
        if statement.tables and statement.text not in allowed.statements():
            assert statement.users, f"{what}: {statement.text}"


def text_of(answer: Answer) -> str:
    """All of an answer: headers and body."""
    return json.dumps([answer.headers, answer.body], sort_keys=True)


def strange(answer: Answer, others: list[Person]) -> list[str]:
    """What an answer holds of people whom it is not for."""
    text = text_of(answer)
    return [word for person in others for word in (person.token, *person.names.all()) if word in text]


def comparable(answer: Answer) -> str:
    """An answer without what differs each time: signatures, and when they end."""
    return _PASSING.sub("", f"{answer.status} {_SIGNED.sub('?signed', text_of(answer))}")


def anonymous(text: str, person: Person | None = None) -> str:
    """A text without ids and times, and without what says whose it is; cursors are opened first."""
    text = _CURSOR.sub(_opened, text)
    if person is not None:
        text = text.replace(person.token, "<word>")
    return _TIME.sub("<time>", _UUID.sub("<id>", text))


def _opened(found: re.Match[str]) -> str:
    fingerprint, *place = json.loads(base64.urlsafe_b64decode(found[1] + "=="))
    return f'"next_cursor": {json.dumps(place)}'


def urls(value: Any) -> Iterator[str]:
    """Every URL in a JSON value."""
    if isinstance(value, dict):
        for part in value.values():
            yield from urls(part)
    elif isinstance(value, list):
        for part in value:
            yield from urls(part)
    elif isinstance(value, str) and value.startswith("https://"):
        yield value
