-- An approximate index for somebody with hundreds of thousands of vectors of their own. There is none until an
-- operator makes one; where there is one, it is asked (docs/search.md). Dropping it switches back.
--
-- Of one user and one model, because an index over everybody's vectors finds too few of one's own: what it
-- finds is filtered afterwards.

-- The name under which a search looks for it.
CREATE FUNCTION approximate_index_name(owner text, model text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN 'embeddings_near_' || left(md5(owner || '/' || model), 16);

-- What makes it, for psql: SELECT approximate_index('…', '…') \gexec
CREATE FUNCTION approximate_index(owner text, model text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN format('CREATE INDEX CONCURRENTLY %I ON embeddings USING hnsw (embedding halfvec_cosine_ops)'
                  || ' WITH (m = 16, ef_construction = 64) WHERE user_id = %L AND model = %L',
                  approximate_index_name(owner, model), owner, model);
