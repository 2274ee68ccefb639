"""Decide whether a SQL statement can only reach rows of the users that its parameters name.

Every tenant table that a statement touches, at whatever level of the query, must be *anchored*: a
predicate that no row can get round says that its own `user_id` equals a parameter, or the `user_id` of a
relation that is anchored itself. PostgreSQL's own parser reads the statements, so that no spelling hides a
table.

What proves nothing, on purpose: one side of an OR, anything below a NOT, a column compared with itself, the
condition of a LEFT JOIN for its left side, any condition of a FULL JOIN, and a parameter whose name says that
it holds something other than users.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pglast import ast, parse_plpgsql, parse_sql
from pglast.enums import (
    A_Expr_Kind,
    BoolExprType,
    CmdType,
    JoinType,
    MergeMatchKind,
    OnConflictAction,
    SetOperation,
    SubLinkType,
)
from pglast.parser import ParseError

USER_ID = "user_id"

_USERS = re.compile(r"(.*_)?(user|owner)(_id)?s?")
"""Names of parameters that hold users."""
_PLACEHOLDER = re.compile(r"%(?:(?P<percent>%)|(?:\((?P<name>[^)]*)\))?[sbt])")
_EQUAL = (A_Expr_Kind.AEXPR_OP, A_Expr_Kind.AEXPR_NOT_DISTINCT)


@dataclass(frozen=True)
class Schema:
    """What the migrations make.

    Attributes:
        columns: names of each table's columns, in their order.
        functions: SQL functions that touch tenant tables, with the positions of the arguments that must
            be users.
    """

    columns: Mapping[str, tuple[str, ...]]
    functions: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def tenant_tables(self) -> frozenset[str]:
        return frozenset(name for name, columns in self.columns.items() if USER_ID in columns)


@dataclass(frozen=True)
class Checked:
    """What a statement does to tenant tables.

    Attributes:
        violations: a sentence for each table that is not anchored.
        tables: the tenant tables that it touches, and the SQL functions that do, as `name()`.
        users: names of the parameters that anchor them; `None` among them stands for parameters without name.
    """

    violations: tuple[str, ...]
    tables: frozenset[str]
    users: frozenset[str | None]


def check(text: str, schema: Schema) -> Checked:
    """Check a statement, or several, in PostgreSQL's syntax or with psycopg's placeholders."""
    converted, names = placeholders(text)
    reader = _Reader(schema, names)
    try:
        parsed = parse_sql(converted)
    except ParseError as error:
        return Checked((f"cannot be read: {error.args[0]}",), frozenset(), frozenset())
    for raw in parsed:
        reader.statement(raw.stmt)
    return reader.result()


def placeholders(text: str) -> tuple[str, list[str | None]]:
    """Return a query in PostgreSQL's syntax, and the name of each of its parameters, from `$1` on."""
    names: list[str | None] = []

    def number(found: re.Match[str]) -> str:
        if found["percent"]:
            return "%"
        if found["name"] is None or found["name"] not in names:
            names.append(found["name"])
            return f"${len(names)}"
        return f"${names.index(found['name']) + 1}"

    if re.search(r"%(\(|[sbt]\b)", text):
        text = _PLACEHOLDER.sub(number, text)
    return text, names


def read_schema(migrations: Iterable[str]) -> tuple[Schema, dict[str, tuple[str, ...]]]:
    """Return what migrations make, and the violations of each function they make, by its name.

    Args:
        migrations: the text of each, in their order.
    """
    columns: dict[str, tuple[str, ...]] = {}
    made: list[tuple[ast.CreateFunctionStmt, str]] = []
    triggers: dict[str, list[ast.CreateTrigStmt]] = {}
    for text in migrations:
        for raw in parse_sql(text):
            statement = raw.stmt
            match statement:
                case ast.CreateTrigStmt():
                    triggers.setdefault(statement.funcname[-1].sval, []).append(statement)
                case ast.CreateStmt():
                    columns[statement.relation.relname] = tuple(
                        part.colname for part in statement.tableElts or () if isinstance(part, ast.ColumnDef)
                    )
                case ast.AlterTableStmt():
                    name = statement.relation.relname
                    for command in statement.cmds:
                        if isinstance(command.def_, ast.ColumnDef):
                            columns[name] = (*columns[name], command.def_.colname)
                case ast.DropStmt():
                    for dropped in statement.objects:
                        if isinstance(dropped, tuple):
                            columns.pop(dropped[-1].sval, None)
                case ast.CreateFunctionStmt():
                    end = raw.stmt_location + raw.stmt_len if raw.stmt_len else None
                    made.append((statement, text[raw.stmt_location : end]))
                case ast.ViewStmt() | ast.CreateTableAsStmt() | ast.DoStmt() | ast.RenameStmt():
                    if _names(statement) & Schema(columns).tenant_tables or isinstance(statement, ast.DoStmt):
                        raise NotImplementedError(f"teach this module {type(statement).__name__}")
    # By name and arguments, so that what is replaced later counts as it is in the end.
    last = {(one.funcname[-1].sval, _types(one)): (one, source) for one, source in made}
    functions: dict[str, tuple[int, ...]] = {}
    violations: dict[str, tuple[str, ...]] = {}
    for (name, _), (function, source) in last.items():
        # In the order of the migrations: a function only calls what is there.
        schema = Schema(columns, functions)
        if _language(function) == "plpgsql":
            checked, users = _check_trigger(source, triggers.get(name, []), schema), ()
        else:
            checked, users = _check_function(function, schema)
        violations[name] = violations.get(name, ()) + checked.violations
        if checked.tables:
            functions[name] = users
    return Schema(columns, functions), violations


def _types(function: ast.CreateFunctionStmt) -> tuple[str, ...]:
    return tuple(parameter.argType.names[-1].sval for parameter in function.parameters or ())


def _check_function(function: ast.CreateFunctionStmt, schema: Schema) -> tuple[Checked, tuple[int, ...]]:
    """Check a function's body; also return which of its arguments must be users."""
    names = [parameter.name for parameter in function.parameters or ()]
    reader = _Reader(schema, names)
    outside = _Scope(None, arguments=[name for name in names if name])
    if function.sql_body is not None:
        bodies: Sequence[Any] = _flat(function.sql_body)
    elif _language(function) == "sql":
        bodies = [raw.stmt for raw in parse_sql(_option(function, "as")[0].sval)]
    else:
        reader.complain(f"a body in {_language(function)} cannot be read")
        bodies = []
    for body in bodies:
        if isinstance(body, ast.ReturnStmt):
            reader.visit(body.returnval, outside, reader.violations)
        else:
            reader.statement(body, outside)
    checked = reader.result()
    return checked, tuple(index for index, name in enumerate(names) if name in checked.users)


def _option(function: ast.CreateFunctionStmt, name: str) -> Any:
    return next(option.arg for option in function.options or () if option.defname == name)


def _language(function: ast.CreateFunctionStmt) -> str:
    return str(_option(function, "language").sval)


def _check_trigger(source: str, triggers: Sequence[ast.CreateTrigStmt], schema: Schema) -> Checked:
    """Check the body of a function in PL/pgSQL, which must be a trigger's.

    The rows that set it off were reached by a statement that is checked itself: NEW, OLD, a variable that is
    one of them, and the table of all such rows hold users.
    """
    reader = _Reader(schema, [])
    outside = _Scope(None)
    tables = {trigger.relation.relname for trigger in triggers}
    if tables and tables <= schema.tenant_tables:
        rows = re.findall(r"\b(\w+)\s+\w+\s*:=\s*(?:coalesce\(NEW, OLD\)|NEW|OLD)\s*;", source)
        for name in ("new", "old", *rows):
            outside.relations[name] = _Relation(())
            outside.known.add(_Node(outside, name, USER_ID))
        for trigger in triggers:
            row = [_Column(name, name == USER_ID) for name in schema.columns[trigger.relation.relname]]
            for transition in trigger.transitionRels or ():
                outside.ctes[transition.name] = row
    for kind, text, mode in _expressions(parse_plpgsql(source)):
        if kind != "query":
            reader.complain(f"{kind} cannot be read")
            continue
        target, assigned, value = text.partition(":=") if mode >= 3 else ("", "", text)
        if target.strip().lower() in (f"new.{USER_ID}", *(f"{name}.{USER_ID}" for name in outside.relations)):
            reader.complain(f"{target.strip()} is given to another user")
        for raw in parse_sql(value if mode == 0 else f"SELECT {value}"):
            reader.statement(raw.stmt, outside)
    return reader.result()


def _expressions(tree: Any) -> Iterator[tuple[str, str, int]]:
    """Yield each piece of SQL in a parsed function of PL/pgSQL: kind, text and how it is to be read."""
    if isinstance(tree, list):
        for part in tree:
            yield from _expressions(part)
    elif isinstance(tree, dict):
        for name, part in tree.items():
            if name == "PLpgSQL_expr":
                yield "query", part["query"], part["parseMode"]
            elif name.startswith("PLpgSQL_stmt_dyn"):
                yield name, "", 0
            else:
                yield from _expressions(part)


class _Column(NamedTuple):
    """A column of a query's result, and whether its values can only be users that parameters name."""

    name: str | None
    anchored: bool


@dataclass
class _Relation:
    """What stands in a FROM."""

    columns: tuple[str, ...]
    tenant: str | None = None


class _Node(NamedTuple):
    """A column of a relation of a query level."""

    scope: "_Scope"
    alias: str
    column: str


class _Argument(NamedTuple):
    """An argument of the SQL function whose body is read."""

    name: str


class _Scope:
    """The names that one query level sees: its relations and CTEs, then those of the level around it."""

    def __init__(self, parent: "_Scope | None", arguments: Sequence[str] = ()) -> None:
        self.parent = parent
        self.relations: dict[str, _Relation] = {}
        self.merged: dict[str, _Node | None] = {}
        self.ctes: dict[str, list[_Column]] = {}
        self.arguments = arguments
        self.known: set[_Node] = set()
        self.filters: list[tuple[Any, frozenset[str] | None]] = []
        self.laterals: list[tuple[str, Any, Any]] = []

    def cte(self, name: str) -> "list[_Column] | None":
        if name in self.ctes:
            return self.ctes[name]
        return self.parent.cte(name) if self.parent else None

    def find(self, fields: Sequence[str]) -> "_Node | _Argument | None":
        """Return what a column reference means, None where it is no relation's column."""
        *before, column = fields
        if before:
            if before[-1] in self.relations:
                return _Node(self, before[-1], column)
        else:
            if column in self.merged:
                return self.merged[column]
            owners = [alias for alias, relation in self.relations.items() if column in relation.columns]
            if owners:
                return _Node(self, owners[0], column) if len(owners) == 1 else None
        if self.parent:
            return self.parent.find(fields)
        return _Argument(column) if column in self.arguments else None


class _Reader:
    """Reads one statement."""

    def __init__(self, schema: Schema, parameters: Sequence[str | None]) -> None:
        self.schema = schema
        self.violations: list[str] = []
        self._parameters = parameters
        self._tables: set[str] = set()
        self._users: set[str | None] = set()

    def result(self) -> Checked:
        return Checked(tuple(dict.fromkeys(self.violations)), frozenset(self._tables), frozenset(self._users))

    def complain(self, sentence: str) -> None:
        self.violations.append(sentence)

    def statement(self, statement: Any, scope: _Scope | None = None) -> None:
        match statement:
            case ast.SelectStmt() | ast.InsertStmt() | ast.UpdateStmt() | ast.DeleteStmt() | ast.MergeStmt():
                self.query(statement, scope, self.violations)
            case ast.ExplainStmt() | ast.DeclareCursorStmt() | ast.PrepareStmt() | ast.CreateTableAsStmt():
                self.statement(statement.query, scope)
            case ast.CopyStmt() if statement.query is not None:
                self.statement(statement.query, scope)
            case ast.CopyStmt():
                table = self._tenant(statement.relation, None)
                columns = {name.sval for name in statement.attlist or ()}
                if table and not statement.is_from:
                    self.complain(f"COPY gives out the whole of {table}")
                elif table and USER_ID not in columns:
                    self.complain(f"COPY into {table} does not name {USER_ID}")
            case _:
                for table in sorted(_names(statement) & self.schema.tenant_tables):
                    self._tables.add(table)
                    self.complain(f"{type(statement).__name__} touches the whole of {table}")

    # Query levels

    def query(self, query: Any, parent: _Scope | None, report: list[str]) -> list[_Column]:
        """Check a query and what is below it, and return the columns of its result."""
        outside = _Scope(parent)
        self._ctes(getattr(query, "withClause", None), outside, report)
        match query:
            case ast.SelectStmt():
                return self._select(query, outside, report)
            case ast.InsertStmt():
                return self._insert(query, outside, report)
            case ast.UpdateStmt():
                return self._change(query, query.fromClause, outside, report)
            case ast.DeleteStmt():
                return self._change(query, query.usingClause, outside, report)
            case ast.MergeStmt():
                return self._merge(query, outside, report)
        raise NotImplementedError(type(query).__name__)

    def _ctes(self, clause: Any, scope: _Scope, report: list[str]) -> None:
        for cte in clause.ctes if clause else ():
            names = [name.sval for name in cte.aliascolnames or ()]
            query = cte.ctequery
            if clause.recursive and isinstance(query, ast.SelectStmt) and query.larg is not None:
                columns = _renamed(self.query(query.larg, scope, []), names)
                while True:
                    scope.ctes[cte.ctename] = columns
                    narrower = _renamed(self.query(query, scope, []), names)
                    if narrower == columns:
                        break
                    columns = [
                        _Column(a.name, a.anchored and b.anchored)
                        for a, b in zip(columns, narrower, strict=True)
                    ]
                    if columns == scope.ctes[cte.ctename]:
                        break
                self.query(query, scope, report)
            else:
                scope.ctes[cte.ctename] = _renamed(self.query(query, scope, report), names)

    def _select(self, select: ast.SelectStmt, outside: _Scope, report: list[str]) -> list[_Column]:
        if select.op != SetOperation.SETOP_NONE:
            left = self.query(select.larg, outside, report)
            right = self.query(select.rarg, outside, report)
            for part in (select.sortClause, select.limitCount, select.limitOffset):
                self.visit(part, outside, report)
            if len(left) != len(right):
                return [_Column(column.name, False) for column in left]
            return [_Column(a.name, a.anchored and b.anchored) for a, b in zip(left, right, strict=True)]
        if select.valuesLists:
            self.visit(select.valuesLists, outside, report)
            return [
                _Column(f"column{number}", all(self._anchored(value, outside) for value in values))
                for number, values in enumerate(zip(*select.valuesLists, strict=True), 1)
            ]
        scope = _Scope(outside)
        for item in select.fromClause or ():
            self._from(item, scope, report)
        if select.whereClause is not None:
            scope.filters.append((select.whereClause, None))
        self._settle(scope, report)
        for name in ast.SelectStmt.__slots__:
            if name not in ("fromClause", "withClause", "larg", "rarg", "op", "intoClause"):
                self.visit(getattr(select, name), scope, report)
        if select.intoClause is not None:
            report.append("SELECT INTO makes a table")
        return self._outputs(select.targetList, scope)

    def _insert(self, insert: ast.InsertStmt, outside: _Scope, report: list[str]) -> list[_Column]:
        table = self._tenant(insert.relation, None)
        named = [column.name for column in insert.cols or ()]
        given = self.query(insert.selectStmt, outside, report) if insert.selectStmt is not None else []
        if table and USER_ID not in named:
            report.append(f"INSERT into {table} does not name {USER_ID}")
        elif table:
            position = named.index(USER_ID)
            if position >= len(given) or not given[position].anchored:
                report.append(f"INSERT into {table} takes {USER_ID} from what is no user's parameter")
        scope = _Scope(outside)
        target = self._add(insert.relation, scope)
        conflict = insert.onConflictClause
        if conflict is not None and conflict.action == OnConflictAction.ONCONFLICT_UPDATE:
            scope.relations["excluded"] = _Relation(scope.relations[target].columns)
            scope.known.add(_Node(scope, "excluded", USER_ID))
            places = {place.name for place in (conflict.infer.indexElems if conflict.infer else ()) or ()}
            if USER_ID in places:
                scope.known.add(_Node(scope, target, USER_ID))
            if conflict.whereClause is not None:
                scope.filters.append((conflict.whereClause, None))
            self._settle(scope, report, "ON CONFLICT DO UPDATE of ")
            self._assignments(conflict.targetList, table, scope, report)
            self.visit(conflict.whereClause, scope, report)
            del scope.relations["excluded"]
        scope.known.add(_Node(scope, target, USER_ID))
        return self._returning(insert, scope, report)

    def _change(self, change: Any, others: Any, outside: _Scope, report: list[str]) -> list[_Column]:
        """An UPDATE or a DELETE."""
        scope = _Scope(outside)
        self._add(change.relation, scope)
        for item in others or ():
            self._from(item, scope, report)
        if change.whereClause is not None:
            scope.filters.append((change.whereClause, None))
        self._settle(scope, report)
        if isinstance(change, ast.UpdateStmt):
            self._assignments(change.targetList, self._tenant(change.relation, None), scope, report)
        self.visit(change.whereClause, scope, report)
        return self._returning(change, scope, report)

    def _merge(self, merge: ast.MergeStmt, outside: _Scope, report: list[str]) -> list[_Column]:
        scope = _Scope(outside)
        self._from(merge.sourceRelation, scope, report)
        target = self._add(merge.relation, scope)
        table = scope.relations[target].tenant
        # What matches nothing is merged too: the condition says nothing of the source.
        scope.filters.append((merge.joinCondition, frozenset({target})))
        self._settle(scope, report)
        self.visit(merge.joinCondition, scope, report)
        for clause in merge.mergeWhenClauses:
            self.visit(clause.condition, scope, report)
            alone = scope
            if (
                clause.matchKind == MergeMatchKind.MERGE_WHEN_NOT_MATCHED_BY_SOURCE
                and clause.commandType != CmdType.CMD_NOTHING
            ):
                alone = _Scope(outside)
                self._add(merge.relation, alone)
                if clause.condition is not None:
                    alone.filters.append((clause.condition, None))
                self._settle(alone, report, "WHEN NOT MATCHED BY SOURCE, ")
            if clause.commandType == CmdType.CMD_UPDATE:
                self._assignments(clause.targetList, table, alone, report)
            if clause.commandType == CmdType.CMD_INSERT:
                self.visit(clause.values, scope, report)
                named = [column.name for column in clause.targetList or ()]
                values = clause.values or ()
                if table and not (USER_ID in named and self._anchored(values[named.index(USER_ID)], scope)):
                    report.append(f"MERGE inserts into {table} without a user's {USER_ID}")
        return self._returning(merge, scope, report)

    def _assignments(self, targets: Any, table: str | None, scope: _Scope, report: list[str]) -> None:
        for target in targets:
            self.visit(target.val, scope, report)
            if table and target.name == USER_ID and not self._anchored(target.val, scope):
                report.append(f"{table} is given to another user")

    def _returning(self, query: Any, scope: _Scope, report: list[str]) -> list[_Column]:
        clause = query.returningClause
        if clause is None:
            return []
        for option in clause.options or ():
            scope.relations[option.value] = next(iter(scope.relations.values()))
        self.visit(clause.exprs, scope, report)
        return self._outputs(clause.exprs, scope)

    def _outputs(self, targets: Any, scope: _Scope) -> list[_Column]:
        columns: list[_Column] = []
        for target in targets or ():
            value = target.val
            if isinstance(value, ast.ColumnRef) and isinstance(value.fields[-1], ast.A_Star):
                columns += self._star([part.sval for part in value.fields[:-1]], scope)
                continue
            name = target.name
            if name is None and isinstance(value, ast.ColumnRef):
                name = value.fields[-1].sval
            columns.append(_Column(name, self._anchored(value, scope)))
        return columns

    def _star(self, before: list[str], scope: _Scope) -> list[_Column]:
        wanted = [before[-1]] if before else list(scope.relations)
        merged = {} if before else scope.merged
        columns = [_Column(name, node is not None and self._is_known(node)) for name, node in merged.items()]
        for alias in wanted:
            owner: _Scope | None = scope
            while owner is not None and alias not in owner.relations:
                owner = owner.parent
            if owner is not None:
                columns += [
                    _Column(name, self._is_known(_Node(owner, alias, name)))
                    for name in owner.relations[alias].columns
                    if name not in merged
                ]
        return columns

    # FROM

    def _tenant(self, relation: ast.RangeVar, scope: _Scope | None) -> str | None:
        """Return the tenant table that a name means, if it means one."""
        name: str = relation.relname
        if relation.schemaname not in (None, "public") or name not in self.schema.tenant_tables:
            return None
        if relation.schemaname is None and scope is not None and scope.cte(name) is not None:
            return None
        self._tables.add(name)
        return name

    def _add(self, relation: ast.RangeVar, scope: _Scope) -> str:
        """Add a table that is written to, which is no CTE whatever its name, and return its alias."""
        alias: str = relation.alias.aliasname if relation.alias else relation.relname
        table = self._tenant(relation, None)
        scope.relations[alias] = _Relation(self.schema.columns.get(relation.relname, ()), table)
        return alias

    def _from(
        self, item: Any, scope: _Scope, report: list[str]
    ) -> tuple[frozenset[str], dict[str, _Node | None]]:
        """Add what a FROM holds; return its aliases and the columns that USING has merged."""
        match item:
            case ast.RangeVar():
                return frozenset({self._add_named(item, scope)}), {}
            case ast.RangeSubselect():
                alias = item.alias.aliasname if item.alias else f"#{len(scope.relations)}"
                names = [name.sval for name in item.alias.colnames or ()] if item.alias else []
                if item.lateral:
                    scope.laterals.append((alias, item.subquery, names))
                    columns = self.query(item.subquery, scope, [])
                else:
                    # Siblings are not to be seen from inside, only the levels around.
                    columns = self.query(item.subquery, scope.parent, report)
                self._derive(scope, alias, _renamed(columns, names))
                return frozenset({alias}), {}
            case ast.RangeFunction():
                return frozenset({self._add_function(item, scope, report)}), {}
            case ast.RangeTableSample():
                return self._from(item.relation, scope, report)
            case ast.JoinExpr():
                return self._join(item, scope, report)
        report.append(f"{type(item).__name__} in FROM is not understood")
        return frozenset(), {}

    def _add_named(self, relation: ast.RangeVar, scope: _Scope) -> str:
        alias: str = relation.alias.aliasname if relation.alias else relation.relname
        cte = scope.cte(relation.relname) if relation.schemaname is None else None
        if cte is not None:
            names = [name.sval for name in relation.alias.colnames or ()] if relation.alias else []
            self._derive(scope, alias, _renamed(cte, names))
            return alias
        columns = self.schema.columns.get(relation.relname, ())
        scope.relations[alias] = _Relation(columns, self._tenant(relation, scope))
        if relation.alias and relation.alias.colnames and scope.relations[alias].tenant:
            # Renamed columns: then no predicate can be told to be about `user_id`.
            scope.relations[alias].columns = ()
        return alias

    def _add_function(self, item: ast.RangeFunction, scope: _Scope, report: list[str]) -> str:
        calls = [call for call, _ in item.functions]
        alias = item.alias.aliasname if item.alias else calls[0].funcname[-1].sval
        names = [name.sval for name in item.alias.colnames or ()] if item.alias else []
        names += [column.colname for column in item.coldeflist or ()]
        arguments = [argument for call in calls for argument in getattr(call, "args", None) or ()]
        # Rows of parameters are parameters: `unnest(%(user_ids)s, %(item_ids)s) AS t (user_id, item_id)`.
        given = bool(arguments) and all(_is_parameter(argument) for argument in arguments)
        if not names and len(arguments) == 1:
            names = [alias]
        one_each = all(call.funcname[-1].sval == "unnest" for call in calls)
        anchored = []
        for position, name in enumerate(names):
            source = arguments[position] if one_each and position < len(arguments) else None
            from_users = source is None or self._anchored(source, scope)
            anchored.append(_Column(name, given and from_users and name == USER_ID))
        self._derive(scope, alias, anchored)
        scope.filters.append((item.functions, frozenset()))
        return alias

    def _derive(self, scope: _Scope, alias: str, columns: list[_Column]) -> None:
        scope.relations[alias] = _Relation(tuple(column.name or "?" for column in columns))
        anchored = {column.name for column in columns if column.anchored and column.name}
        scope.known |= {_Node(scope, alias, name) for name in anchored}

    def _join(
        self, join: ast.JoinExpr, scope: _Scope, report: list[str]
    ) -> tuple[frozenset[str], dict[str, _Node | None]]:
        left, merged_left = self._from(join.larg, scope, report)
        right, merged_right = self._from(join.rarg, scope, report)
        allowed = {
            JoinType.JOIN_INNER: left | right,
            JoinType.JOIN_LEFT: right,
            JoinType.JOIN_RIGHT: left,
        }.get(join.jointype, frozenset())
        if join.quals is not None:
            scope.filters.append((join.quals, allowed))
        if join.isNatural:
            report.append("NATURAL JOIN does not say what it joins on")
        if join.alias is not None:
            report.append("a join under a name of its own is not understood")
        merged = {**merged_left, **merged_right}
        for name in [part.sval for part in join.usingClause or ()]:
            one = _within(scope, left, merged_left, name)
            other = _within(scope, right, merged_right, name)
            if one is not None and other is not None:
                scope.filters.append(((one, other), allowed))
            kept = {JoinType.JOIN_INNER: one, JoinType.JOIN_LEFT: one, JoinType.JOIN_RIGHT: other}
            merged[name] = kept.get(join.jointype)
        scope.merged.update(merged)
        return left | right, merged

    # What is proved

    def _settle(self, scope: _Scope, report: list[str], where: str = "") -> None:
        """Find everything that the filters of a level prove, and report the tables they leave open."""
        while True:
            before = len(scope.known)
            for condition, allowed in scope.filters:
                proved = self._proves(condition, scope)
                if allowed is not None:
                    proved = {node for node in proved if node.alias in allowed}
                scope.known |= {node for node in proved if node.scope is scope}
            for alias, query, names in scope.laterals:
                self._derive(scope, alias, _renamed(self.query(query, scope, []), names))
            if len(scope.known) == before:
                break
        for _, query, _ in scope.laterals:
            self.query(query, scope, report)
        for condition, _ in scope.filters:
            if not _is_pair(condition):
                self.visit(condition, scope, report)
        for alias, relation in scope.relations.items():
            if relation.tenant and _Node(scope, alias, USER_ID) not in scope.known:
                shown = relation.tenant if alias == relation.tenant else f"{relation.tenant} as {alias}"
                report.append(f"{where}{shown}: nothing holds its {USER_ID} to a user")

    def _proves(self, condition: Any, scope: _Scope) -> set[_Node]:
        """Return the columns that hold nothing but users wherever a condition is true."""
        if _is_pair(condition):
            one, other = condition
            return ({one} if self._is_known(other) else set()) | ({other} if self._is_known(one) else set())
        match condition:
            case ast.BoolExpr(boolop=BoolExprType.AND_EXPR):
                return set().union(*(self._proves(part, scope) for part in condition.args))
            case ast.BoolExpr(boolop=BoolExprType.OR_EXPR):
                return set.intersection(*(self._proves(part, scope) for part in condition.args))
            case ast.A_Expr() if condition.kind in _EQUAL and condition.name[-1].sval == "=":
                return self._equal(condition.lexpr, condition.rexpr, scope)
            case ast.A_Expr() if condition.kind in (A_Expr_Kind.AEXPR_OP_ANY, A_Expr_Kind.AEXPR_IN):
                if condition.name[-1].sval != "=":
                    return set()
                among = condition.rexpr if isinstance(condition.rexpr, tuple) else (condition.rexpr,)
                if isinstance(condition.lexpr, ast.RowExpr):
                    return set.intersection(*(self._equal(condition.lexpr, one, scope) for one in among))
                return self._held(condition.lexpr, all(self._anchored(one, scope) for one in among), scope)
            case ast.SubLink(subLinkType=SubLinkType.ANY_SUBLINK):
                if condition.operName is not None and condition.operName[-1].sval != "=":
                    return set()
                row = condition.testexpr
                left = row.args if isinstance(row, ast.RowExpr) else (row,)
                right = self.query(condition.subselect, scope, [])
                if len(left) != len(right):
                    return set()
                return set().union(
                    *(self._held(a, b.anchored, scope) for a, b in zip(left, right, strict=True))
                )
        return set()

    def _equal(self, left: Any, right: Any, scope: _Scope) -> set[_Node]:
        if isinstance(left, ast.RowExpr) and isinstance(right, ast.RowExpr):
            pairs = zip(left.args, right.args, strict=True)
            return set().union(*(self._equal(a, b, scope) for a, b in pairs))
        return self._held(left, self._anchored(right, scope), scope) | self._held(
            right, self._anchored(left, scope), scope
        )

    def _held(self, value: Any, anchored: bool, scope: _Scope) -> set[_Node]:
        if not anchored or not isinstance(value, ast.ColumnRef) or isinstance(value.fields[-1], ast.A_Star):
            return set()
        node = scope.find([part.sval for part in value.fields])
        return {node} if isinstance(node, _Node) else set()

    def _is_known(self, node: _Node) -> bool:
        return node in node.scope.known

    def _anchored(self, value: Any, scope: _Scope) -> bool:
        """Whether a value can only be a user, or users, that a parameter names."""
        match value:
            case ast.TypeCast():
                return self._anchored(value.arg, scope)
            case ast.A_ArrayExpr():
                return bool(value.elements) and all(self._anchored(one, scope) for one in value.elements)
            case ast.ParamRef():
                number = value.number - 1
                name = self._parameters[number] if number < len(self._parameters) else None
                return self._is_user(name)
            case ast.ColumnRef() if not isinstance(value.fields[-1], ast.A_Star):
                found = scope.find([part.sval for part in value.fields])
                if isinstance(found, _Argument):
                    return self._is_user(found.name)
                return found is not None and self._is_known(found)
            case ast.SubLink(subLinkType=SubLinkType.EXPR_SUBLINK):
                columns = self.query(value.subselect, scope, [])
                return len(columns) == 1 and columns[0].anchored
            case ast.FuncCall() if value.funcname[-1].sval == "unnest":
                return len(value.args) == 1 and self._anchored(value.args[0], scope)
        return False

    def _is_user(self, name: str | None) -> bool:
        if name is not None and not _USERS.fullmatch(name):
            return False
        self._users.add(name)
        return True

    # What hides in expressions

    def visit(self, node: Any, scope: _Scope, report: list[str]) -> None:
        """Check the queries and calls inside an expression."""
        match node:
            case tuple() | list():
                for part in node:
                    self.visit(part, scope, report)
            case ast.SubLink():
                self.visit(node.testexpr, scope, report)
                self.query(node.subselect, scope, report)
            case ast.Node():
                if isinstance(node, ast.FuncCall):
                    self._call(node, scope, report)
                for name in node:
                    self.visit(getattr(node, name), scope, report)

    def _call(self, call: ast.FuncCall, scope: _Scope, report: list[str]) -> None:
        name = call.funcname[-1].sval
        arguments = call.args or ()
        if name in self.schema.functions:
            self._tables.add(f"{name}()")
        for position in self.schema.functions.get(name, ()):
            if position >= len(arguments) or not self._anchored(arguments[position], scope):
                report.append(f"{name}() is called for something that is no user's parameter")


def _names(node: Any) -> set[str]:
    """Names of all tables that a tree of any kind mentions."""
    return {found.relname for found in _walk(node) if isinstance(found, ast.RangeVar)}


def _walk(node: Any) -> Iterator[Any]:
    yield node
    if isinstance(node, tuple):
        for part in node:
            yield from _walk(part)
    elif isinstance(node, ast.Node):
        for name in node:
            yield from _walk(getattr(node, name))


def _flat(bodies: Any) -> list[Any]:
    if isinstance(bodies, tuple):
        return [body for part in bodies for body in _flat(part)]
    return [bodies]


def _is_pair(condition: Any) -> bool:
    return isinstance(condition, tuple) and len(condition) == 2 and isinstance(condition[0], _Node)


def _is_parameter(value: Any) -> bool:
    while isinstance(value, ast.TypeCast):
        value = value.arg
    return isinstance(value, ast.ParamRef)


def _renamed(columns: list[_Column], names: Sequence[str]) -> list[_Column]:
    return [
        _Column(names[index] if index < len(names) else column.name, column.anchored)
        for index, column in enumerate(columns)
    ]


def _within(
    scope: _Scope, aliases: frozenset[str], merged: Mapping[str, _Node | None], name: str
) -> _Node | None:
    """Return the column of this name on one side of a join."""
    if name in merged:
        return merged[name]
    owners = [alias for alias in aliases if name in scope.relations[alias].columns]
    return _Node(scope, owners[0], name) if len(owners) == 1 else None
