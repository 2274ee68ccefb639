"""What has been kept long enough, and goes: a chunk at a time, so that nobody waits for what it locks.

docs/operations.md says how long everything is kept.
"""

from collections.abc import Callable

from shared import database, objects

CHUNK = 5000
"""Rows to a transaction."""
RUNS = 200
"""Runs between two looks at the clock, each with a report to remove."""

# Nothing that is older can still arrive: queues keep messages for 4 days, their dead letters for 14.
MARKS_OF_ALL = """
DELETE FROM deleted_items
 WHERE ctid = ANY (ARRAY(SELECT ctid FROM deleted_items
                          WHERE deleted_at < now() - interval '30 days' AND objects_removed_at IS NOT NULL
                          LIMIT %(chunk)s))
"""

RECEIPTS_OF_ALL = """
DELETE FROM erasures
 WHERE ctid = ANY (ARRAY(SELECT ctid FROM erasures
                          WHERE finished_at < now() - interval '30 days'
                          LIMIT %(chunk)s))
"""

# Of a run whose end nobody ever heard of, the sweeper takes no more notice after 60 days.
RESULTS_OF_ALL = """
DELETE FROM scan_results
 WHERE ctid = ANY (ARRAY(SELECT results.ctid
                           FROM scan_runs AS runs
                           JOIN scan_results AS results
                             ON results.run_owner = runs.user_id AND results.run_id = runs.run_id
                          WHERE coalesce(runs.finished_at, runs.created_at + interval '60 days')
                                < now() - interval '30 days'
                          LIMIT %(chunk)s))
"""

FINDINGS_OF_ALL = """
DELETE FROM scan_findings
 WHERE ctid = ANY (ARRAY(SELECT findings.ctid
                           FROM scan_runs AS runs
                           JOIN scan_findings AS findings
                             ON findings.run_owner = runs.user_id AND findings.run_id = runs.run_id
                          WHERE coalesce(runs.finished_at, runs.created_at + interval '60 days')
                                < now() - interval '30 days'
                          LIMIT %(chunk)s))
"""

# A year's runs tell a person how their scans went. The operator's name others, and go with their files.
OLD_RUNS_OF_ALL = """
SELECT runs.user_id, runs.run_id, runs.report_key FROM scan_runs AS runs
 WHERE coalesce(runs.finished_at, runs.created_at + interval '60 days')
       < now() - CASE WHEN runs.user_id = '*' THEN interval '30 days' ELSE interval '400 days' END
   AND NOT EXISTS (SELECT FROM scan_results AS results
                    WHERE results.run_owner = runs.user_id AND results.run_id = runs.run_id)
   AND NOT EXISTS (SELECT FROM scan_findings AS findings
                    WHERE findings.run_owner = runs.user_id AND findings.run_id = runs.run_id)
 LIMIT %(limit)s
"""

# Of Stripe's, what changed somebody's subscription stays: what they have is worked out from all of it.
WEBHOOKS_OF_ALL = """
DELETE FROM webhook_events
 WHERE ctid = ANY (ARRAY(SELECT ctid FROM webhook_events
                          WHERE received_at < now() - interval '90 days'
                            AND (provider <> 'stripe' OR outcome IN ('ignored', 'waiting'))
                          LIMIT %(chunk)s))
"""

MAILS_OF_ALL = """
DELETE FROM mails
 WHERE ctid = ANY (ARRAY(SELECT ctid FROM mails
                          WHERE created_at < now() - interval '400 days'
                          LIMIT %(chunk)s))
"""

MAIL_EVENTS_OF_ALL = """
DELETE FROM email_events
 WHERE ctid = ANY (ARRAY(SELECT ctid FROM email_events
                          WHERE occurred_at < now() - interval '400 days'
                          LIMIT %(chunk)s))
"""

REMOVE = "DELETE FROM scan_runs WHERE user_id = %(user_id)s AND run_id = %(run_id)s"


def rows(statement: str, go_on: Callable[[], bool]) -> int:
    """Delete chunk after chunk by one of the statements above; returns how many rows that were.

    Raises:
        TransientError: the database gave up.
    """
    gone = 0
    while go_on():
        with database.transaction() as cursor:
            count = cursor.execute(statement, {"chunk": CHUNK}).rowcount
        gone += count
        if count < CHUNK:
            break
    return gone


def runs(media_bucket: str, go_on: Callable[[], bool]) -> int:
    """Delete runs of long ago, each with its report; returns how many that were.

    Raises:
        TransientError: S3 or the database gave up.
    """
    gone = 0
    while go_on():
        found = database.fetch_all(OLD_RUNS_OF_ALL, {"limit": RUNS})
        for row in found:
            if row["report_key"]:
                objects.remove_versions(media_bucket, f"{row['report_key']}.")
            with database.transaction() as cursor:
                cursor.execute(REMOVE, {"user_id": row["user_id"], "run_id": row["run_id"]})
        gone += len(found)
        if len(found) < RUNS:
            break
    return gone
