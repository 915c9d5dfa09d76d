"""The rows in which a store and the raw log differ, by plain DuckDB.

``labeling sql`` reaches no file but the store, so the query that reads both is DuckDB's own.

    compare.py check.sql differences.csv    in the folder of store.duckdb
"""

import sys
from pathlib import Path

import duckdb

query, out = map(Path, sys.argv[1:])
with duckdb.connect("store.duckdb", read_only=True) as store:
    store.execute("SET TimeZone = 'UTC'")
    store.sql(query.read_text(encoding="utf-8")).write_csv(str(out))
