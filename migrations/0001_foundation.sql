-- The foundation: items, what was said about them, and how they are found.
--
-- Every tenant table starts its key with user_id, so that no row can be reached without naming its
-- owner, and every reference carries it along.

CREATE EXTENSION IF NOT EXISTS vector;

-- One row per picture. Its columns speak of one version of the original, `object_version`, and only
-- ever move forward: `object_sequencer` is S3's, left-padded, so that text comparison orders it.
CREATE TABLE items (
    user_id          text        NOT NULL CHECK (user_id <> ''),
    item_id          uuid        NOT NULL,
    filename         text        NOT NULL,
    status           text        NOT NULL DEFAULT 'pending'
        CHECK (status IN ('pending', 'processed', 'analyzed', 'ready', 'rejected', 'failed')),
    error_code       text,
    error_message    text,

    object_key       text        NOT NULL,
    object_version   text,
    object_sequencer text COLLATE "C" NOT NULL DEFAULT '',
    file_size        bigint,
    sha256           text,

    format           text,
    width            integer,
    height           integer,
    perceptual_hash  bigint,
    dominant_colours jsonb,
    captured_at      timestamp,
    camera           text,
    location         jsonb,
    duplicate_of     uuid,

    image_width      integer,
    image_height     integer,
    thumbnail_width  integer,
    thumbnail_height integer,

    analysis_version integer,
    correlation_id   text,
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, item_id)
);
COMMENT ON COLUMN items.width IS 'pixels of the original as shown, after its EXIF orientation';
COMMENT ON COLUMN items.perceptual_hash IS '64-bit difference hash; near duplicates differ in few bits';
COMMENT ON COLUMN items.dominant_colours IS '[{"hex": "#aabbcc", "share": 0.42}], largest share first';
COMMENT ON COLUMN items.captured_at IS 'wall-clock time at the camera, which rarely knows its zone';

CREATE INDEX items_by_age ON items (user_id, created_at DESC, item_id DESC);
CREATE INDEX items_by_content ON items (user_id, sha256);

-- What a person can read about how their picture went through.
CREATE TABLE item_events (
    user_id        text        NOT NULL,
    item_id        uuid        NOT NULL,
    event_id       bigint      GENERATED ALWAYS AS IDENTITY,
    stage          text        NOT NULL,
    event          text        NOT NULL,
    object_version text        NOT NULL DEFAULT '',
    occurrence     text        NOT NULL DEFAULT '',
    duration_ms    double precision,
    detail         jsonb       NOT NULL DEFAULT '{}',
    occurred_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (user_id, item_id, event_id),
    UNIQUE (user_id, item_id, stage, event, object_version, occurrence),
    FOREIGN KEY (user_id, item_id) REFERENCES items ON DELETE CASCADE
);

-- The model's raw replies, stored before they are parsed, so that a replay never pays twice. They
-- belong to the content, not to the item: an exact duplicate of the same user shares them.
-- `run_id` is '' or names the re-run that asked for a new analysis on purpose; `try` counts the
-- replies that had to be bought again because an earlier one was unusable.
CREATE TABLE model_replies (
    user_id       text        NOT NULL,
    sha256        text        NOT NULL,
    prompt_hash   text        NOT NULL,
    provider      text        NOT NULL,
    model         text        NOT NULL,
    run_id        text        NOT NULL DEFAULT '',
    try           smallint    NOT NULL DEFAULT 1,
    reply         text        NOT NULL,
    outcome       text CHECK (outcome IN ('valid', 'refusal', 'max_tokens', 'malformed')),
    input_tokens  integer     NOT NULL DEFAULT 0,
    output_tokens integer     NOT NULL DEFAULT 0,
    replied_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, sha256, prompt_hash, provider, model, run_id, try)
);
COMMENT ON COLUMN model_replies.reply IS 'as received, in ASCII JSON: jsonb would refuse a NUL in it';
COMMENT ON COLUMN model_replies.outcome IS 'null until the reply has been read';

-- Analyses are versions: nothing is overwritten, items.analysis_version names the current one.
CREATE TABLE analyses (
    user_id        text        NOT NULL,
    item_id        uuid        NOT NULL,
    version        integer     NOT NULL CHECK (version > 0),
    analysis_id    uuid        NOT NULL DEFAULT gen_random_uuid(),
    object_version text        NOT NULL DEFAULT '',
    category       text        NOT NULL,
    headline       text        NOT NULL,
    summary        text        NOT NULL,
    raw_response   jsonb       NOT NULL,
    provider_used  text        NOT NULL,
    model_used     text        NOT NULL,
    prompt_hash    text        NOT NULL,
    run_id         text        NOT NULL DEFAULT '',
    trace_id       text,
    created_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, item_id, version),
    UNIQUE (analysis_id),
    UNIQUE (user_id, item_id, object_version, prompt_hash, provider_used, model_used, run_id),
    FOREIGN KEY (user_id, item_id) REFERENCES items ON DELETE CASCADE
);

-- One vector per item, of its current analysis. STORAGE PLAIN keeps it out of TOAST, and the
-- covering index makes an exact per-user search one index-only scan, with the model in its key
-- because vectors of two models cannot be compared.
CREATE TABLE embeddings (
    user_id          text          NOT NULL,
    item_id          uuid          NOT NULL,
    model            text          NOT NULL,
    dimensions       integer       NOT NULL,
    embedding        halfvec(1024) NOT NULL,
    analysis_version integer       NOT NULL,
    source_hash      text          NOT NULL,
    created_at       timestamptz   NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, item_id),
    FOREIGN KEY (user_id, item_id) REFERENCES items ON DELETE CASCADE
);
ALTER TABLE embeddings ALTER COLUMN embedding SET STORAGE PLAIN;
CREATE INDEX embeddings_exact ON embeddings (user_id, model) INCLUDE (item_id, embedding);
CREATE INDEX embeddings_by_text ON embeddings (user_id, model, source_hash);
COMMENT ON COLUMN embeddings.source_hash IS 'SHA-256 of the text that was embedded: the same text is not paid for again';

-- Tokens and money of every model call, written with the reply or the vector it bought.
CREATE TABLE usage_ledger (
    user_id       text           NOT NULL,
    usage_id      bigint         GENERATED ALWAYS AS IDENTITY,
    item_id       uuid,
    stage         text           NOT NULL,
    provider      text           NOT NULL,
    model         text           NOT NULL,
    input_tokens  integer        NOT NULL DEFAULT 0,
    output_tokens integer        NOT NULL DEFAULT 0,
    cost_usd      numeric(15, 9) NOT NULL DEFAULT 0,
    occurred_at   timestamptz    NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, usage_id)
);
CREATE INDEX usage_ledger_by_time ON usage_ledger (user_id, occurred_at);
COMMENT ON TABLE usage_ledger IS 'outlives its items: money spent stays spent';

-- What full text sees of an item: one document each, rebuilt by whoever changes what it is made of.
CREATE TABLE search_documents (
    user_id  text     NOT NULL,
    item_id  uuid     NOT NULL,
    document tsvector NOT NULL,
    PRIMARY KEY (user_id, item_id),
    FOREIGN KEY (user_id, item_id) REFERENCES items ON DELETE CASCADE
);
CREATE INDEX search_documents_words ON search_documents USING gin (document);

-- Words of a text for the parser, which would take `hubble_deep-field.jpg` for one host or file name.
CREATE FUNCTION plain_words(content text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN left(regexp_replace(coalesce(content, ''), '[^[:alnum:]]+', ' ', 'g'), 200000);

-- All strings of a JSON value, as text.
CREATE FUNCTION plain_words(content jsonb) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN plain_words((SELECT string_agg(word #>> '{}', ' ')
                          FROM jsonb_path_query(content, 'strict $.** ? (@.type() == "string")') AS word));

-- Weight A: what it is; B: how a person would file it; C: what is said of it; D: what is read in it.
CREATE FUNCTION search_document(filename text, analysis jsonb) RETURNS tsvector
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN setweight(to_tsvector('english', plain_words(analysis -> 'headline') || ' '
                              || plain_words(analysis -> 'category')), 'A')
        || setweight(to_tsvector('english', plain_words(filename) || ' '
                              || plain_words(analysis -> 'subcategories') || ' '
                              || plain_words(analysis -> 'media_metadata')), 'B')
        || setweight(to_tsvector('english', plain_words(analysis -> 'summary') || ' '
                              || plain_words((analysis -> 'image_details') - 'extracted_text')), 'C')
        || setweight(to_tsvector('english', plain_words(analysis -> 'image_details' -> 'extracted_text')), 'D');

-- Rebuild one item's document from its name and its current analysis.
CREATE FUNCTION refresh_search_document(owner text, item uuid) RETURNS void
    LANGUAGE sql
    BEGIN ATOMIC
        INSERT INTO search_documents (user_id, item_id, document)
        SELECT items.user_id, items.item_id, search_document(items.filename, analyses.raw_response)
          FROM items
          LEFT JOIN analyses ON analyses.user_id = items.user_id
                            AND analyses.item_id = items.item_id
                            AND analyses.version = items.analysis_version
         WHERE items.user_id = owner AND items.item_id = item
        ON CONFLICT (user_id, item_id) DO UPDATE SET document = excluded.document;
    END;
