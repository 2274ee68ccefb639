-- Search: corrections come before what the model said, the words of one user are looked for among that user's
-- own only, and a word is found in its other spellings.

-- What a person said of an item in place of the model. Tags stand in the place of the narrower categories.
CREATE FUNCTION corrected(analysis jsonb, category text, headline text, summary text, tags text[]) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN coalesce(analysis, '{}') || jsonb_strip_nulls(jsonb_build_object(
        'category', category, 'headline', headline, 'summary', summary, 'subcategories', to_jsonb(tags)));

-- A text without accents, and with one spelling for letters that have several: Zürich and Zurich, Łódź and
-- Lodz, ﬁsh and fish. What is left is composed again, because Korean and Japanese take apart what is no accent.
CREATE FUNCTION folded(content text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN normalize(
        translate(
            replace(replace(replace(replace(replace(replace(replace(
                regexp_replace(normalize(left(coalesce(content, ''), 200000), NFKD), '[\u0300-\u036f]', '', 'g'),
                'ß', 'ss'), 'æ', 'ae'), 'Æ', 'AE'), 'œ', 'oe'), 'Œ', 'OE'), 'þ', 'th'), 'Þ', 'TH'),
            'øØłŁđĐðÐıħĦŧŦ', 'oOlLdDdDihHtT'),
        NFC);

-- Signs that stand for words, as words.
CREATE FUNCTION spelt_out(content text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN replace(replace(replace(replace(replace(content,
        '€', ' euro '), '$', ' dollar '), '£', ' pound '), '¥', ' yen '), '%', ' percent ');

CREATE OR REPLACE FUNCTION plain_words(content text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN left(regexp_replace(spelt_out(folded(content)), '[^[:alnum:]]+', ' ', 'g'), 200000);

-- What a person may write as one word, or apart: `tuk-tuk` as tuktuk, `1.090` as 1090, `GoldenGate` as golden gate.
CREATE FUNCTION other_spellings(content text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN concat_ws(' ',
        (SELECT string_agg(regexp_replace(found[1], '[^[:alnum:]]', '', 'g'), ' ')
           FROM regexp_matches(content, '[[:alnum:]]+(?:[-‐‑][[:alnum:]]+)+', 'g') AS found),
        (SELECT string_agg(regexp_replace(found[1], '[^0-9]', '', 'g'), ' ')
           FROM regexp_matches(content, '(?<![0-9])[0-9]{1,3}(?:[.,''’   ][0-9]{3})+(?![0-9])', 'g') AS found),
        (SELECT string_agg(regexp_replace(found[1], '([[:lower:]])([[:upper:]])', '\1 \2', 'g'), ' ')
           FROM regexp_matches(content, '[[:alpha:]]*[[:lower:]][[:upper:]][[:alnum:]]*', 'g') AS found));

-- All strings of a JSON value, one a line.
CREATE FUNCTION strings_of(content jsonb) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (SELECT string_agg(word #>> '{}', E'\n')
              FROM jsonb_path_query(content, 'strict $.** ? (@.type() == "string")') AS word);

-- Of a text, what full text is to see of it.
CREATE FUNCTION searched_words(content text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN plain_words(concat_ws(E'\n', content, other_spellings(left(content, 200000))));

-- Weight A: what it is; B: how a person would file it; C: what is said of it; D: what is read in it.
CREATE OR REPLACE FUNCTION search_document(filename text, analysis jsonb) RETURNS tsvector
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN setweight(to_tsvector('english', searched_words(concat_ws(E'\n',
                        strings_of(analysis -> 'headline'), strings_of(analysis -> 'category')))), 'A')
        || setweight(to_tsvector('english', searched_words(concat_ws(E'\n',
                        filename, strings_of(analysis -> 'subcategories'),
                        strings_of(analysis -> 'media_metadata')))), 'B')
        || setweight(to_tsvector('english', searched_words(concat_ws(E'\n',
                        strings_of(analysis -> 'summary'),
                        strings_of((analysis -> 'image_details') - 'extracted_text')))), 'C')
        || setweight(to_tsvector('english', searched_words(
                        strings_of(analysis -> 'image_details' -> 'extracted_text'))), 'D');

-- Words as keys of one user's own: 64 bits of the word and of whose it is. An index on the words themselves
-- would find those of all users first, so that a search would take the longer the more the others have, and
-- tell by its time what they have.
CREATE FUNCTION search_keys(owner text, words text[]) RETURNS bigint[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ARRAY(SELECT hashtextextended(word, hashtextextended(owner, 0)) FROM unnest(words) AS word);

-- Without the list of pending entries, which every search would have to read to its end.
CREATE INDEX search_documents_keys ON search_documents
    USING gin (search_keys(user_id, tsvector_to_array(document))) WITH (fastupdate = off);
DROP INDEX search_documents_words;

-- Which words a user's documents hold, as they are written, and what full text makes of each: what a misspelt
-- word of a question is compared with. By how they begin and by how they end, because one slip of the pen
-- leaves the one or the other.
CREATE TABLE search_words (
    user_id text NOT NULL,
    lexeme  text COLLATE "C" NOT NULL,
    word    text COLLATE "C" NOT NULL,
    PRIMARY KEY (user_id, lexeme, word)
);
CREATE INDEX search_words_by_end ON search_words (user_id, reverse(word));

CREATE OR REPLACE FUNCTION refresh_search_document(owner text, item uuid) RETURNS void
    LANGUAGE sql
    BEGIN ATOMIC
        WITH made AS MATERIALIZED (
            SELECT items.filename,
                   corrected(analyses.raw_response, corrections.category, corrections.headline,
                             corrections.summary, corrections.tags) AS analysis
              FROM items
              LEFT JOIN analyses ON analyses.user_id = items.user_id
                                AND analyses.item_id = items.item_id
                                AND analyses.version = items.analysis_version
              LEFT JOIN corrections ON corrections.user_id = items.user_id
                                   AND corrections.item_id = items.item_id
             WHERE items.user_id = owner AND items.item_id = item
        ), kept AS (
            INSERT INTO search_documents (user_id, item_id, document)
            SELECT owner, item, search_document(made.filename, made.analysis) FROM made
            ON CONFLICT (user_id, item_id) DO UPDATE SET document = excluded.document
            RETURNING document
        ), words AS (
            SELECT DISTINCT word
              FROM made,
                   regexp_split_to_table(lower(searched_words(concat_ws(E'\n', made.filename, strings_of(made.analysis)))),
                                         ' ') AS word
             WHERE word ~ '^[[:alpha:]]{4,32}$'
        )
        INSERT INTO search_words (user_id, lexeme, word)
        SELECT owner, lexeme, word
          FROM words
          CROSS JOIN LATERAL unnest(ts_lexize('english_stem', word)) AS lexeme
          CROSS JOIN kept
         WHERE lexeme = ANY (tsvector_to_array(kept.document))
         -- In one order for everybody, so that no two can wait for each other.
         ORDER BY lexeme, word
        ON CONFLICT DO NOTHING;
    END;

-- A word that no document of a user holds any more is forgotten with the last that did.
CREATE FUNCTION forget_search_words() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    gone text[] := tsvector_to_array(OLD.document);
    one text;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        gone := ARRAY(SELECT unnest(gone) EXCEPT SELECT unnest(tsvector_to_array(NEW.document)));
    END IF;
    FOR one IN
        SELECT DISTINCT lexeme FROM search_words
         WHERE user_id = OLD.user_id AND lexeme = ANY (gone)
         ORDER BY lexeme -- as they are written
    LOOP
        -- IS NOT DISTINCT FROM is the = that needs no index: the keys are of one user already.
        IF NOT EXISTS (SELECT FROM search_documents
                        WHERE user_id IS NOT DISTINCT FROM OLD.user_id
                          AND search_keys(user_id, tsvector_to_array(document))
                              && search_keys(OLD.user_id, ARRAY[one])) THEN
            DELETE FROM search_words WHERE user_id = OLD.user_id AND lexeme = one;
        END IF;
    END LOOP;
    RETURN NULL;
END $$;
CREATE TRIGGER forget_search_words AFTER UPDATE OR DELETE ON search_documents
    FOR EACH ROW EXECUTE FUNCTION forget_search_words();

-- Documents that were made before are made again, in 0.6 ms each: their words are spelt in another way now.
SELECT refresh_search_document(user_id, item_id) FROM items;
