"""Which tables hold something of users: what an export copies and an erasure empties.

A test compares the list with the migrated database, so that no later table is forgotten.
"""

TABLES = (
    "user_profiles",
    "items",
    "imports",
    "import_items",
    "corrections",
    "analyses",
    "embeddings",
    "search_documents",
    "search_words",
    "item_events",
    "model_replies",
    "usage_ledger",
    "deleted_items",
    "exports",
    "audit_log",
    "scans",
    "scan_runs",
    "scan_results",
    "scan_findings",
    "sweeps",
    "usage_counters",
    "quota_reservations",
    "webhook_events",
    "mails",
    "email_events",
)
"""Every table with a `user_id`, each after those that it refers to, but for `erasures`: receipts stay."""
