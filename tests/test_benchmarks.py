"""The benchmarks run, at sizes that say nothing about speed, and print what they promise.

Always holds: each benchmark is run, and what it printed is looked at by several tests.

Not promised: any figure.
"""

from __future__ import annotations

import io
import json
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any, Final

import duckdb
import pytest

from benchmarks import __main__ as command
from benchmarks import attribution, commands, measure
from tests.shipped import RULES

TINY: Final = {
    "evaluate": "--events 3000 --hours 1 --repeat 2",
    "sql_twin": "--events 6000 --hours 1.5 --parts 2",
    "step": "--events 12000 --hours 2 --batches 1500,4000 --rules hot",
    "held": "--sizes 3000,6000 --batch 500 --steps 2 --carry all",
    "importing": "--events 2000 --hours 1 --repeat 1",
    "replay": "--sizes 2000,4000 --hours 1,2 --repeat 1",
    "live": "--events 3000 --hours 1 --rate 1000 --seconds 3 --plain 1000 --features 600"
    " --rollups 1 --markers 1 --samples wait",
    "restart": "--events 20000",
    "cold": "--events 20000 --days 0.1 --steps 1",
    "attribution": "--events 20000 --hours 3 --rules all",
    "offline": "--events 3000 --hours 1",
    "samples_reader": "--samples 500 --features 2",
}


@cache
def printed(name: str) -> dict[str, Any]:
    """The JSON of a tiny run; it is the one line on standard output."""
    out = io.StringIO()
    with redirect_stdout(out):
        assert command.main([name, *TINY[name].split()]) == 0
    assert out.getvalue().count("\n") == 1
    found: dict[str, Any] = json.loads(out.getvalue())
    return found


def test_every_benchmark_has_a_tiny_run() -> None:
    """A benchmark that is not run here would not be noticed when it breaks."""
    assert set(TINY) == set(command.NAMES)
    files = {p.stem for p in Path(command.__file__).parent.glob("*.py")}
    assert set(command.NAMES) <= files


@pytest.mark.parametrize("name", command.NAMES)
def test_a_benchmark_prints_one_line(name: str) -> None:
    """The line has machine, versions, the parameters given and results; it stands alone."""
    line = printed(name)
    assert line["benchmark"] == name
    assert line["machine"]["cores"] >= 1
    assert line["machine"]["memory_gb"] > 0
    assert set(line["versions"]) == {"python", "polars", "duckdb", "numpy", "commit"}
    words = TINY[name].split()
    for option, value in zip(words[::2], words[1::2], strict=True):
        assert str(line["parameters"][option.removeprefix("--")]) in (value, f"{value}.0")
    assert line["results"]


def test_step_counts_every_event() -> None:
    """The steady state is part of the log, and rows come of it at every batch size."""
    for told in printed("step")["results"].values():
        assert told["steps"] > 0
        assert told["rows"] > 0
        assert told["evaluated_per_row"] > 0
        assert told["overall"]["events_per_second"] > 0
        assert told["bytes_per_held_event"] > 0


def test_step_tells_what_each_rule_costs() -> None:
    """Each rule that a flow streams makes rows by itself, and holds no more than all together."""
    for told in printed("step")["results"].values():
        alone = told["alone"]
        assert set(alone) == {"note_labels", "ad_click", "effective_play", "action_sources"}
        # Rows alone and together differ: the steady state of a short reach begins earlier.
        assert all(one["rows"] > 0 for one in alone.values())
        assert all(0 < one["state_mb"] <= told["state_mb"] for one in alone.values())


def test_held_steps_at_every_size() -> None:
    """What is held follows the size asked for, and steps close rows at each."""
    results = printed("held")["results"]
    assert results["last_to_first"] > 0
    small, large = results["3000"], results["6000"]
    assert 3_000 <= small["held"] < large["held"]
    assert large["held"] >= 6_000
    assert small["rows_per_step"] > 0


@pytest.mark.parametrize("name", ["sql_twin", "replay"])
def test_results_are_equal_to_the_sql(name: str) -> None:
    """What is compared with SQL says that it is equal, of rows and changes that are there."""
    results = printed(name)["results"]
    told = [results] if name == "sql_twin" else [r for r in results.values() if isinstance(r, dict)]
    for one in told:
        assert one["equal"] is True
        assert one["rows"] > 1_000
        assert one["changes"] > 0
        assert one["speed_ratio"] > 0


def test_attributions_are_equal_to_the_sql() -> None:
    """Rows with their credits and values, and changes, are those of the SQL; all rules are run."""
    results = printed("attribution")["results"]
    assert results["equal"] is True
    assert results["speed_ratio"] > 0
    for told in results["compared"].values():
        assert told["rows"] > told["changes"] > 0
        assert told["differing_rows"] == told["differing_changes"] == 0
    assert set(results["compared"]) == {"follow_causes", "order_attribution"}
    assert {rule.name for rule in RULES} == set(results["alone"])
    assert all(one["cpu_seconds_per_million"] > 0 for one in results["alone"].values())
    assert results["together"]["cpu_seconds"] > 0


def test_live_makes_samples_of_features() -> None:
    """With features each shown item finds its own: no sample is without, and all are read."""
    told = printed("live")["results"]["backlog"]
    assert told["no_features"] == 0 < told["joined"]
    assert told["features"] > 2_000
    assert told["cpu_us_per_event"] > 0
    with pytest.raises(ValueError, match="--features"):
        command.main(["live", "--samples", "wait"])


def test_the_offline_table_is_the_view() -> None:
    """What was exported has the view's rows, and an export without news ends sooner than one."""
    results = printed("offline")["results"]
    assert results["equal"] is True
    assert results["rows"] > 1_000
    assert results["hours"] == 1
    assert results["peak_gb"] > 0


def test_a_difference_from_the_sql_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the SQL has one credit and one revision otherwise than we do, both are counted."""
    right = attribution.by_sql

    def spoilt(root: Path, *task: Any) -> commands.Ran:
        ran = right(root, *task)
        with duckdb.connect(str(root / "twin.duckdb")) as db:
            one = "anchor_id = (SELECT max(anchor_id) FROM follow_causes_changes)"
            db.execute("UPDATE follow_causes SET credit = 1 WHERE rank = 1 AND touches IS NULL")
            db.execute(f"UPDATE follow_causes_changes SET revision = 3 WHERE {one}")
        return ran

    monkeypatch.setattr(attribution, "by_sql", spoilt)
    told = attribution.run(events=20_000, hours=3, rules="follow_causes")
    assert told["equal"] is False
    assert told["compared"]["follow_causes"]["differing_rows"] > 0
    assert told["compared"]["follow_causes"]["differing_changes"] > 0


def test_without_a_name_small_sizes_of_all_run(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of ``NAMES`` runs in a process of its own, with its small parameters."""
    monkeypatch.setattr(command, "NAMES", ("evaluate",))
    assert command.main([]) == 0
    line = json.loads(capfd.readouterr().out)
    assert line["parameters"]["events"] == 100_000


def test_an_unknown_benchmark_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """The message names those that there are."""
    with pytest.raises(SystemExit):
        command.main(["speed"])
    assert "sql_twin" in capsys.readouterr().err


def test_timing_measures_time_that_passes() -> None:
    """A block's wall time is above zero, and a rate follows from it."""
    with measure.timed() as took:
        sum(range(100_000))
    assert took.seconds > 0
    assert took.rate(1_000) == round(1_000 / took.seconds)
