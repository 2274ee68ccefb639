-- Search: corrections come before what the model said, and the words of one user are looked for among that
-- user's own only.

-- What a person said of an item in place of the model. Tags stand in the place of the narrower categories.
CREATE FUNCTION corrected(analysis jsonb, category text, headline text, summary text, tags text[]) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN coalesce(analysis, '{}') || jsonb_strip_nulls(jsonb_build_object(
        'category', category, 'headline', headline, 'summary', summary, 'subcategories', to_jsonb(tags)));

CREATE OR REPLACE FUNCTION refresh_search_document(owner text, item uuid) RETURNS void
    LANGUAGE sql
    BEGIN ATOMIC
        INSERT INTO search_documents (user_id, item_id, document)
        SELECT items.user_id, items.item_id,
               search_document(items.filename,
                               corrected(analyses.raw_response, corrections.category, corrections.headline,
                                         corrections.summary, corrections.tags))
          FROM items
          LEFT JOIN analyses ON analyses.user_id = items.user_id
                            AND analyses.item_id = items.item_id
                            AND analyses.version = items.analysis_version
          LEFT JOIN corrections ON corrections.user_id = items.user_id
                               AND corrections.item_id = items.item_id
         WHERE items.user_id = owner AND items.item_id = item
        ON CONFLICT (user_id, item_id) DO UPDATE SET document = excluded.document;
    END;

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
