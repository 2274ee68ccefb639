"""Search by words and by meaning, in one statement that is put together for the question."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from pydantic import ConfigDict, Field

from functions.api import approximate, scoring
from functions.api.filters import SEARCHABLE, Filters
from functions.api.highlights import READ_CHARACTERS
from functions.api.place import Place
from functions.api.question import Mode, Question
from shared import database

if TYPE_CHECKING:
    from psycopg.rows import DictRow

Sort = Literal["relevance", "date"]


class Asked(Filters):
    """What is to be searched for, and how the answer is to be."""

    model_config = ConfigDict(extra="forbid")

    q: str = Field(min_length=1, max_length=1000, description="in your own words")
    mode: Mode = Field("hybrid", description="by words and by meaning, or by one of them")
    min_score: float | None = Field(
        None,
        ge=0,
        le=1,
        description="left out, 0.25 (0.15 where Voyage makes the vectors), and all above 0 by meaning only; "
        "with 0, also what is no nearer than strangers",
    )
    sort: Sort = Field("relevance", description="the best first, or the newest first")
    explain: bool = Field(False, description="whether each hit says how its score came about")
    limit: int = Field(20, ge=1, le=100)
    cursor: str | None = Field(None, description="`next_cursor` of the page before")


@dataclass(frozen=True)
class Search:
    """One page of a search.

    Attributes:
        asked: what makes hits, ready.
        filters: what they must be.
        min_score: of every hit; None for more than 0.
        after: where the page before ended.
        near: the item whose vector is searched with in place of the question's.
    """

    asked: Question
    filters: Filters
    limit: int
    min_score: float | None = None
    sort: Sort = "relevance"
    explain: bool = False
    after: Place | None = None
    near: UUID | None = None

    @property
    def by_words(self) -> bool:
        return bool(self.asked.terms)

    @property
    def by_meaning(self) -> bool:
        return self.asked.vector is not None or self.near is not None

    @property
    def is_of_the_best(self) -> bool:
        """Whether the nearest of all are enough: what filters leave or is far away is not among them."""
        anything = not self.filters.conditions() and self.min_score != 0
        return anything and self.by_meaning and self.sort == "relevance" and self.after is None


def run(user_id: str, search: Search) -> "list[DictRow]":
    """Return a page of what a search finds, in its order, with one row more where there is more."""
    if not (search.by_words or search.by_meaning):
        return []
    given = parameters(user_id, search)
    if search.is_of_the_best and approximate.has_index(user_id, search.asked.model.name):
        with database.transaction() as cursor:
            cursor.execute(approximate.EFFORT, {"effort": str(approximate.EF_SEARCH)})
            return cursor.execute(statement(search, nearest_only=True), given).fetchall()
    return database.fetch_all(statement(search), given)


def parameters(user_id: str, search: Search) -> dict[str, Any]:
    """Return what the statement is run with."""
    terms, after = search.asked.terms, search.after
    given: dict[str, Any] = {
        **search.filters.parameters(),
        "user_id": user_id,
        "searchable": list(SEARCHABLE),
        "lexemes": sorted({lexeme for term in terms for lexeme in term.lexemes}),
        "vector": search.asked.vector,
        "near": search.near,
        "model": search.asked.model.name,
        # What is no nearer than strangers has the score 0, and is only read where 0 is asked for.
        "least": -2.0 if search.min_score == 0 else search.asked.model.minimum_similarity,
        "min_score": search.min_score,
        "limit": search.limit + 1,
        "candidates": approximate.CANDIDATES,
    }
    for number, term in enumerate(terms):
        given |= {scoring.parameter(number, place): way.query for place, way in enumerate(term.ways)}
    if after is not None:
        given |= {
            "score": after.score,
            "closeness": after.closeness,
            "created_at": after.created_at,
            "item_id": after.item_id,
        }
        if after.counts:
            given |= {"documents": after.counts[0]}
            given |= {f"holding_{number}": count for number, count in enumerate(after.counts[1:])}
    return given


def statement(search: Search, *, nearest_only: bool = False) -> str:
    """Return the statement of a search, of which only its values are left out.

    First each half finds all that it can, whatever number that is: cut off before the filters, a page
    would be short, or miss what stands well in both halves. Then all are put in order, and their rows are
    looked up one by one, in this order, until the page is full.

    Args:
        nearest_only: compare the question only with what an approximate index says is nearest, and with the
            best hits by words.
    """
    parts = []
    if search.by_words:
        parts += _words(search)
    if search.by_meaning:
        parts.append(_nearest(search) if nearest_only else _near(search))
    parts.append(_found(search))
    if search.explain:
        parts.append(_places(search))
    parts.append(_page(search))
    whole = f"WITH {', '.join(parts)} {_shown(search)}"
    # psycopg remembers how it read a statement of up to 4,096 characters: that of a short question, without
    # the whitespace that is for people. No literal holds such.
    return " ".join(whole.split())


def _words(search: Search) -> list[str]:
    """What holds a word of the question, and the score of each."""
    terms = search.asked.terms
    numbers = range(len(terms))
    worths = ", ".join(f"{scoring.worth(number, terms[number].ways)} AS worth_{number}" for number in numbers)
    if search.after and search.after.counts:
        # As they were for the first page: a score must not move while somebody pages.
        holding = ", ".join(f"%(holding_{number})s::float8 AS holding_{number}" for number in numbers)
        counted = f"SELECT %(documents)s::float8 AS documents, {holding}"
    else:
        holding = ", ".join(
            f"(count(*) FILTER (WHERE worth_{number} > 0))::float8 AS holding_{number}" for number in numbers
        )
        counted = f"""
    SELECT (SELECT count(*) FROM search_documents WHERE user_id = %(user_id)s)::float8 AS documents, {holding}
      FROM matched"""  # noqa: S608 - put together of constants
    weights = ", ".join(f"{scoring.weight(number)} AS weight_{number}" for number in numbers)
    explained = f", ARRAY[{', '.join(f'worth_{n}' for n in numbers)}] AS worths" if search.explain else ""
    # IS NOT DISTINCT FROM is the = that needs no index: the keys have found one user's documents already, and
    # the planner would read all that the user has from another index to make sure. What they find besides,
    # words that should stand side by side and do not, is worth nothing. OFFSET has each stillness computed
    # once.
    return [
        f"""matched AS MATERIALIZED (
    SELECT item_id, {worths}
      FROM (SELECT item_id, document, {scoring.STILLNESS} AS stillness
              FROM search_documents
             WHERE user_id IS NOT DISTINCT FROM %(user_id)s
               AND search_keys(user_id, tsvector_to_array(document))
                   && search_keys(%(user_id)s, %(lexemes)s::text[])
            OFFSET 0) AS holding
)""",  # noqa: S608 - put together of constants
        f"counted AS MATERIALIZED ({counted}\n)",
        f"""weights AS MATERIALIZED (
    SELECT {weights} FROM (SELECT *, {scoring.unheard_of(len(terms))} AS unheard_of FROM counted) AS counted
)""",  # noqa: S608 - put together of constants
        f"""by_words AS MATERIALIZED (
    SELECT item_id, {scoring.words(len(terms))} AS text_score{explained}
      FROM matched CROSS JOIN weights
     WHERE {" + ".join(f"worth_{number}" for number in numbers)} > 0
)""",  # noqa: S608 - put together of constants
    ]


def _compared_with(search: Search) -> tuple[str, str]:
    """What vectors are compared with, and which one is left out."""
    if search.near is None:
        return "%(vector)s::halfvec(1024)", ""
    vector = "(SELECT embedding FROM embeddings WHERE user_id = %(user_id)s AND item_id = %(near)s::uuid)"
    return vector, "AND item_id <> %(near)s::uuid"


def _near(search: Search) -> str:
    """What is near by meaning. Exactly: there is no order in it that an approximate index could give."""
    vector, other = _compared_with(search)
    return f"""by_meaning AS MATERIALIZED (
    SELECT item_id, similarity
      FROM (SELECT item_id, 1 - (embedding <=> {vector}) AS similarity
              FROM embeddings
             WHERE user_id = %(user_id)s AND model = %(model)s {other}
            OFFSET 0) AS compared
     WHERE similarity > %(least)s::float8
)"""  # noqa: S608 - put together of constants


def _nearest(search: Search) -> str:
    """What an approximate index says is nearest. What words find best is compared too: it would seem far."""
    vector, other = _compared_with(search)
    words = ""
    if search.by_words:
        words = """
        UNION
        (SELECT item_id FROM by_words ORDER BY text_score DESC, item_id LIMIT %(candidates)s)"""
    return f"""by_meaning AS MATERIALIZED (
    SELECT item_id, similarity
      FROM (SELECT embeddings.item_id, 1 - (embedding <=> {vector}) AS similarity
              FROM (
        (SELECT item_id
           FROM embeddings
          WHERE user_id = %(user_id)s AND model = %(model)s {other}
          ORDER BY embedding <=> {vector}
          LIMIT %(candidates)s){words}) AS candidates
              JOIN embeddings ON embeddings.user_id = %(user_id)s
                             AND embeddings.item_id = candidates.item_id
                             AND embeddings.model = %(model)s
            OFFSET 0) AS compared
     WHERE similarity > %(least)s::float8
)"""  # noqa: S608 - put together of constants


def _found(search: Search) -> str:
    """Both halves together. `closeness` puts in order what has the same score, 0 above all."""
    words = "text_score" if search.by_words else "NULL::float8"
    similarity = "similarity" if search.by_meaning else "NULL::float8"
    source = {
        (True, True): "by_words FULL JOIN by_meaning USING (item_id)",
        (True, False): "by_words",
        (False, True): "by_meaning",
    }[search.by_words, search.by_meaning]
    few = ""
    if search.filters.category is not None:
        # From an index, which may say that these are few.
        few = """WHERE item_id IN (SELECT item_id FROM items
                        WHERE user_id = %(user_id)s AND category = %(category)s)"""
    score = scoring.both(words, scoring.meaning(similarity, search.asked.model), search.asked.model)
    explained = ", worths" if search.explain and search.by_words else ""
    return f"""found AS MATERIALIZED (
    SELECT item_id, {words} AS text_score, {score} AS score,
           coalesce({similarity}, -2) AS closeness{explained}
      FROM {source}
     {few}
)"""  # noqa: S608 - put together of constants


def _cut(search: Search) -> str:
    return "score > 0" if search.min_score is None else "score >= %(min_score)s::float8"


def _row(search: Search, columns: str, more: str = "") -> str:
    """The item of a row of `found`, if it may be shown. OFFSET keeps it a look-up for each."""
    return f"""LATERAL (
        SELECT {columns}
          FROM items
         WHERE items.user_id = %(user_id)s
           AND items.item_id = found.item_id
           AND items.status = ANY (%(searchable)s::text[])
           {search.filters.conditions(but_for=["category"])} {more}
        OFFSET 0
    ) AS items"""  # noqa: S608 - put together of constants


def _places(search: Search) -> str:
    """Where each hit stands in either half, among all hits of all pages."""
    return f"""places AS (
    SELECT found.item_id,
           rank() OVER (ORDER BY text_score DESC NULLS LAST) AS text_position,
           rank() OVER (ORDER BY closeness DESC) AS vector_position
      FROM found CROSS JOIN {_row(search, "items.item_id")}
     WHERE {_cut(search)}
)"""  # noqa: S608 - put together of constants


_COLUMNS = """items.filename, items.kind, items.status, items.created_at, items.captured_at,
               items.duplicate_of, items.thumbnail_width, items.analysis_version"""


def _page(search: Search) -> str:
    if search.sort == "date":
        order, rows = "items.created_at DESC, found.item_id DESC", "found"
        after = "AND (items.created_at, items.item_id) < (%(created_at)s::timestamptz, %(item_id)s::uuid)"
        row = _row(search, _COLUMNS, after if search.after else "")
        where = f"WHERE {_cut(search)}"
    else:
        order = "found.score DESC, found.closeness DESC, found.item_id"
        # In numbers the greater come first, in ids the smaller.
        behind = """AND (score, closeness) <= (%(score)s::float8, %(closeness)s::float8)
            AND ((score, closeness) < (%(score)s::float8, %(closeness)s::float8)
                 OR item_id > %(item_id)s::uuid)"""
        rows = f"""(
        SELECT * FROM found
         WHERE {_cut(search)} {behind if search.after else ""}
         ORDER BY score DESC, closeness DESC, item_id
    ) AS found"""  # noqa: S608 - put together of constants
        row, where = _row(search, _COLUMNS), ""
    return f"""page AS MATERIALIZED (
    SELECT found.*, items.*
      FROM {rows} CROSS JOIN {row}
     {where}
     ORDER BY {order}
     LIMIT %(limit)s
)"""  # noqa: S608 - put together of constants


# What a JSON value of any shape holds of texts under a path, joined; null where it holds none.
_TEXTS = """(SELECT string_agg(text #>> '{{}}', E'{between}')
                          FROM jsonb_path_query(analyses.raw_response,
                                                'lax $.{path}[*] ? (@.type() == "string")') AS text)"""


_TAGS = _TEXTS.format(path="subcategories", between=", ")
_READ_TEXT = _TEXTS.format(path="image_details.extracted_text", between="\\n")


def _shown(search: Search) -> str:
    """The rows of the page, with what was said of each, and what explains it."""
    columns, joins = "", ""
    if search.by_words:
        counts = ", ".join(["documents", *(f"holding_{n}" for n in range(len(search.asked.terms)))])
        columns += f", (SELECT ARRAY[{counts}] FROM counted) AS counts"  # noqa: S608 - put together of constants
    if search.by_meaning and search.by_words:
        # The vectors of what only words have found; that of nothing is found without looking.
        columns += """,
       CASE WHEN closeness > -2 THEN closeness
            ELSE 1 - (embedding <=> %(vector)s::halfvec(1024)) END AS similarity"""
        joins += """
  LEFT JOIN embeddings ON embeddings.user_id = %(user_id)s
                      AND embeddings.item_id = CASE WHEN closeness = -2 THEN page.item_id END
                      AND embeddings.model = %(model)s"""
    elif search.by_meaning:
        columns += ", closeness AS similarity"
    if search.explain:
        columns += ", places.text_position, places.vector_position"
        joins += "\n  JOIN places ON places.item_id = page.item_id"
        if search.by_words:
            columns += """,
       (SELECT jsonb_object_agg(lexeme, weights)
          FROM unnest(document) WHERE lexeme = ANY (%(lexemes)s::text[])) AS weights"""
            joins += """
  LEFT JOIN search_documents ON search_documents.user_id = %(user_id)s
                            AND search_documents.item_id = page.item_id"""
    order = (
        "page.created_at DESC, page.item_id DESC"
        if search.sort == "date"
        else "page.score DESC, page.closeness DESC, page.item_id"
    )
    return f"""
SELECT page.*, said.*{columns}
  FROM page
 CROSS JOIN LATERAL (
       SELECT coalesce(corrections.category, analyses.category) AS category,
              coalesce(corrections.headline, analyses.headline) AS headline,
              coalesce(corrections.summary, analyses.summary) AS summary,
              coalesce(array_to_string(corrections.tags, ', '),
                       {_TAGS}) AS tags,
              left({_READ_TEXT}, {READ_CHARACTERS}) AS read_text
         FROM (SELECT) AS one
         LEFT JOIN analyses ON analyses.user_id = %(user_id)s
                           AND analyses.item_id = page.item_id
                           AND analyses.version = page.analysis_version
         LEFT JOIN corrections ON corrections.user_id = %(user_id)s
                              AND corrections.item_id = page.item_id
       OFFSET 0
 ) AS said{joins}
 ORDER BY {order}"""  # noqa: S608 - put together of constants


def end(rows: Sequence[dict[str, Any]], search: Search) -> Place | None:
    """Return where the next page begins, None where this is the last one."""
    if len(rows) <= search.limit:
        return None
    last = rows[search.limit - 1]
    return Place(
        model=search.asked.model.name if search.by_meaning else None,
        counts=tuple(int(count) for count in last.get("counts") or ()),
        score=last["score"],
        closeness=last["closeness"],
        created_at=last["created_at"],
        item_id=last["item_id"],
        spellings={
            word: [(each.lexemes, each.slips) for each in meant] for word, meant in search.asked.meant.items()
        },
    )
