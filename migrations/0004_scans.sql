-- Scans, which come again by themselves, and runs: work over many items, by the state machine.
--
-- `user_id` is the person whose run or scan it is. The reserved '*' is nobody's: a run of the operator over
-- everybody, which no route of the API shows. It cannot be a person, whose id is made by Cognito.

-- What somebody wants to be done again and again.
CREATE TABLE scans (
    user_id      text        NOT NULL CHECK (user_id <> ''),
    scan_id      uuid        NOT NULL,
    name         text        NOT NULL,
    work         jsonb       NOT NULL,
    schedule     jsonb       NOT NULL,
    zone         text        NOT NULL,
    enabled      boolean     NOT NULL DEFAULT true,
    next_run_at  timestamptz,
    last_run_at  timestamptz,
    last_run_id  uuid,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, scan_id)
);
CREATE INDEX scans_due ON scans (next_run_at) WHERE enabled;
COMMENT ON COLUMN scans.work IS '{"select", "stages", "check", "force", "max_cost_usd"}, as a run is asked for';
COMMENT ON COLUMN scans.schedule IS '{"every", "at", "weekday", "day"} or {"cron"}, in the zone of the scan';
COMMENT ON COLUMN scans.next_run_at IS 'null where the schedule never comes again';

-- One piece of work over many items. It outlives its scan.
CREATE TABLE scan_runs (
    user_id       text        NOT NULL CHECK (user_id <> ''),
    run_id        uuid        NOT NULL,
    scan_id       uuid,
    kind          text        NOT NULL,
    request       jsonb       NOT NULL,
    status        text        NOT NULL DEFAULT 'queued'
        CHECK (status IN ('queued', 'running', 'planned', 'succeeded', 'failed', 'cancelled', 'timed_out')),
    error_code    text,
    error_message text,
    execution_arn text,
    estimate      jsonb,
    planned_items bigint,
    summary       jsonb,
    report_key    text,
    created_at    timestamptz NOT NULL DEFAULT now(),
    started_at    timestamptz,
    finished_at   timestamptz,
    PRIMARY KEY (user_id, run_id)
);
CREATE INDEX scan_runs_by_age ON scan_runs (user_id, created_at DESC, run_id DESC);
CREATE INDEX scan_runs_of_scan ON scan_runs (user_id, scan_id, created_at DESC);
CREATE INDEX scan_runs_open ON scan_runs (created_at) WHERE finished_at IS NULL;
COMMENT ON COLUMN scan_runs.request IS 'the input of the execution: starting it again finds everything done';
COMMENT ON COLUMN scan_runs.estimate IS '{"items", "analyses", "embeddings", "input_tokens", "output_tokens", "usd", "basis"}';
COMMENT ON COLUMN scan_runs.status IS 'planned: a dry run, which ended with its estimate';
COMMENT ON COLUMN scan_runs.summary IS 'what the report says, once there is one';

-- What became of each item of a run; the same run over the same item stays one row.
-- `user_id` is whose item it is, and `run_owner` whose run: the same, but for runs of the operator.
CREATE TABLE scan_results (
    user_id       text           NOT NULL,
    run_id        uuid           NOT NULL,
    item_id       uuid           NOT NULL,
    run_owner     text           NOT NULL,
    outcome       text           NOT NULL CHECK (outcome IN ('done', 'ignored', 'rejected', 'failed')),
    on_process    text,
    on_analyze    text,
    on_embed      text,
    stage         text,
    code          text,
    message       text,
    input_tokens  bigint         NOT NULL DEFAULT 0,
    output_tokens bigint         NOT NULL DEFAULT 0,
    cost_usd      numeric(15, 9) NOT NULL DEFAULT 0,
    began_at      timestamptz    NOT NULL,
    ended_at      timestamptz    NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, run_id, item_id),
    FOREIGN KEY (run_owner, run_id) REFERENCES scan_runs (user_id, run_id) ON DELETE CASCADE,
    CHECK (run_owner IN (user_id, '*'))
);
CREATE INDEX scan_results_of_run ON scan_results (run_owner, run_id, outcome)
    INCLUDE (user_id, on_process, on_analyze, on_embed, cost_usd);
COMMENT ON COLUMN scan_results.outcome IS 'rejected: the item''s own fault; failed: ours, worth a replay';
COMMENT ON COLUMN scan_results.cost_usd IS 'of the ledger for this item, while the run worked on it';

-- What a check found out about objects and rows; nothing is ever deleted because of it.
CREATE TABLE scan_findings (
    user_id    text        NOT NULL,
    run_id     uuid        NOT NULL,
    kind       text        NOT NULL,
    subject    text        NOT NULL,
    item_id    uuid,
    run_owner  text        NOT NULL,
    found_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, run_id, kind, subject),
    FOREIGN KEY (run_owner, run_id) REFERENCES scan_runs (user_id, run_id) ON DELETE CASCADE,
    CHECK (run_owner IN (user_id, '*'))
);
CREATE INDEX scan_findings_of_run ON scan_findings (run_owner, run_id, kind);
COMMENT ON COLUMN scan_findings.subject IS 'the key of the object that is missing, or that no row names';

-- Items that sat in a state for too long, and how often they were sent round again because of it.
CREATE TABLE sweeps (
    user_id        text        NOT NULL,
    item_id        uuid        NOT NULL,
    status         text        NOT NULL,
    object_version text        NOT NULL DEFAULT '',
    times          integer     NOT NULL DEFAULT 1,
    swept_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, item_id),
    FOREIGN KEY (user_id, item_id) REFERENCES items ON DELETE CASCADE
);
CREATE INDEX deleted_items_by_age ON deleted_items (deleted_at);
CREATE INDEX items_unfinished ON items (status, updated_at) WHERE status IN ('pending', 'processed', 'analyzed');
CREATE INDEX usage_ledger_of_item ON usage_ledger (user_id, item_id, occurred_at);
