"""labeling.toml: what it may say, what it means, and how a mistake is told."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from labeling.config import find_config, load_config, load_rules, parse_config, size_bytes
from labeling.errors import ConfigError

FULL = """
rules = "my_rules:ALL"
store = "out/store.duckdb"
lateness = "20m"
max_clock_skew = "1m"
hot_horizon = "3h"
memory = "2GiB"
report_timezone = "Asia/Shanghai"

[columns]
campaign_id = "str"

[retention]
rejects = "30d"
counts = "all"

[[source]]
name = "web"
files = ["a/*.json", "b/*.json"]
max_disorder = "2m"
map = { event_ts = { path = "ts", unit = "s" }, event_type = "type", user_id = "user" }
"""

SOURCE: dict[str, Any] = {
    "name": "web",
    "files": "a/*.json",
    "map": {"event_ts": "ts", "event_type": "type", "user_id": "user"},
}


def parse(data: dict[str, Any]) -> Any:
    """The configuration of that data, as if it lay in /project."""
    return parse_config(data, Path("/project/labeling.toml"))


def refused(data: dict[str, Any]) -> str:
    """The message with which that data is refused."""
    with pytest.raises(ConfigError) as caught:
        parse(data)
    return str(caught.value)


def source(**changes: Any) -> dict[str, Any]:
    """Data with one source, changed."""
    return {"source": [{**SOURCE, **changes}]}


def mapped(**columns: Any) -> dict[str, Any]:
    """Data with one source that maps further columns."""
    return source(map={**SOURCE["map"], **columns})


def test_full_file(tmp_path: Path) -> None:
    """Every key has its place, durations are ms, paths are absolute."""
    (tmp_path / "labeling.toml").write_text(FULL)
    config = load_config(tmp_path / "labeling.toml")
    assert config.folder == tmp_path
    assert config.store == tmp_path / "out/store.duckdb"
    assert config.archive == tmp_path / "archive"
    assert (config.lateness_ms, config.max_clock_skew_ms) == (1_200_000, 60_000)
    assert (config.hot_horizon_ms, config.memory_bytes) == (10_800_000, 2 * 1024**3)
    assert config.retention == {"rejects": 30 * 86_400_000, "counts": None}
    assert config.source("web").files == ("a/*.json", "b/*.json")
    assert config.source("web").max_disorder_ms == 120_000
    assert list(config.event_schema())[-1] == "campaign_id"


def test_defaults() -> None:
    """An empty file is a configuration: the defaults are the documented ones."""
    config = parse({})
    assert (config.rules, config.report_timezone, config.sources) == ("rules:RULES", "UTC", ())
    assert (config.lateness_ms, config.max_clock_skew_ms) == (600_000, 300_000)
    assert (config.hot_horizon_ms, config.memory_bytes) == (7_200_000, 4_000_000_000)
    assert config.store == Path("/project/store.duckdb")


@pytest.mark.parametrize(
    ("data", "parts"),
    [
        ({"latenes": "1m"}, ["unknown key 'latenes'", "'lateness'"]),
        ({"path": "x"}, ["unknown key 'path'"]),
        ({"lateness": "1x"}, ["lateness", "1x"]),
        ({"lateness": 5}, ["lateness"]),
        ({"memory": "4XB"}, ["memory", "4XB"]),
        ({"rules": "rules"}, ["rules"]),
        ({"report_timezone": "Mars"}, ["report_timezone", "Mars"]),
        ({"columns": {"a": "int"}}, ["'a'", "i64"]),
        ({"columns": {"user_id": "str"}}, ["user_id", "taken"]),
        ({"retention": {"rejects": 30}}, ["retention.rejects", "30d"]),
        (source(formt="csv"), ["[[source]] 'web'", "'formt'", "'format'"]),
        (source(format="xml"), ["'web'", "format", "csv"]),
        (source(files=[]), ["'web'", "files"]),
        (source(header=True), ["header", "csv"]),
        (source(format="csv", header=False), ["fields"]),
        (source(timezone="Mars"), ["timezone", "Mars"]),
        (source(name="a b"), ["name"]),
        ({"source": [SOURCE, SOURCE]}, ["'web'", "twice"]),
        (source(map={"event_ts": "ts", "user_id": "u"}), ["map.event_type is missing"]),
        (source(emit=[{"map": {"user_id": {"none": True}}}]), ["emit 1", "map.user_id"]),
        (mapped(itm_id="x"), ["map.itm_id", "'item_id'", "[columns]"]),
        (mapped(item_id={"pth": "x"}), ["map.item_id", "'pth'", "'path'"]),
        (mapped(item_id={"path": "x", "const": "y"}), ["path and const"]),
        (mapped(item_id={"unit": "s"}), ["exactly one"]),
        (mapped(item_id={"path": "x", "unit": "s"}), ["map.item_id", "unit"]),
        (mapped(item_id={"path": "a..b"}), ["empty name"]),
        (mapped(item_id={"first_of": []}), ["first_of is empty"]),
        (mapped(item_id="*"), ["props"]),
        (mapped(item_id={"path": "x", "split": ","}), ["split"]),
        (mapped(event_ts={"path": "x", "unit": "micro"}), ["event_ts", "micro"]),
        (mapped(event_ts={"path": "x", "scale": 10}), ["event_ts", "unit"]),
        (mapped(value={"path": "x", "scale": 0}), ["scale"]),
        (mapped(value={"path": "x", "scale": 2, "unit": "s"}), ["unit or scale"]),
        (mapped(value={"hash_of": ["x"]}), ["map.value", "hash"]),
        (mapped(value={"corrected": {"client": "a", "sent": "b", "received": "c"}}), ["times"]),
        (mapped(experiments={"const": "a"}), ["map.experiments"]),
        (mapped(event_id={"derive": ["itm"]}), ["derive", "'itm'", "'item_id'"]),
        (mapped(event_id={"derive": ["event_id"]}), ["itself derived"]),
        (mapped(event_id={"derive": ["experiments"]}), ["a list"]),
        (mapped(event_id={"derive": ["item_id"]}), ["not mapped"]),
        (mapped(position="@index"), ["explode"]),
        (mapped(item_id="ctx", scene="ctx.scene"), ["'ctx'", "a value and as an object"]),
        (source(map=dict.fromkeys(SOURCE["map"], "@topic")), ["reads no field"]),
    ],
)
def test_refused(data: dict[str, Any], parts: list[str]) -> None:
    """A mistake is told with the file, the place and the fix."""
    message = refused(data)
    assert message.startswith("/project/labeling.toml: ")
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("text", "size"),
    [("4GB", 4_000_000_000), ("1.5G", 1_500_000_000), ("512MiB", 512 * 1024**2), ("7", 7)],
)
def test_sizes(text: str, size: int) -> None:
    """Sizes are in powers of 1000, with an i of 1024."""
    assert size_bytes(text) == size


def test_unknown_source() -> None:
    """A name that is not there is told with the nearest one."""
    with pytest.raises(ConfigError, match="'web'"):
        parse(source()).source("wbe")


def test_find_config(tmp_path: Path) -> None:
    """The file is looked for upward, and its absence names the fix."""
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    with pytest.raises(ConfigError, match="--config"):
        find_config(deep)
    (tmp_path / "labeling.toml").write_text("")
    assert find_config(deep) == tmp_path / "labeling.toml"


@pytest.mark.parametrize("content", [None, "lateness = ", "\udcff"])
def test_unreadable_file(tmp_path: Path, content: str | None) -> None:
    """A missing file, and one that is not TOML in UTF-8, are configuration errors."""
    file = tmp_path / "labeling.toml"
    if content is not None:
        file.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigError, match=str(file)):
        load_config(file)


RULE = """from labeling import LabelRule, happened
def rule(name='r', window='1m'):
    return LabelRule(name=name, anchor='impression', match=('user_id',), window=window,
                     labels={'clicked': happened('click')}, columns={'campaign_id': 'str'})
"""


PRODUCTS = f"""{RULE}
from labeling import Features, Rollup, SampleRule, rows
def note_samples(rule):
    return SampleRule(name='s', labels=rule, label='clicked', features=Features('ranker'))
def hourly(rule, name='hourly'):
    return Rollup(name=name, of=rule, sums={{'impressions': rows()}})
"""


def rules_of(folder: Path, code: str, config: str) -> tuple[Any, ...]:
    """The rules of a project written to a folder."""
    folder.mkdir(exist_ok=True)
    (folder / "shop_rules.py").write_text(code)
    (folder / "labeling.toml").write_text(f'rules = "shop_rules:RULES"\n{config}')
    return load_rules(load_config(folder / "labeling.toml"))


@pytest.fixture
def _own_imports(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Leave sys.path and sys.modules as they were."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("shop_rules", None)


DECLARED = '[columns]\ncampaign_id = "str"\n'


@pytest.mark.usefixtures("_own_imports")
def test_rules_of_two_projects(tmp_path: Path) -> None:
    """Each configuration gets the rules of its own folder, whatever was imported before."""
    one = rules_of(tmp_path / "a", RULE + "RULES = (rule(),)\n", DECLARED)
    two = rules_of(tmp_path / "b", RULE + "RULES = (rule('other'),)\n", DECLARED)
    assert [rule.name for rule in (*one, *two)] == ["r", "other"]


@pytest.mark.usefixtures("_own_imports")
@pytest.mark.parametrize(
    ("code", "config", "part"),
    [
        ("RULE = ()\n", "", "'RULE'"),
        ("RULES = []\n", "", "tuple"),
        ("RULES = (1,)\n", "", "not a rule"),
        (RULE + "RULES = (rule(), rule())\n", DECLARED, "twice"),
        (RULE + "RULES = (rule(),)\n", "", r"\[columns\]"),
        (RULE + "RULES = (rule(),)\n", '[columns]\ncampaign_id = "i64"\n', "as i64"),
        (f"{PRODUCTS}RULES = (note_samples(rule()),)\n", DECLARED, "r@1, which is not in the"),
        (f"{PRODUCTS}RULES = (rule(), hourly(rule(window='2m')))\n", DECLARED, "with this def"),
        (f"{PRODUCTS}RULES = (rule(), hourly(rule(), name='r'))\n", DECLARED, "LabelRule and a R"),
        ("import no_such_thing\n", "", "no_such_thing"),
        ("1 / 0\n", "", "ZeroDivisionError"),
    ],
)
def test_bad_rules(tmp_path: Path, code: str, config: str, part: str) -> None:
    """What is wrong with the rules is told as a configuration error that names the fix."""
    with pytest.raises(ConfigError, match=part):
        rules_of(tmp_path, code, config)


@pytest.mark.usefixtures("_own_imports")
def test_no_rules(tmp_path: Path) -> None:
    """A module that is not there is told with the folder it was looked for in."""
    (tmp_path / "labeling.toml").write_text('rules = "nowhere_rules:RULES"')
    with pytest.raises(ConfigError, match=f"nowhere_rules.*{tmp_path}"):
        load_rules(load_config(tmp_path / "labeling.toml"))


def test_source_without_map_reads_fields_by_their_own_names() -> None:
    """A log that has the contract's own names needs no map; declared columns are among them."""
    data = {
        "columns": {"campaign_id": "str"},
        "source": [{"name": "a", "format": "json", "files": ["a.json"]}],
    }
    (source,) = parse_config(data, Path("labeling.toml")).sources
    assert source.map["event_ts"].path == "event_ts"
    assert source.map["campaign_id"].path == "campaign_id"
