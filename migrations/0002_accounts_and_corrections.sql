-- Accounts, corrections by people, and what is left of what was deleted.

-- What an item is; documents come later.
ALTER TABLE items ADD COLUMN kind text NOT NULL DEFAULT 'image' CHECK (kind IN ('image'));

-- What a person says of an item in place of the model. What the model said stays as it is, in `analyses`.
CREATE TABLE corrections (
    user_id      text        NOT NULL,
    item_id      uuid        NOT NULL,
    category     text,
    headline     text,
    summary      text,
    tags         text[],
    corrected_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, item_id),
    FOREIGN KEY (user_id, item_id) REFERENCES items ON DELETE CASCADE,
    CHECK (num_nonnulls(category, headline, summary, tags) > 0)
);
COMMENT ON TABLE corrections IS 'a null column is not corrected: there the analysis speaks';

-- The category that is shown: the person's, else that of the current analysis. It stands on the item because
-- lists are filtered by it; three triggers keep it, so that none who writes to these tables can forget it.
ALTER TABLE items ADD COLUMN category text;
COMMENT ON COLUMN items.category IS 'as shown: the correction, else the current analysis; kept by triggers';

UPDATE items
   SET category = analyses.category
  FROM analyses
 WHERE analyses.user_id = items.user_id
   AND analyses.item_id = items.item_id
   AND analyses.version = items.analysis_version;

CREATE FUNCTION shown_category(owner text, item uuid, analysis integer) RETURNS text
    LANGUAGE sql STABLE
    BEGIN ATOMIC
        SELECT coalesce((SELECT corrections.category FROM corrections
                          WHERE corrections.user_id = owner AND corrections.item_id = item),
                        (SELECT analyses.category FROM analyses
                          WHERE analyses.user_id = owner AND analyses.item_id = item
                            AND analyses.version = analysis));
    END;

CREATE FUNCTION show_category_of_analysis() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.category := shown_category(NEW.user_id, NEW.item_id, NEW.analysis_version);
    RETURN NEW;
END $$;
CREATE TRIGGER show_category BEFORE UPDATE OF analysis_version ON items
    FOR EACH ROW EXECUTE FUNCTION show_category_of_analysis();

-- For whoever names the current analysis before it is there: a restored dump, a test.
CREATE FUNCTION show_category_of_new_analyses() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE items
       SET category = shown_category(items.user_id, items.item_id, items.analysis_version)
      FROM added
     WHERE items.user_id = added.user_id
       AND items.item_id = added.item_id
       AND items.analysis_version = added.version;
    RETURN NULL;
END $$;
CREATE TRIGGER show_category AFTER INSERT ON analyses
    REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION show_category_of_new_analyses();

CREATE FUNCTION show_category_of_correction() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    touched corrections := coalesce(NEW, OLD);
BEGIN
    UPDATE items
       SET category = shown_category(items.user_id, items.item_id, items.analysis_version)
     WHERE items.user_id = touched.user_id AND items.item_id = touched.item_id
       AND items.category IS DISTINCT FROM
           shown_category(items.user_id, items.item_id, items.analysis_version);
    RETURN NULL;
END $$;
CREATE TRIGGER show_category AFTER INSERT OR UPDATE OR DELETE ON corrections
    FOR EACH ROW EXECUTE FUNCTION show_category_of_correction();

-- Lists of 100 by each filter and each sort, for somebody with 20,000 items of 100,000: 13 to 38 ms without
-- these, 1 to 7 ms with. What a picture may lack stands last, and is no null, so that a page can begin anywhere.
CREATE INDEX items_by_category ON items (user_id, category, created_at DESC, item_id DESC);
CREATE INDEX items_by_update ON items (user_id, updated_at DESC, item_id DESC);
CREATE INDEX items_by_name ON items (user_id, lower(filename), item_id);
CREATE INDEX items_by_capture ON items (user_id, coalesce(captured_at, '-infinity') DESC, item_id DESC);
CREATE INDEX items_by_size ON items (user_id, coalesce(file_size, -1) DESC, item_id DESC);
CREATE INDEX items_duplicates ON items (user_id, duplicate_of) WHERE duplicate_of IS NOT NULL;
CREATE INDEX items_not_ready ON items (user_id, status, created_at DESC, item_id DESC) WHERE status <> 'ready';

-- Who uses this deployment, and how much of it they may. Cognito keeps everything else about a person.
CREATE TABLE user_profiles (
    user_id           text        PRIMARY KEY CHECK (user_id <> ''),
    email             text,
    email_key         text UNIQUE,
    status            text        NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended')),
    status_reason     text,
    subscription_tier text        NOT NULL,
    usage_limits      jsonb       NOT NULL,
    created_at        timestamptz NOT NULL DEFAULT now(),
    updated_at        timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN user_profiles.email_key IS 'what all spellings of one mailbox have in common';
COMMENT ON COLUMN user_profiles.usage_limits IS '{"items", "storage_bytes", "model_usd_per_month", "scans"}; null is no limit';

-- Who tried to sign in, was suspended, was deleted.
CREATE TABLE audit_log (
    user_id     text        NOT NULL,
    audit_id    bigint      GENERATED ALWAYS AS IDENTITY,
    event       text        NOT NULL,
    outcome     text        NOT NULL,
    detail      jsonb       NOT NULL DEFAULT '{}',
    occurred_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (user_id, audit_id)
);

-- Deleted items, for as long as a late event or an upload form that is still valid could bring them back.
CREATE TABLE deleted_items (
    user_id            text        NOT NULL,
    item_id            uuid        NOT NULL,
    object_key         text        NOT NULL,
    deleted_at         timestamptz NOT NULL DEFAULT now(),
    objects_removed_at timestamptz,
    PRIMARY KEY (user_id, item_id)
);
COMMENT ON COLUMN deleted_items.objects_removed_at IS 'null until every version of every object is gone';

-- People who had everything of theirs deleted: the receipt, and the bar to late events.
CREATE TABLE erasures (
    user_id      text        PRIMARY KEY CHECK (user_id <> ''),
    erasure_id   uuid        NOT NULL UNIQUE,
    requested_at timestamptz NOT NULL DEFAULT now(),
    finished_at  timestamptz,
    removed      jsonb       NOT NULL DEFAULT '{"rows": {}, "objects": 0, "bytes": 0, "cognito_user": false}'
);
COMMENT ON COLUMN erasures.removed IS
    'rows of each table; versions of objects, and their bytes; whether there was a user to delete in Cognito';

-- Copies of everything of a user, made on request.
CREATE TABLE exports (
    user_id      text        NOT NULL,
    export_id    uuid        NOT NULL,
    status       text        NOT NULL DEFAULT 'running' CHECK (status IN ('running', 'succeeded', 'failed')),
    error        text,
    object_key   text,
    file_size    bigint,
    sha256       text,
    counts       jsonb       NOT NULL DEFAULT '{}',
    requested_at timestamptz NOT NULL DEFAULT now(),
    finished_at  timestamptz,
    PRIMARY KEY (user_id, export_id)
);
CREATE UNIQUE INDEX exports_running ON exports (user_id) WHERE status = 'running';
COMMENT ON COLUMN exports.error IS 'why it failed, in words for the person who asked for it';
