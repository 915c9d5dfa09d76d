"""``labeling verify``: what was published, held against a replay of the archive.

Always holds: the last line counts the rows and what differs; the exit status is 1 where a row
differs for another reason than events that came too late, or where hours of the range were left
out, else 0. Without ``--publish`` nothing is written.

Not promised: that published rows are as good as they could be. Events too late for the stream are
listed as ``too late`` and are no failure; ``--publish`` brings them in.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from labeling.cli.output import emit
from labeling.cli.progress import progress_bar
from labeling.cli.replay import chosen, left_out, published, served, topics_only
from labeling.cli.times import parse_hour
from labeling.errors import DataError

if TYPE_CHECKING:
    from datetime import datetime

    from backfill.verify import HourVerified
    from backfill.verify_plan import VerifyPlan
    from labeling.config import Config, Tree
    from labeling.io.archive import Archive
    from labeling.io.store import Store
    from labeling.model.kinds import Rule

#: Differing rows that are shown: of an hour, and in all.
_EXAMPLES: Final = 3
_SHOWN: Final = 10
#: More hours than these are shown only where they differ.
_HOURS: Final = 48
_COUNTS: Final = ("rows", "equal", "missing", "extra", "different", "revision", "too_late")


@click.command("verify")
@click.option("--from", "from_", required=True, help="First hour, UTC: 2026-11-20T00.")
@click.option("--to", "to", required=True, help="End of the range, exclusive: 2026-11-20T06.")
@click.option("--rule", "names", multiple=True, help="Only this rule (NAME or NAME@VERSION).")
@click.option("--publish", is_flag=True, help="Publish the hours that differ, as replay does.")
@click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table",
    help="json: an object per hour with every difference, then one of totals.",
)  # fmt: skip
@click.option("--config", "path", type=click.Path(path_type=Path), help="labeling.toml to use.")
@click.pass_context
def command(
    ctx: click.Context,
    from_: str,
    to: str,
    names: tuple[str, ...],
    publish: bool,
    form: str,
    path: Path | None,
) -> None:
    """Compare settled hours with what a replay makes of the same events: live equals replay.

    Example: labeling verify --from 2026-11-20T00 --to 2026-11-20T06 --rule note_labels
    """
    from backfill.verify_plan import plan_verify
    from labeling.config import find_config, load_config, load_tree
    from labeling.io import leases
    from labeling.io.archive import Archive
    from labeling.io.remote import open_store
    from labeling.live.outbox import listen

    config = load_config(path or find_config())
    tree = load_tree(config)
    rules = chosen(tree.rules, names)
    archive = Archive(config.archive, config.columns)
    with (
        leases.publishing(config.store, dry=not publish),
        leases.reading(archive.root),
        open_store(config.store, read_only=not publish) as store,
    ):
        listen(store, config, tree)
        plans = [
            plan_verify(
                store,
                rule,
                parse_hour(from_),
                parse_hour(to),
                memory_bytes=config.memory_bytes,
                keep_ms=config.retention.get(rule.name),
            )
            for rule in rules
        ]
        report = _Report(form)
        for each in plans:
            report.rule(each, _verified(store, archive, each, form))
        report.finish()
        if publish:
            _heal(store, archive, config, tree, report)
    if any(each.left_out for each in plans):
        raise DataError(_left_out(plans))
    ctx.exit(1 if report.bugs else 0)


def _verified(
    store: Store, archive: Archive, plan: VerifyPlan, form: str
) -> Iterator[HourVerified]:
    from backfill.verify import verify

    with progress_bar(plan.rule.key, plan.events, "events") as progress:
        examples = None if form == "json" else _EXAMPLES
        yield from verify(store, archive, plan, examples=examples, progress=progress)


class _Report:
    """Prints what was found, and adds it up."""

    def __init__(self, form: str) -> None:
        self._json = form == "json"
        self._lines: list[dict[str, Any]] = []
        self._examples: list[str] = []
        self._gaps: list[str] = []
        self.rows = self.bugs = self.too_late = 0
        #: Hours that differ, by rule.
        self.differing: dict[Rule, list[datetime]] = {}

    def rule(self, plan: VerifyPlan, hours: Iterator[HourVerified]) -> None:
        """Take in the hours of a rule."""
        for found in hours:
            self.rows += found.rows
            self.bugs += found.bugs
            self.too_late += found.too_late
            if found.bugs or found.too_late:
                self.differing.setdefault(plan.rule, []).append(found.hour)
            line = {
                "rule": plan.rule.key,
                "hour": _hour(found.hour),
                "published_by": found.published_by,
                **{name: getattr(found, name) for name in _COUNTS},
            }
            if self._json:
                click.echo(json.dumps(line | {"differences": _differences(found)}))
            else:
                self._lines.append(line)
                self._examples += _texts(plan.rule.key, found)
        for gap in plan.gaps:
            hours_of_gap = [_hour(h) for h in gap.hours]
            said = {"place": gap.place, "from_offset": gap.from_offset, "to_offset": gap.to_offset}
            if self._json:
                click.echo(json.dumps({"rule": plan.rule.key, "gap": said, "hours": hours_of_gap}))
            else:
                self._gaps.append(
                    f"gap: {plan.rule.key}: {gap.place} offsets {gap.from_offset} to "
                    f"{gap.to_offset} had expired before they were read; it touches "
                    f"{len(gap.hours)} hours from {hours_of_gap[0]} to {hours_of_gap[-1]}; "
                    "import them, then verify with --publish"
                )

    def finish(self) -> None:
        """Print what is printed at the end."""
        if self._json:
            totals = {"rows": self.rows, "too_late": self.too_late, "bugs": self.bugs}
            click.echo(json.dumps({"total": totals}))
            return
        self._table()
        for text in (*self._gaps, *self._examples[:_SHOWN]):
            click.echo(text)
        if len(self._examples) > _SHOWN:
            click.echo(f"... --format json tells all; these are {_SHOWN}")
        click.echo(self._last())

    def _table(self) -> None:
        """The hours; of many, those that differ."""
        import polars as pl

        lines = self._lines
        if len(lines) > _HOURS:
            lines = [line for line in lines if line["rows"] != line["equal"] or line["too_late"]]
            click.echo(f"{len(self._lines) - len(lines):,} hours have no difference")
        if lines:
            emit(pl.DataFrame(lines), "table", None)

    def _last(self) -> str:
        verb = "differs from" if self.bugs else "equals"
        text = f"live {verb} replay: {self.rows:,} rows, {self.bugs + self.too_late:,} differences"
        if self.bugs or self.too_late:
            text += f": {self.too_late:,} too late, {self.bugs:,} bugs"
        return text


def _heal(store: Store, archive: Archive, config: Config, tree: Tree, report: _Report) -> None:
    """Publish the hours that differ, through replay's own plan and publication."""
    from backfill.blocks import HOUR, runs
    from backfill.plan import plan
    from backfill.replay import replay

    plans = [
        plan(
            store,
            rule,
            run[0],
            run[-1] + HOUR,
            sources=[s.name for s in config.sources],
            live=topics_only(config),
            **served(config, tree, rule),
            memory_bytes=config.memory_bytes,
            force=True,
        )
        for rule, hours in report.differing.items()
        for run in runs(hours)
    ]
    for each in plans:
        with progress_bar(each.rule.key, each.events, "events") as progress:
            done = list(replay(store, archive, each, progress=progress))
        click.echo(f"{each.rule.key}: {published(each, done)}", err=True)
    if not plans:
        click.echo("nothing changed", err=True)
    if any(each.waiting or each.owned for each in plans):
        raise DataError(left_out(plans))


def _differences(found: HourVerified) -> list[dict[str, Any]]:
    import polars as pl

    from labeling.model.event import TS

    at = pl.col(TS).dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ")
    return found.differences.with_columns(at).to_dicts()


def _texts(key: str, found: HourVerified) -> Iterator[str]:
    """Examples as lines."""
    for row in _differences(found):
        column = f" {row['column']}" if row["column"] not in (None, row["kind"]) else ""
        touch = f" touch {row['touch_id']}" if row.get("touch_id") else ""
        yield (
            f"{row['cause']}: {key} user {row['user_id']} anchor {row['anchor_id']} at "
            f"{row['anchor_ts']}{touch}: {row['kind']}{column}: "
            f"stored {row['stored'] or 'no row'}, replayed {row['replayed'] or 'no row'}"
        )


def _left_out(plans: Sequence[VerifyPlan]) -> str:
    reasons = (
        ("unsettled", "not settled: the stream may still correct them"),
        ("unpublished", "not published whole: `labeling replay` does that"),
        ("dropped", "dropped by [retention]"),
    )
    texts = []
    for plan in plans:
        for name, why in reasons:
            hours: tuple[datetime, ...] = getattr(plan, name)
            if hours:
                texts.append(f"{plan.rule.key}: {len(hours)} hours left out, the first "
                             f"{_hour(hours[0])}: {why}")  # fmt: skip
    return "; ".join(texts)


def _hour(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H}"
