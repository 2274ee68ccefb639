"""The checker of statements itself: what it lets through, and what it must catch."""

import pytest

from tests.isolation import statements
from tests.isolation.statements import Schema

SCHEMA = Schema(
    {
        "items": ("user_id", "item_id", "filename", "status", "duplicate_of"),
        "analyses": ("user_id", "item_id", "version", "category"),
        "embeddings": ("user_id", "item_id", "embedding"),
        "profiles": ("user_id", "email"),
        "prices": ("model", "price"),
    },
    {"refresh": (0,)},
)

GOOD = {
    "a parameter": "SELECT * FROM items WHERE user_id = %(user_id)s AND item_id = %(item_id)s",
    "the parameter first": "SELECT * FROM items WHERE %(user_id)s = user_id",
    "with a cast": "SELECT * FROM items WHERE user_id = %(user_id)s::text",
    "by its position": "SELECT * FROM items WHERE user_id = %s",
    "in PostgreSQL's way": "SELECT * FROM items WHERE user_id = $1",
    "several users": "SELECT * FROM items WHERE user_id = ANY(%(user_ids)s)",
    "users in a list": "SELECT * FROM items WHERE user_id IN (%(user_id)s, %(owner)s)",
    "a row": "SELECT * FROM items WHERE (user_id, item_id) = (%(user_id)s, %(item_id)s)",
    "a list of rows": "SELECT * FROM items WHERE (user_id, item_id) IN ((%s, %s), (%s, %s))",
    "a join with where": "SELECT * FROM items i, analyses a WHERE i.user_id = %(user_id)s AND a.user_id ="
    " i.user_id",
    "a join with on": (
        "SELECT * FROM items i JOIN analyses a ON a.user_id = i.user_id AND a.item_id = i.item_id"
        " WHERE a.user_id = %(user_id)s"
    ),
    "using": (
        "SELECT * FROM items JOIN analyses USING (user_id, item_id) LEFT JOIN embeddings USING (user_id,"
        " item_id)"
        " WHERE user_id = %(user_id)s"
    ),
    "a left join": (
        "SELECT * FROM items LEFT JOIN analyses ON analyses.user_id = items.user_id"
        " WHERE items.user_id = %(user_id)s"
    ),
    "a right join": "SELECT * FROM items i RIGHT JOIN analyses a ON a.user_id = i.user_id WHERE a.user_id"
    " = %s",
    "both sides of a full join": (
        "SELECT * FROM (SELECT * FROM items WHERE user_id = %(user_id)s) i"
        " FULL JOIN (SELECT * FROM analyses WHERE user_id = %(user_id)s) a USING (item_id)"
    ),
    "a table without users": "SELECT * FROM prices",
    "either of two conditions": (
        "SELECT * FROM items WHERE (user_id = %(user_id)s AND status = 'a') OR (user_id = %(user_id)s AND"
        " item_id = %s)"
    ),
    "exists": (
        "SELECT 1 FROM items i WHERE i.user_id = %(user_id)s AND NOT EXISTS"
        " (SELECT FROM embeddings e WHERE e.user_id = i.user_id AND e.item_id = i.item_id)"
    ),
    "a sub-select": (
        "SELECT (SELECT count(*) FROM analyses a WHERE a.user_id = items.user_id) FROM items WHERE"
        " user_id = %(user_id)s"
    ),
    "in of a sub-select": (
        "SELECT * FROM analyses WHERE (user_id, item_id) IN (SELECT user_id, item_id FROM items WHERE"
        " user_id = %s)"
    ),
    "a derived table": (
        "SELECT * FROM (SELECT user_id AS who, item_id FROM items WHERE user_id = %(user_id)s) mine"
        " JOIN analyses a ON a.user_id = mine.who"
    ),
    "lateral": (
        "SELECT * FROM items i CROSS JOIN LATERAL"
        " (SELECT a.user_id FROM analyses a WHERE a.user_id = i.user_id LIMIT 1) best"
        " JOIN embeddings e ON e.user_id = best.user_id WHERE i.user_id = %(user_id)s"
    ),
    "a cte": (
        "WITH mine AS (SELECT * FROM items WHERE user_id = %(user_id)s)"
        " SELECT * FROM mine JOIN analyses USING (user_id, item_id)"
    ),
    "a cte under a table's name": "WITH items AS (SELECT 1 AS one) SELECT * FROM items",
    "a recursive cte": (
        "WITH RECURSIVE copies AS (SELECT user_id, item_id FROM items WHERE user_id = %(user_id)s UNION"
        " SELECT i.user_id, i.item_id FROM items i JOIN copies c ON i.user_id = c.user_id AND"
        " i.duplicate_of = c.item_id)"
        " SELECT * FROM analyses JOIN copies USING (user_id, item_id)"
    ),
    "a union": (
        "SELECT user_id FROM items WHERE user_id = %(user_id)s"
        " UNION ALL SELECT user_id FROM analyses WHERE user_id = %(user_id)s"
    ),
    "rows of parameters": (
        "SELECT * FROM unnest(%(user_ids)s::text[], %(item_ids)s::uuid[]) AS wanted (user_id, item_id)"
        " JOIN items USING (user_id, item_id)"
    ),
    "records of a parameter": (
        "SELECT * FROM jsonb_to_recordset(%(rows)s) AS wanted (user_id text, item_id uuid)"
        " JOIN items USING (user_id, item_id)"
    ),
    "values": "SELECT * FROM (VALUES (%s, %s)) AS wanted (user_id, item_id) JOIN items USING (user_id,"
    " item_id)",
    "an insert": "INSERT INTO items (item_id, user_id) VALUES (%(item_id)s, %(user_id)s) ON CONFLICT DO"
    " NOTHING",
    "an insert from a select": (
        "INSERT INTO analyses (user_id, item_id) SELECT user_id, item_id FROM items WHERE user_id ="
        " %(user_id)s"
    ),
    "an insert from a parameter": "INSERT INTO analyses (user_id, item_id) SELECT %(user_id)s, item_id"
    " FROM unnest(%s) item_id",
    "an upsert": (
        "INSERT INTO profiles AS p (user_id, email) VALUES (%(user_id)s, %(email)s)"
        " ON CONFLICT (user_id) DO UPDATE SET email = excluded.email WHERE p.email IS NULL RETURNING *"
    ),
    "an update": "UPDATE items SET status = 'x' WHERE user_id = %(user_id)s RETURNING *",
    "an update from": (
        "UPDATE items SET status = a.category FROM analyses a"
        " WHERE a.user_id = items.user_id AND items.user_id = %(user_id)s"
    ),
    "a delete using": "DELETE FROM items i USING analyses a WHERE i.user_id = a.user_id AND a.user_id ="
    " %(user_id)s",
    "a changing cte": (
        "WITH gone AS (DELETE FROM items WHERE user_id = %(user_id)s RETURNING *)"
        " INSERT INTO profiles (user_id) SELECT user_id FROM gone"
    ),
    "a merge": (
        "MERGE INTO items t USING (VALUES (%s, %s)) s (user_id, item_id)"
        " ON t.user_id = s.user_id AND t.item_id = s.item_id"
        " WHEN MATCHED THEN UPDATE SET status = 'x'"
        " WHEN NOT MATCHED THEN INSERT (user_id, item_id) VALUES (s.user_id, s.item_id)"
        " WHEN NOT MATCHED BY SOURCE AND t.user_id = %(user_id)s THEN DELETE"
    ),
    "a function": "SELECT refresh(%(user_id)s, %(item_id)s)",
    "a function of rows": "SELECT refresh(user_id, item_id) FROM items WHERE user_id = %(user_id)s",
    "a copy in": "COPY items (user_id, item_id) FROM STDIN",
    "a copy of a query": "COPY (SELECT * FROM items WHERE user_id = 'x' AND user_id = $1) TO STDOUT",
    "explain": "EXPLAIN SELECT * FROM items WHERE user_id = $1",
    "a setting": "SET LOCAL enable_seqscan = off",
    "several statements": "SELECT 1; DELETE FROM items WHERE user_id = $1",
    "for update": "SELECT 1 FROM items WHERE user_id = %(user_id)s FOR UPDATE OF items SKIP LOCKED",
}

BAD = {
    "nothing": ("SELECT count(*) FROM items", 1),
    "another column": ("SELECT * FROM items WHERE item_id = %(item_id)s", 1),
    "a parameter that is no user": ("SELECT * FROM items WHERE user_id = %(item_id)s", 1),
    "a constant": ("SELECT * FROM items WHERE user_id = 'alice'", 1),
    "not equal": ("SELECT * FROM items WHERE user_id <> %(user_id)s", 1),
    "greater": ("SELECT * FROM items WHERE user_id >= %(user_id)s", 1),
    "like": ("SELECT * FROM items WHERE user_id LIKE %(user_id)s", 1),
    "not in": ("SELECT * FROM items WHERE user_id NOT IN (%(user_id)s)", 1),
    "not any": ("SELECT * FROM items WHERE user_id <> ANY(%(user_ids)s)", 1),
    "all": ("SELECT * FROM items WHERE user_id = ALL(%(user_ids)s)", 1),
    "one of a list is no user": ("SELECT * FROM items WHERE user_id IN (%(user_id)s, filename)", 1),
    "not": ("SELECT * FROM items WHERE NOT user_id = %(user_id)s", 1),
    "not of a whole condition": ("SELECT * FROM items WHERE NOT (user_id = %(user_id)s AND item_id = %s)", 1),
    "itself": ("SELECT * FROM items WHERE user_id = user_id", 1),
    "itself by its alias": ("SELECT * FROM items i WHERE i.user_id = i.user_id", 1),
    "each other": ("SELECT * FROM items i JOIN analyses a ON a.user_id = i.user_id", 2),
    "an or beside it": ("SELECT * FROM items WHERE user_id = %(user_id)s OR status = 'public'", 1),
    "an or that switches it off": (
        "SELECT * FROM items WHERE %(user_id)s IS NULL OR user_id = %(user_id)s",
        1,
    ),
    "coalesce": ("SELECT * FROM items WHERE user_id = coalesce(%(user_id)s, user_id)", 1),
    "case": ("SELECT * FROM items WHERE CASE WHEN status = 'x' THEN user_id = %(user_id)s ELSE true END", 1),
    "one of two in an or": (
        "SELECT * FROM items i, analyses a WHERE i.user_id = %(user_id)s"
        " AND (a.user_id = i.user_id OR a.category = 'x')",
        1,
    ),
    "a forgotten join predicate": (
        "SELECT * FROM items i JOIN analyses a ON a.item_id = i.item_id WHERE i.user_id = %(user_id)s",
        1,
    ),
    "a forgotten table in a list": ("SELECT * FROM items, analyses WHERE items.user_id = %(user_id)s", 1),
    "using without it": (
        "SELECT * FROM items i JOIN analyses USING (item_id) WHERE i.user_id = %(user_id)s",
        1,
    ),
    "natural": ("SELECT * FROM items i NATURAL JOIN analyses WHERE i.user_id = %(user_id)s", 2),
    "a left join without it": (
        "SELECT * FROM items i LEFT JOIN analyses a ON a.item_id = i.item_id WHERE i.user_id = %(user_id)s",
        1,
    ),
    "a left join that filters nothing": (
        "SELECT * FROM items i LEFT JOIN analyses a ON a.user_id = i.user_id AND i.user_id = %(user_id)s",
        2,
    ),
    "a left join with the parameter on the right": (
        "SELECT * FROM items i LEFT JOIN analyses a ON a.user_id = i.user_id AND a.user_id = %(user_id)s",
        1,
    ),
    "a right join from the wrong side": (
        "SELECT * FROM items i RIGHT JOIN analyses a ON a.user_id = i.user_id AND i.user_id = %(user_id)s",
        1,
    ),
    "a full join": (
        "SELECT * FROM items i FULL JOIN analyses a ON a.user_id = i.user_id WHERE i.user_id = %(user_id)s",
        1,
    ),
    "using in a full join": (
        "SELECT * FROM items FULL JOIN analyses USING (user_id) WHERE user_id = %(user_id)s",
        2,
    ),
    "an inner join inside an outer one": (
        "SELECT * FROM items i LEFT JOIN (analyses a JOIN embeddings e ON e.user_id = %(user_id)s AND"
        " i.user_id ="
        " %(user_id)s) ON a.user_id = i.user_id",
        2,
    ),
    "a sub-select without it": (
        "SELECT (SELECT count(*) FROM analyses a WHERE a.item_id = i.item_id) FROM items i WHERE"
        " i.user_id = %s",
        1,
    ),
    "exists without it": (
        "SELECT 1 FROM items i WHERE user_id = %(user_id)s AND EXISTS"
        " (SELECT FROM items o WHERE o.item_id = i.duplicate_of)",
        1,
    ),
    "in a sub-select without it": (
        "SELECT * FROM items WHERE user_id = %(user_id)s AND item_id IN (SELECT item_id FROM analyses)",
        1,
    ),
    "in a sub-select of other users": (
        "SELECT * FROM items WHERE user_id IN (SELECT user_id FROM profiles WHERE email = %(email)s)",
        2,
    ),
    "a sub-select's own column": (
        "SELECT 1 FROM items WHERE user_id = %(user_id)s AND EXISTS (SELECT FROM analyses WHERE user_id ="
        " user_id)",
        1,
    ),
    "order by": ("SELECT 1 FROM prices ORDER BY (SELECT max(version) FROM analyses)", 1),
    "limit": ("SELECT 1 FROM prices LIMIT (SELECT count(*) FROM items)", 1),
    "having": ("SELECT 1 FROM prices GROUP BY model HAVING count(*) > (SELECT count(*) FROM items)", 1),
    "a join's condition": (
        "SELECT 1 FROM prices a JOIN prices b ON a.price = (SELECT count(*) FROM items)",
        1,
    ),
    "a derived table without it": ("SELECT * FROM (SELECT * FROM items) i", 1),
    "a filter around a derived table": (
        "SELECT * FROM (SELECT * FROM items LIMIT 10) i WHERE i.user_id = %(user_id)s",
        1,
    ),
    "another column of a derived table": (
        "SELECT * FROM (SELECT filename AS user_id FROM items WHERE user_id = %(user_id)s) i"
        " JOIN analyses a ON a.user_id = i.user_id",
        1,
    ),
    "lateral without it": (
        "SELECT * FROM items i, LATERAL (SELECT * FROM analyses a WHERE a.item_id = i.item_id) x WHERE"
        " i.user_id = %s",
        1,
    ),
    "lateral from a table that is open": (
        "SELECT * FROM items i, LATERAL (SELECT * FROM analyses a WHERE a.user_id = i.user_id) x",
        2,
    ),
    "a cte without it": ("WITH all_items AS (SELECT * FROM items) SELECT 1", 1),
    "a cte filtered too late": (
        "WITH every AS (SELECT * FROM items) SELECT * FROM every WHERE user_id = %(user_id)s",
        1,
    ),
    "a recursive cte that wanders off": (
        "WITH RECURSIVE copies AS (SELECT user_id, item_id FROM items WHERE user_id = %(user_id)s UNION"
        " SELECT i.user_id, i.item_id FROM items i JOIN copies c ON i.duplicate_of = c.item_id)"
        " SELECT * FROM analyses JOIN copies USING (user_id, item_id)",
        2,
    ),
    "one branch of a union": (
        "SELECT item_id FROM items WHERE user_id = %(user_id)s UNION SELECT item_id FROM analyses",
        1,
    ),
    "a union as an anchor": (
        "SELECT * FROM items JOIN (SELECT %(user_id)s AS user_id UNION SELECT model FROM prices) u USING"
        " (user_id)",
        1,
    ),
    "rows of parameters that are no users": (
        "SELECT * FROM unnest(%(item_ids)s::text[]) AS wanted (user_id) JOIN items USING (user_id)",
        1,
    ),
    "another schema's name": ("SELECT * FROM public.items", 1),
    "a cte does not shadow a table with its schema": (
        "WITH items AS (SELECT 1) SELECT * FROM public.items",
        1,
    ),
    "only": ("SELECT * FROM ONLY items", 1),
    "table": ("TABLE items", 1),
    "a sample": ("SELECT * FROM items TABLESAMPLE SYSTEM (1)", 1),
    "upper case": ('SELECT * FROM "items" AS "I"', 1),
    "a comment": ("SELECT * /* user_id = %(user_id)s */ FROM items -- WHERE user_id = %(user_id)s", 1),
    "a text": ("SELECT * FROM items WHERE filename = 'user_id = $1'", 1),
    "renamed columns": ("SELECT * FROM items AS i (item_id, user_id) WHERE user_id = %(user_id)s", 1),
    "a join with a name": (
        "SELECT * FROM (items i JOIN analyses a ON a.user_id = i.user_id) AS j WHERE j.user_id = %(user_id)s",
        3,
    ),
    "an insert without it": ("INSERT INTO items (item_id) VALUES (%(item_id)s)", 1),
    "an insert without columns": ("INSERT INTO items VALUES (%(user_id)s, %(item_id)s)", 1),
    "an insert of defaults": ("INSERT INTO items DEFAULT VALUES", 1),
    "an insert of a constant": ("INSERT INTO items (user_id) VALUES ('alice')", 1),
    "an insert where one row differs": ("INSERT INTO items (user_id) VALUES (%(user_id)s), (%(item_id)s)", 1),
    "an insert from everybody": ("INSERT INTO analyses (user_id) SELECT user_id FROM items", 2),
    "an insert's columns crossed": (
        "INSERT INTO analyses (item_id, user_id) SELECT user_id, item_id FROM items WHERE user_id ="
        " %(user_id)s",
        1,
    ),
    "an upsert on another key": (
        "INSERT INTO profiles (user_id, email) VALUES (%(user_id)s, %(email)s)"
        " ON CONFLICT (email) DO UPDATE SET email = excluded.email",
        1,
    ),
    "an upsert on a constraint": (
        "INSERT INTO profiles (user_id) VALUES (%(user_id)s) ON CONFLICT ON CONSTRAINT c DO UPDATE SET"
        " email = ''",
        1,
    ),
    "an update without it": ("UPDATE items SET status = 'x'", 1),
    "an update by id": ("UPDATE items SET status = 'x' WHERE item_id = %(item_id)s", 1),
    "an update from everybody": (
        "UPDATE items SET status = a.category FROM analyses a"
        " WHERE items.user_id = %(user_id)s AND a.item_id = items.item_id",
        1,
    ),
    "an update's value": (
        "UPDATE items SET status = (SELECT category FROM analyses LIMIT 1) WHERE user_id = %(user_id)s",
        1,
    ),
    "an update that gives away": ("UPDATE items SET user_id = %(other)s WHERE user_id = %(user_id)s", 1),
    "a delete without it": ("DELETE FROM items WHERE item_id = %(item_id)s", 1),
    "a delete using everybody": ("DELETE FROM items USING analyses a WHERE items.user_id = %(user_id)s", 1),
    "a delete at a cursor": ("DELETE FROM items WHERE CURRENT OF c", 1),
    "a changing cte without it": (
        "WITH gone AS (DELETE FROM items RETURNING *) SELECT count(*) FROM gone",
        1,
    ),
    "a merge by id": (
        "MERGE INTO items t USING (VALUES (%s, %s)) s (user_id, item_id) ON t.item_id = s.item_id"
        " WHEN MATCHED THEN DELETE",
        1,
    ),
    "a merge from everybody": (
        "MERGE INTO items t USING analyses s ON t.user_id = s.user_id AND t.user_id = %(user_id)s"
        " WHEN NOT MATCHED THEN INSERT (user_id) VALUES (s.user_id)",
        2,
    ),
    "a merge's remainder": (
        "MERGE INTO items t USING (VALUES (%s)) s (user_id) ON t.user_id = s.user_id"
        " WHEN NOT MATCHED BY SOURCE THEN DELETE",
        1,
    ),
    "truncate": ("TRUNCATE prices, items", 1),
    "a copy out": ("COPY items TO STDOUT", 1),
    "a copy in without it": ("COPY items (item_id) FROM STDIN", 1),
    "a copy of a query without it": ("COPY (SELECT * FROM items) TO STDOUT", 1),
    "explain": ("EXPLAIN SELECT * FROM items", 1),
    "a cursor": ("DECLARE c CURSOR FOR SELECT * FROM items", 1),
    "lock": ("LOCK TABLE items", 1),
    "a table made of it": ("CREATE TABLE t AS SELECT * FROM items", 1),
    "the second of several": ("SELECT 1; DELETE FROM items", 1),
    "a function for somebody else": ("SELECT refresh(%(item_id)s, %(item_id)s)", 1),
    "a function of everybody's rows": ("SELECT refresh(user_id, item_id) FROM items", 2),
    "a function in a from": ("SELECT * FROM prices, refresh(model)", 1),
    "not sql": ("SELEC * FROM items", 1),
}


@pytest.mark.parametrize("text", GOOD.values(), ids=GOOD)
def test_a_statement_that_reaches_one_users_rows_is_let_through(text: str) -> None:
    assert statements.check(text, SCHEMA).violations == ()


@pytest.mark.parametrize(("text", "count"), BAD.values(), ids=BAD)
def test_a_statement_that_could_reach_others_is_caught(text: str, count: int) -> None:
    violations = statements.check(text, SCHEMA).violations
    assert len(violations) == count, violations
    assert ("cannot be read" in violations[0]) == text.startswith("SELEC ")


def test_what_is_caught_is_named() -> None:
    (sentence,) = statements.check("SELECT * FROM items i", SCHEMA).violations
    assert sentence == "items as i: nothing holds its user_id to a user"


def test_the_parameters_that_hold_the_user_are_named() -> None:
    text = "SELECT * FROM items WHERE user_id = %(owner)s AND status = %(status)s"
    checked = statements.check(text, SCHEMA)
    assert (checked.users, checked.tables) == ({"owner"}, {"items"})


MIGRATIONS = [
    "CREATE TABLE items (user_id text, item_id uuid); CREATE TABLE prices (model text);",
    "ALTER TABLE prices ADD COLUMN user_id text; CREATE TABLE gone (user_id text); DROP TABLE gone;",
]


def test_the_tenant_tables_are_read_from_the_migrations() -> None:
    schema, _ = statements.read_schema(MIGRATIONS)
    assert schema.tenant_tables == {"items", "prices"}


@pytest.mark.parametrize(
    ("body", "violations"),
    [
        ("BEGIN ATOMIC DELETE FROM items WHERE user_id = owner; END", 0),
        ("BEGIN ATOMIC DELETE FROM items WHERE item_id = item; END", 1),
        ("BEGIN ATOMIC DELETE FROM items WHERE user_id = item::text; END", 1),
        ("AS 'DELETE FROM items WHERE user_id = $1'", 0),
        ("AS 'DELETE FROM items WHERE user_id = $2'", 1),
        ("RETURN (SELECT count(*) FROM items)", 1),
    ],
)
def test_functions_of_the_database_are_read_too(body: str, violations: int) -> None:
    made = f"CREATE FUNCTION f(owner text, item uuid) RETURNS void LANGUAGE sql {body}"
    schema, found = statements.read_schema([*MIGRATIONS, made])
    assert len(found["f"]) == violations
    assert schema.functions == {"f": (0,) if not violations else schema.functions["f"]}
    if not violations:
        assert statements.check("SELECT f(%(user_id)s, %(item_id)s)", schema).violations == ()
        assert statements.check("SELECT f(%(name)s, %(item_id)s)", schema).violations != ()


TRIGGER = """
CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ {} $$;
CREATE TRIGGER t AFTER INSERT ON items REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION f();
"""


@pytest.mark.parametrize(
    ("body", "violations"),
    [
        ("BEGIN UPDATE items SET item_id = NULL WHERE items.user_id = NEW.user_id; RETURN NEW; END", 0),
        ("BEGIN UPDATE items SET item_id = NULL WHERE items.item_id = NEW.item_id; RETURN NEW; END", 1),
        ("BEGIN UPDATE items i SET item_id = NULL FROM added WHERE i.user_id = added.user_id; END", 0),
        ("BEGIN UPDATE items i SET item_id = NULL FROM added WHERE i.item_id = added.item_id; END", 1),
        (
            "DECLARE r items := coalesce(NEW, OLD);"
            " BEGIN DELETE FROM items WHERE items.user_id = r.user_id; END",
            0,
        ),
        ("DECLARE r items; BEGIN DELETE FROM items WHERE items.user_id = r.user_id; END", 1),
        ("BEGIN NEW.item_id := (SELECT max(item_id) FROM items); RETURN NEW; END", 1),
        ("BEGIN NEW.user_id := NEW.item_id; RETURN NEW; END", 1),
        ("BEGIN IF EXISTS (SELECT FROM items) THEN RETURN NULL; END IF; END", 1),
        ("BEGIN EXECUTE 'DELETE FROM items'; END", 1),
    ],
)
def test_triggers_hold_to_the_rows_that_set_them_off(body: str, violations: int) -> None:
    _, found = statements.read_schema([*MIGRATIONS, TRIGGER.format(body)])
    assert len(found["f"]) == violations, found["f"]


def test_letters_of_several_bytes_before_a_function_do_not_move_it() -> None:
    body = "BEGIN DELETE FROM items WHERE items.item_id = NEW.item_id; RETURN NULL; END"
    _, found = statements.read_schema([*MIGRATIONS, f"-- {'Łódź ' * 40}\nSELECT 1;{TRIGGER.format(body)}"])
    assert len(found["f"]) == 1


def test_a_function_that_is_no_trigger_has_no_rows_to_hold_to() -> None:
    body = "BEGIN DELETE FROM items WHERE items.user_id = NEW.user_id; END"
    _, found = statements.read_schema([*MIGRATIONS, TRIGGER.format(body).partition("CREATE TRIGGER")[0]])
    assert len(found["f"]) == 1


def test_a_function_that_cannot_be_read_is_no_function_to_trust() -> None:
    made = "CREATE FUNCTION f(owner text) RETURNS void LANGUAGE plpython3u AS 'pass'"
    _, found = statements.read_schema([*MIGRATIONS, made])
    assert found["f"] == ("a body in plpython3u cannot be read",)
