-- Imports: collections that come from elsewhere, with what was said of them there.

-- One per person and source: importing the same source again is the same import.
CREATE TABLE imports (
    user_id     text        NOT NULL CHECK (user_id <> ''),
    import_id   uuid        NOT NULL,
    fingerprint text        NOT NULL,
    name        text        NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    undone_at   timestamptz,
    PRIMARY KEY (user_id, import_id)
);
CREATE INDEX imports_by_age ON imports (user_id, created_at DESC, import_id DESC);
COMMENT ON COLUMN imports.fingerprint IS 'SHA-256 of the rows of the source, of which the id is made';
COMMENT ON COLUMN imports.undone_at IS 'when its undoing began; nothing is taken for it from then on';

-- What an import brought: the item as its source had it, and a vector that may be taken over.
CREATE TABLE import_items (
    user_id           text        NOT NULL,
    item_id           uuid        NOT NULL,
    import_id         uuid        NOT NULL,
    source            jsonb       NOT NULL,
    updated_at        timestamptz NOT NULL,
    sha256            text,
    file_size         bigint,
    embedding         halfvec(1024),
    embedding_model   text,
    embedding_version integer,
    embedding_source  jsonb,
    embedded_at       timestamptz,
    PRIMARY KEY (user_id, item_id),
    FOREIGN KEY (user_id, item_id) REFERENCES items ON DELETE CASCADE,
    FOREIGN KEY (user_id, import_id) REFERENCES imports
);
CREATE INDEX import_items_of_import ON import_items (user_id, import_id, item_id);
COMMENT ON COLUMN import_items.source IS 'the row as it came, for whoever exports it again';
COMMENT ON COLUMN import_items.updated_at IS 'by the source; the item shows it once it is ready';
COMMENT ON COLUMN import_items.sha256 IS 'of the image that comes with it, by whoever sends it; null where none does';
COMMENT ON COLUMN import_items.embedding_version IS 'of the analysis that the vector speaks of';
COMMENT ON COLUMN import_items.embedding_source IS 'the row of the vector as it came, without the vector';

-- Ids that come from elsewhere are one person's: two people may import the same collection.
ALTER TABLE analyses DROP CONSTRAINT analyses_analysis_id_key;
ALTER TABLE analyses ADD UNIQUE (user_id, analysis_id);

ALTER TABLE analyses ADD COLUMN import_id uuid;
ALTER TABLE analyses ADD COLUMN source jsonb;
CREATE INDEX analyses_of_import ON analyses (user_id, import_id) WHERE import_id IS NOT NULL;
COMMENT ON COLUMN analyses.import_id IS 'which import brought it; null where a model of ours said it';
COMMENT ON COLUMN analyses.source IS 'the row as it came, raw response to the letter; null where it is ours';
COMMENT ON COLUMN analyses.prompt_hash IS 'of the prompt; imported-N for version N of an import, whose prompt is not known';
