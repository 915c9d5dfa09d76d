"""What a question to the store may be.

Always holds: what ``check`` lets through is one statement that only reads: no data-modifying CTE,
no EXPLAIN of anything else, no table function that is not listed here (those that read files,
take pointers, run text as SQL or steer the database are not), no function call that makes a value
of any size out of nothing. It looks at DuckDB's own parse tree, so that quoting, comments and
method calls change nothing.

Not promised: that a question is cheap, or that it names things that exist. Nor that files are out
of reach by this alone: a name such as ``'x.csv'`` is a table here; the session that answers must
have no access to files (see ``database``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import duckdb

from labeling.errors import StoreError

#: Table functions that read nothing but the catalog, or nothing at all.
TABLE_FUNCTIONS: Final = frozenset(
    {
        *("range", "generate_series", "unnest", "repeat", "repeat_row", "json_each", "json_tree"),
        *("histogram", "histogram_values", "summary", "icu_calendar_names", "pg_timezone_names"),
        *("duckdb_columns", "duckdb_constraints", "duckdb_databases", "duckdb_functions"),
        *("duckdb_indexes", "duckdb_keywords", "duckdb_memory", "duckdb_schemas"),
        *("duckdb_settings", "duckdb_tables", "duckdb_types", "duckdb_views"),
        *("pragma_database_size", "pragma_show", "pragma_storage_info", "pragma_table_info"),
        "pragma_version",
    }
)
#: Functions that change something, wait, or write.
_REFUSED: Final = frozenset(
    {"currval", "nextval", "setval", "setseed", "sleep_ms", "write_log", "getvariable"}
)
#: Functions whose argument at this place (None: every argument) says how large their value is: they
#: allocate it in one go, where neither a limit on memory nor one on time can stop them.
_SIZED: Final = {
    "repeat": 1,
    "lpad": 1,
    "rpad": 1,
    "list_resize": 1,
    "array_resize": 1,
    "range": None,
    "generate_series": None,
}
_MAX_SIZE: Final = 100_000
_READING: Final = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})
_KINDS: Final = ("SELECT", "EXPLAIN")


def check(con: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Refuse what is not one reading statement; see the module's law.

    Args:
        con: parses; nothing is run but that.
        sql: SELECT, FROM, WITH, VALUES, DESCRIBE, SUMMARIZE, SHOW, or EXPLAIN of one of them.

    Raises:
        StoreError: what is refused, and what to write instead; or DuckDB's message where it is
            no SQL.
    """
    try:
        sql.encode()
        statements = duckdb.extract_statements(sql)
    except (duckdb.Error, UnicodeEncodeError) as error:
        raise StoreError(str(error)) from error
    if len(statements) != 1:
        raise StoreError(f"one statement is expected, {len(statements)} were given")
    kind = statements[0].type.name
    if kind not in _KINDS:
        raise StoreError(f"{kind} is refused: the store is only read here; write a SELECT")
    for node in _nodes(_tree(con, _explained(sql) if kind == "EXPLAIN" else sql)):
        _check_node(node)


def _explained(sql: str) -> str:
    """What an EXPLAIN explains."""
    text = sql.encode()
    skip = {"explain", "analyze"}
    depth = 0
    starts = [offset for offset, _ in duckdb.tokenize(sql)]
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        token = text[start:end].decode().strip().lower()
        depth += (token == "(") - (token == ")")  # noqa: S105 - a bracket is no password
        plain = token not in skip and token != ")" and not token.startswith(("--", "/*"))  # noqa: S105 - likewise
        if plain and depth == 0:
            return text[start:].decode()
    return sql


def _tree(con: duckdb.DuckDBPyConnection, sql: str) -> Any:
    """DuckDB's parse tree.

    Raises:
        StoreError: it is not of a reading statement, or nested too deeply.
    """
    try:
        text = con.sql("SELECT json_serialize_sql(?)", params=[sql]).fetchall()[0][0]
        tree = json.loads(text)
    except (duckdb.Error, RecursionError) as error:
        raise StoreError(f"the question cannot be read: {error}") from error
    if tree["error"]:
        raise StoreError(f"the store is only read here; write a SELECT ({tree['error_message']})")
    return tree["statements"]


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every node; of a table function the arguments, not the call itself."""
    waiting = [tree]
    while waiting:
        each = waiting.pop()
        if isinstance(each, list):
            waiting.extend(each)
        elif isinstance(each, dict):
            yield each
            if each.get("type") == "TABLE_FUNCTION":
                call = each["function"]
                each = {**each, "function": {k: v for k, v in call.items() if k != "class"}}
            waiting.extend(each.values())


def _check_node(node: dict[str, Any]) -> None:
    kind = str(node.get("type", ""))
    if kind.endswith("_NODE") and kind not in _READING:
        what = kind.split("_", maxsplit=1)[0]
        raise StoreError(f"{what} is refused: the store is only read here; write a SELECT")
    if kind == "TABLE_FUNCTION":
        name = str(node["function"].get("function_name", "")).lower()
        if name not in TABLE_FUNCTIONS:
            raise StoreError(
                f"table function {name} is refused: questions see the store's tables and views, "
                "and no files"
            )
    elif node.get("class") in {"FUNCTION", "WINDOW"}:
        _check_call(node)


def _check_call(node: dict[str, Any]) -> None:
    name = str(node.get("function_name", "")).lower()
    if name in _REFUSED:
        raise StoreError(f"function {name} is refused: the store is only read here")
    if name not in _SIZED:
        return
    if not all(_is_small(size) for size in _sizes(node, _SIZED[name])):
        rather = f"; read FROM {name}(...) instead" if _SIZED[name] is None else ""
        raise StoreError(
            f"{name}: a size that is not a plain number up to {_MAX_SIZE} is refused{rather}"
        )


def _sizes(node: dict[str, Any], place: int | None) -> list[Any]:
    """The arguments that may be a size; a named one is none, and refused for that."""
    listed = node.get("arguments", node.get("children", []))
    values = [None if a.get("name") else a.get("expression", a) for a in listed]
    if place is None or None in values:
        return values
    # x.repeat(5) is repeat(x, 5), and looks like a function of the schema x.
    first = place - 1 if node.get("schema") else place
    return values[first : place + 1]


def _is_small(node: Any) -> bool:
    literal = node.get("literal") if isinstance(node, dict) else None
    if not isinstance(literal, dict) or literal.get("kind") != "INTEGER":
        return False
    text = str(literal.get("text", ""))
    return len(text) <= len(str(_MAX_SIZE)) and abs(int(text)) <= _MAX_SIZE
