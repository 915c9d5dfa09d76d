"""``labeling status``: how far a flow has come, live or as it was left.

Always holds: what is shown of positions, watermarks and counts is as of one commit or later ones;
what only a running flow knows (lag, memory, freshness) is shown while one runs.

Not promised: that a flow which does not answer has ended. It may be starting.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import click

#: The year 10000: what is declared to be all there is has its end beyond.
_BEYOND_MS: Final = 253_402_300_800_000
#: An instant of epoch ms, as text; null where nothing was read yet.
_TIME: Final = (
    f"CASE WHEN {{0}} >= {_BEYOND_MS} THEN 'the end' "
    "WHEN {0} > 0 THEN strftime(epoch_ms({0}), '%Y-%m-%dT%H:%M:%S') END"
)

_COUNTS: Final = "SELECT * FROM counts_total"
_PARTITIONS: Final = (
    "SELECT source, topic, partition, min(next_offset) AS next_offset, "
    f"{_TIME.format('min(mark_ms)')} AS mark, bool_and(idle) AS idle "
    "FROM positions GROUP BY ALL ORDER BY ALL"
)
_MARKS: Final = (
    f"SELECT kind, name, {_TIME.format('min(f_ms)')} AS watermark FROM watermarks "
    "GROUP BY ALL ORDER BY ALL"
)
_RULES: Final = (
    "SELECT s.rule, s.version, strftime(s.since_ts, '%Y-%m-%dT%H') AS since, "
    "strftime(max(h.hour) FILTER (h.complete), '%Y-%m-%dT%H') AS last_complete_hour, "
    "CAST(sum(h.rows) AS BIGINT) AS rows_of_noted_hours FROM streams s "
    "LEFT JOIN hours h ON h.rule = s.rule AND h.version = s.version GROUP BY ALL ORDER BY ALL"
)
_REPAIRS: Final = (
    f"SELECT r.rule, r.version, {_TIME.format('r.f_ms')} AS watermark, "
    "CASE WHEN r.f_ms > 0 THEN greatest(0, w.f_ms - r.f_ms) // 1000 END AS behind_s, r.rows, "
    "r.events, round(r.bytes / 1e6, 1) AS mb_read, r.bytes // greatest(r.rows, 1) AS bytes_a_row "
    "FROM repairs r CROSS JOIN (SELECT min(f_ms) AS f_ms FROM watermarks WHERE kind = 'source') w "
    "ORDER BY ALL"
)
_GAPS: Final = (
    "SELECT source, topic, partition, from_offset, to_offset, "
    "strftime(from_ts, '%Y-%m-%dT%H:%M:%S') AS from_time, "
    "strftime(to_ts, '%Y-%m-%dT%H:%M:%S') AS to_time FROM gaps ORDER BY ALL"
)
_TABLES: Final = {
    "counts": _COUNTS,
    "partitions": _PARTITIONS,
    "watermarks": _MARKS,
    "rules": _RULES,
    "repairs": _REPAIRS,
    "gaps": _GAPS,
}


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("--config", "path", type=click.Path(path_type=Path), help="labeling.toml to use.")
def command(as_json: bool, path: Path | None) -> None:
    """Show how far the flow has come: partitions, watermarks, rules, gaps, and what it waits for.

    Example: labeling status
    """
    from labeling.cli.output import emit
    from labeling.config import find_config, load_config
    from labeling.io.remote import RemoteStore, open_store

    config = load_config(path or find_config())
    with open_store(config.store, read_only=True) as store:
        live = store.status() if isinstance(store, RemoteStore) else None
        tables = {name: store.query(sql) for name, sql in _TABLES.items()}
    if as_json:
        told = {name: frame.to_dicts() for name, frame in tables.items()}
        click.echo(json.dumps({"live": live, **told}, default=str))
        return
    click.echo(_headline(live))
    for name, frame in tables.items():
        if frame.height:
            click.echo(f"\n{name}")
            emit(frame, "table", None)
        elif name not in ("gaps", "repairs"):
            click.echo(f"\n{name}: none")


def _headline(live: dict[str, Any] | None) -> str:
    """What only a running flow knows, in a few lines."""
    if live is None:
        return "no flow is running; this is how the last one left it"
    lags = [p["lag"] for p in live["partitions"] if p["lag"] is not None]
    held = live["held"]
    memory = f"{held['events']:,} events in memory ({held['bytes'] / 1e6:,.0f} MB)"
    lines = [f"running: commit {live['last_commit']}, lag {sum(lags):,} records, {memory}"]
    if live["freshness_s"]:
        fresh = ", ".join(f"{name} {value:.1f} s" for name, value in live["freshness_s"].items())
        lines.append(f"freshness: {fresh}")
    if live["waiting"]:
        lines.append(f"waiting: {live['waiting']}")
    lines += [f"problem: {text}" for text in live["problems"]]
    return "\n".join(lines)
