"""What must be true of everything that a flow makes of its rows, whatever happened on the way.

Always holds: samples, hourly sums and digests are held to a count of the rows there are, by the
command that an operator would type; markers to the digests, and the topic of markers to the store.

Not promised: that the rows are right; ``live_checks`` holds them to the archive.
"""

from __future__ import annotations

import json
from typing import Any

import polars as pl

from labeling.config import load_tree
from labeling.config.rules import Tree
from tests.live_project import LiveProject
from tests.replay_project import same_modules

_SUMS = ("rows", "digest_hi", "digest_lo")


def tree_of(project: LiveProject) -> Tree:
    """Rules, samples and rollups of a project."""
    with same_modules():
        return load_tree(project.config)


def check_products(project: LiveProject) -> None:
    """Hold samples, sums, digests and markers of a closed store to what they are made of."""
    check_recount(project)
    check_samples(project)
    check_markers(project)


def check_recount(project: LiveProject) -> None:
    """``labeling recount`` finds no difference, of anything that the tree declares."""
    done = project.command("recount")
    assert done.exit_code == 0, done.output
    said = [line for line in done.output.splitlines() if "equal to a recount" in line]
    tree = tree_of(project)
    for kind, names in (
        ("digests", [r.key for r in (*tree.rules, *tree.samples)]),
        ("samples", [s.key for s in tree.samples]),
        ("rollup", [r.key for r in tree.rollups]),
    ):
        for name in names:
            assert any(line.startswith(f"{kind} {name}: ") for line in said), (name, done.output)


def check_samples(project: LiveProject) -> None:
    """There are samples with features and without, and positives that were kept for being so."""
    for sample in tree_of(project).samples:
        counts = project.query(
            f'SELECT status, {sample.label} AS label, count(*) AS n FROM "{sample.table.table}" '
            "GROUP BY ALL"
        )
        assert {"joined", "no_features"} <= set(counts["status"]), counts
        assert {True, False} <= set(counts["label"]), counts


def check_markers(project: LiveProject) -> None:
    """Revisions without a gap, deltas that sum up, digests that agree; the topic has them too."""
    markers = project.query("FROM markers ORDER BY rule, version, hour, revision")
    by = ["rule", "version", "hour"]
    summed = markers.group_by(by).agg(
        pl.col("delta_rows", "delta_hi", "delta_lo").sum(),
        pl.col("rows", "digest_hi", "digest_lo", "state").sort_by("revision").last(),
        n=pl.len(), last=pl.col("revision").max(),
    )  # fmt: skip
    assert summed.height > 0
    assert summed.filter(pl.col("n") != pl.col("last")).is_empty()
    for delta, whole in zip(("delta_rows", "delta_hi", "delta_lo"), _SUMS, strict=True):
        assert summed.filter(pl.col(delta) != pl.col(whole)).is_empty(), summed
    # What is not settled may have moved since its marker.
    over = summed.filter(pl.col("state") != "complete").select(*by, *_SUMS)
    digests = project.query("FROM digests").select(
        *by, *(pl.col(c).alias(f"now_{c}") for c in _SUMS)
    )
    both = over.join(digests, on=by, how="left").with_columns(pl.col("^now_.*$").fill_null(0))
    assert over.height > 0
    for name in _SUMS:
        assert both.filter(pl.col(name) != pl.col(f"now_{name}")).is_empty(), both
    _check_told(project, markers)


def _check_told(project: LiveProject, markers: pl.DataFrame) -> None:
    """A consumer of the markers' topic that drops repeats has every marker, in order by hour."""
    topic = project.live.get("markers_topic")
    if not topic:
        return
    told: dict[tuple[Any, ...], list[int]] = {}
    for _, value in project.consumed(topic):
        one = json.loads(value)
        known = told.setdefault((one["rule"], one["version"], one["hour"][:13]), [])
        if one["revision"] not in known:
            assert one["revision"] == len(known) + 1
            known.append(one["revision"])
    stored = markers.group_by("rule", "version", pl.col("hour").dt.strftime("%Y-%m-%dT%H")).agg(
        pl.col("revision").max()
    )
    assert {key: len(found) for key, found in told.items()} == {
        (rule, version, hour): last for rule, version, hour, last in stored.iter_rows()
    }
