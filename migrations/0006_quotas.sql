-- Quotas: how much somebody has of what is limited, counted so that a limit is never passed.
--
-- A counter is raised by code, in one statement that compares it with the limit. It is lowered by triggers,
-- so that none who deletes can forget it; and money that was spent is counted by a trigger of the ledger.
-- Counters are locked last in every transaction, a user's items before their storage; and whoever counts
-- money holds all of it (hold_money) before any counter of it: so nobody waits in a ring.

-- Limits are changed by hand too. What a slip of the pen would turn into no limit at all is refused.
ALTER TABLE user_profiles
    ADD CONSTRAINT usage_limits_are_known CHECK (
        jsonb_typeof(usage_limits) = 'object'
        AND usage_limits - ARRAY['items', 'storage_bytes', 'model_usd_per_month', 'scans'] = '{}'
        AND NOT jsonb_path_exists(usage_limits, '$.* ? (@.type() != "number" && @.type() != "null" || @ < 0)')
    );

-- An item that does not fit into what its owner may have waits, and goes on from where it was.
ALTER TABLE items
    DROP CONSTRAINT items_status_check,
    ADD CONSTRAINT items_status_check
        CHECK (status IN ('pending', 'processed', 'analyzed', 'ready', 'rejected', 'failed', 'over_quota')),
    ADD COLUMN held_status text CHECK (held_status IN ('pending', 'processed', 'analyzed')),
    ADD COLUMN counted boolean NOT NULL DEFAULT false,
    ADD COLUMN counted_bytes bigint NOT NULL DEFAULT 0,
    ADD CONSTRAINT items_held CHECK ((status = 'over_quota') = (held_status IS NOT NULL));
COMMENT ON COLUMN items.held_status IS 'the status that it goes on from; error_code is the meter it waits for';
COMMENT ON COLUMN items.counted IS 'whether it is one of its owner''s counted items';
COMMENT ON COLUMN items.counted_bytes IS 'of its owner''s counted storage';
CREATE INDEX items_held_by_age ON items (user_id, created_at, item_id) WHERE status = 'over_quota';
ALTER TABLE scans ADD COLUMN counted boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN scans.counted IS 'whether it is one of its owner''s counted scans';

-- `user_id` is '*' for the deployment as a whole. `period` is a month of UTC ('2026-11') for what is counted
-- anew each month, '' for what stands.
CREATE TABLE usage_counters (
    user_id text           NOT NULL CHECK (user_id <> ''),
    meter   text           NOT NULL CHECK (meter IN ('items', 'storage_bytes', 'scans', 'model_usd')),
    period  text           NOT NULL DEFAULT '' CHECK ((meter = 'model_usd') = (period <> '')),
    used    numeric(24, 9) NOT NULL DEFAULT 0 CHECK (used >= 0),
    PRIMARY KEY (user_id, meter, period)
);
COMMENT ON COLUMN usage_counters.used IS 'what is there and what is reserved; of money, US dollars';

-- What a call of a model may cost at the most, until it is known what it did cost. Shortly before a month
-- ends it is reserved in both months, for nobody knows in which of them the answer comes.
CREATE TABLE quota_reservations (
    user_id        text           NOT NULL,
    reservation_id uuid           NOT NULL,
    stage          text           NOT NULL,
    period         text           NOT NULL,
    usd            numeric(24, 9) NOT NULL CHECK (usd >= 0),
    expires_at     timestamptz    NOT NULL,
    PRIMARY KEY (user_id, reservation_id, period)
);
CREATE INDEX quota_reservations_by_expiry ON quota_reservations (expires_at);
COMMENT ON TABLE quota_reservations IS 'one whose holder died expires: no lost decrement stops anybody for ever';

-- One at a time counts money, until its transaction ends. The counter of the deployment would hold up the
-- others anyway; this way it does not matter in which order months, users and reservations are locked.
CREATE FUNCTION hold_money() RETURNS void
    LANGUAGE sql
    BEGIN ATOMIC
        SELECT pg_advisory_xact_lock(hashtextextended('money', 0));
    END;

-- Raise or lower a counter of money. Below nought there is nothing: a deletion must never fail for a counter.
CREATE FUNCTION count_money(owner text, month text, usd numeric) RETURNS void
    LANGUAGE sql
    BEGIN ATOMIC
        INSERT INTO usage_counters (user_id, meter, period, used)
        VALUES (owner, 'model_usd', month, greatest(usd, 0))
            ON CONFLICT (user_id, meter, period) DO UPDATE SET used = greatest(usage_counters.used + usd, 0);
    END;

CREATE FUNCTION count_money_of_all(month text, usd numeric) RETURNS void
    LANGUAGE sql
    BEGIN ATOMIC
        INSERT INTO usage_counters (user_id, meter, period, used)
        VALUES ('*', 'model_usd', month, greatest(usd, 0))
            ON CONFLICT (user_id, meter, period) DO UPDATE SET used = greatest(usage_counters.used + usd, 0);
    END;

CREATE FUNCTION count_charges() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM hold_money() FROM charges WHERE cost_usd > 0 LIMIT 1;
    PERFORM count_money_of_all(month, usd), count_money(user_id, month, usd)
       FROM (SELECT user_id, to_char(occurred_at AT TIME ZONE 'UTC', 'YYYY-MM') AS month, sum(cost_usd) AS usd
               FROM charges GROUP BY 1, 2 HAVING sum(cost_usd) > 0) AS spent;
    RETURN NULL;
END $$;
CREATE TRIGGER count_charges AFTER INSERT ON usage_ledger
    REFERENCING NEW TABLE AS charges
    FOR EACH STATEMENT EXECUTE FUNCTION count_charges();

CREATE FUNCTION free_reservations() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM hold_money() FROM gone WHERE usd > 0 LIMIT 1;
    PERFORM count_money_of_all(period, -usd), count_money(user_id, period, -usd)
       FROM (SELECT user_id, period, sum(usd) AS usd FROM gone WHERE usd > 0 GROUP BY 1, 2) AS freed;
    RETURN NULL;
END $$;
CREATE TRIGGER free_reservations AFTER DELETE ON quota_reservations
    REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION free_reservations();

-- What is deleted leaves room.
CREATE FUNCTION free_items() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM usage_counters
      WHERE user_id IN (SELECT user_id FROM gone) AND meter IN ('items', 'storage_bytes')
      ORDER BY user_id, meter FOR UPDATE;
    UPDATE usage_counters
       SET used = greatest(used - freed.amount, 0)
      FROM (SELECT user_id, 'items' AS meter, count(*) FILTER (WHERE counted) AS amount FROM gone GROUP BY 1
             UNION ALL
            SELECT user_id, 'storage_bytes', sum(counted_bytes) FROM gone GROUP BY 1) AS freed
     WHERE usage_counters.user_id = freed.user_id AND usage_counters.meter = freed.meter
       AND freed.amount > 0;
    RETURN NULL;
END $$;
CREATE TRIGGER free_items AFTER DELETE ON items
    REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION free_items();

CREATE FUNCTION free_scans() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE usage_counters
       SET used = greatest(used - freed.scans, 0)
      FROM (SELECT user_id, count(*) AS scans FROM gone WHERE counted GROUP BY 1) AS freed
     WHERE usage_counters.user_id = freed.user_id AND usage_counters.meter = 'scans';
    RETURN NULL;
END $$;
CREATE TRIGGER free_scans AFTER DELETE ON scans
    REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION free_scans();

-- What there is already. Of the operator, whose scans have the owner '*', only money is counted.
UPDATE items SET counted = true, counted_bytes = coalesce(file_size, 0);
UPDATE scans SET counted = true WHERE user_id <> '*';
INSERT INTO usage_counters (user_id, meter, used)
SELECT user_id, 'items', count(*) FROM items GROUP BY user_id
 UNION ALL
SELECT user_id, 'storage_bytes', sum(counted_bytes) FROM items GROUP BY user_id
 UNION ALL
SELECT user_id, 'scans', count(*) FROM scans WHERE counted GROUP BY user_id;
INSERT INTO usage_counters (user_id, meter, period, used)
SELECT coalesce(user_id, '*'), 'model_usd', month, sum(cost_usd)
  FROM (SELECT user_id, cost_usd, to_char(occurred_at AT TIME ZONE 'UTC', 'YYYY-MM') AS month
          FROM usage_ledger) AS spent
 GROUP BY GROUPING SETS ((user_id, month), (month));
