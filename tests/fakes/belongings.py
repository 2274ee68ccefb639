"""Somebody who has used everything: a row in every table, objects of every kind in both buckets."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import psycopg

from shared import items
from tests.conftest import Aws
from tests.fakes.pictures import picture

Database = psycopg.Connection[dict[str, Any]]

REST = """
INSERT INTO item_events (user_id, item_id, stage, event) VALUES (%(user)s, %(item)s, 'api', 'pending');
INSERT INTO corrections (user_id, item_id, headline, tags) VALUES (%(user)s, %(item)s, 'Mine', '{one,two}');
INSERT INTO model_replies (user_id, sha256, prompt_hash, provider, model, reply)
VALUES (%(user)s, 'ab', 'hash', 'offline', 'offline-1', '{"said": "ö"}');
INSERT INTO usage_ledger (user_id, item_id, stage, provider, model, input_tokens, cost_usd)
VALUES (%(user)s, %(item)s, 'analyzer', 'anthropic', 'claude', 1200, 0.001234567);
INSERT INTO user_profiles (user_id, email, email_key, subscription_tier, usage_limits, stripe_customer_id)
VALUES (%(user)s, %(email)s, %(email)s, 'free', '{"items": 2000}', 'cus_' || %(user)s);
INSERT INTO audit_log (user_id, event, outcome) VALUES (%(user)s, 'signed_in', 'allowed');
INSERT INTO deleted_items (user_id, item_id, object_key) VALUES (%(user)s, gen_random_uuid(), 'gone');
INSERT INTO exports (user_id, export_id, status, finished_at)
VALUES (%(user)s, gen_random_uuid(), 'succeeded', now() - interval '2 days');
INSERT INTO scans (user_id, scan_id, name, work, schedule, zone)
VALUES (%(user)s, gen_random_uuid(), 'nightly', '{"check": "objects"}', '{"every": "day", "at": "03:00"}',
        'UTC');
INSERT INTO scan_runs (user_id, run_id, kind, request) VALUES (%(user)s, %(run)s, 'reprocess', '{}');
INSERT INTO scan_results (user_id, run_id, item_id, run_owner, outcome, began_at)
VALUES (%(user)s, %(run)s, %(item)s, %(user)s, 'done', now());
INSERT INTO scan_findings (user_id, run_id, kind, subject, run_owner)
VALUES (%(user)s, %(run)s, 'missing', 'key', %(user)s);
INSERT INTO sweeps (user_id, item_id, status) VALUES (%(user)s, %(item)s, 'processed');
INSERT INTO usage_counters (user_id, meter, used) VALUES (%(user)s, 'items', 2);
INSERT INTO quota_reservations (user_id, reservation_id, stage, period, usd, expires_at)
VALUES (%(user)s, gen_random_uuid(), 'analyzer', '2026-11', 0, now());
INSERT INTO webhook_events (provider, event_id, user_id, event_type, subject, occurred_at, body)
VALUES ('stripe', 'evt_' || %(user)s, %(user)s, 'invoice.paid', 'cus_1', now(), '{"name": "\u00f6"}');
INSERT INTO mails (user_id, mail_id, kind, occasion, status, message_id, region, sent_at)
VALUES (%(user)s, gen_random_uuid(), 'scan_complete', %(run)s::text, 'sent', 'message-' || %(user)s,
        'us-east-1', now());
INSERT INTO email_events (event_id, address_key, user_id, message_id, event_type, occurred_at)
VALUES ('delivered-' || %(user)s, 'ab', %(user)s, 'message-' || %(user)s, 'Delivery', now());
INSERT INTO imports (user_id, import_id, fingerprint, name)
VALUES (%(user)s, %(imported)s, 'ab', 'collection.db');
INSERT INTO import_items (user_id, item_id, import_id, source, updated_at, embedding)
VALUES (%(user)s, %(brought)s, %(imported)s, '{"filename": "ö"}', now(),
        (SELECT array_agg(1)::halfvec FROM generate_series(1, 1024)))
"""


@dataclass(frozen=True)
class Belongings:
    """What there is.

    Attributes:
        first, second: ids of the two items; the first one's original has two versions.
        versions: of all objects, delete markers included; `size` is their bytes.
        rows: how many there are of each table that has some.
    """

    user_id: str
    first: UUID
    second: UUID
    versions: int
    size: int
    rows: dict[str, int]


def everything_of(db: Database, aws: Aws, user_id: str) -> Belongings:
    """Give a user a bit of everything."""
    first, second = uuid4(), uuid4()
    old = aws.s3.put_object(Bucket=aws.uploads, Key=items.uploads_key(user_id, first), Body=b"old")
    new = aws.s3.put_object(Bucket=aws.uploads, Key=items.uploads_key(user_id, first), Body=b"original")
    assert old["VersionId"] != new["VersionId"]
    more = {"object_version": new["VersionId"], "sha256": "ab", "file_size": 8, "perceptual_hash": -1}
    picture(db, user_id, "Tabby cat", item_id=first, summary="Grüße \U0001f431", **more)
    picture(db, user_id, "A dog", item_id=second, status="pending", image_width=None, thumbnail_width=None)
    values = {
        "user": user_id,
        "item": first,
        "brought": second,
        "run": uuid4(),
        "imported": uuid4(),
        "email": f"{user_id}@example.com",
    }
    for statement in REST.split(";"):
        db.execute(statement, values)
    kept = {
        items.image_key(user_id, first): b"image",
        items.thumbnail_key(user_id, first): b"thumb",
        f"{user_id}/exports/{uuid4()}.ndjson.gz": b"export",
        f"{user_id}/reports/{uuid4()}.html": b"report",
        f"*/runs/{user_id}/{uuid4()}/manifest-0001.csv": b"manifest",
        f"{user_id}/sp ace & <ö>+%41": b"operator's",
    }
    for key, body in kept.items():
        aws.s3.put_object(Bucket=aws.media, Key=key, Body=body)
    aws.s3.delete_object(Bucket=aws.media, Key=items.thumbnail_key(user_id, first))  # leaves a marker
    aws.s3.create_multipart_upload(Bucket=aws.media, Key=f"{user_id}/exports/half")
    size = len(b"old") + len(b"original") + sum(len(body) for body in kept.values())
    there = {table: number for table, number in rows(db, user_id).items() if number}
    return Belongings(user_id, first, second, versions=2 + len(kept) + 1, size=size, rows=there)


def rows(db: Database, user_id: str) -> dict[str, int]:
    """Number of a user's rows, by table, of every table that could hold one."""
    from psycopg import sql

    tables = db.execute(
        """
        SELECT DISTINCT table_name AS name FROM information_schema.columns
          JOIN information_schema.tables USING (table_schema, table_name)
         WHERE column_name = 'user_id' AND table_schema = 'public' AND table_type = 'BASE TABLE'
        """
    ).fetchall()
    query = sql.SQL("SELECT count(*) AS number FROM {} WHERE user_id = %s")
    found = {}
    for table in (row["name"] for row in tables):
        row = db.execute(query.format(sql.Identifier(table)), (user_id,)).fetchone()
        assert row is not None
        found[table] = int(row["number"])
    return found


def object_versions(aws: Aws, user_id: str) -> list[tuple[str, str]]:
    """Bucket and key of every version and marker of a user's objects, and of their unfinished uploads."""
    found = []
    places = ((aws.uploads, ""), (aws.media, ""), (aws.media, "*/runs/"))
    for bucket, before in places:
        prefix = f"{before}{user_id}/"
        page = aws.s3.list_object_versions(Bucket=bucket, Prefix=prefix)
        versions = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
        uploads = aws.s3.list_multipart_uploads(Bucket=bucket, Prefix=prefix).get("Uploads", [])
        found += [(bucket, each["Key"]) for each in [*versions, *uploads]]
    return found
