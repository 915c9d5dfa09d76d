"""Files of a source as batches: lines with their numbers, and bad lines that cost themselves."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from labeling.config import SourceConfig, parse_config
from labeling.errors import DataError
from labeling.io import files
from labeling.io.decode import Decoder, FieldBatch, RecordBatch
from labeling.io.files import read_batches, source_files

MAP = {"event_ts": {"path": "ts", "unit": "s"}, "event_type": "type", "user_id": "user"}


def source(**more: Any) -> SourceConfig:
    """A source with that configuration."""
    data = {"name": "web", "files": "*.csv", "map": MAP, **more}
    return parse_config({"source": [data]}, Path("/p/labeling.toml")).sources[0]


def csv_source(**more: Any) -> SourceConfig:
    """A CSV source."""
    return source(format="csv", **more)


def lines(folder: Path, content: bytes, how: SourceConfig, rows: int = 100) -> list[Any]:
    """Offset and outcome of each record of a file: its user, or the reason it was refused."""
    path = folder / "f.csv"
    path.write_bytes(content)
    decoder, found = Decoder(how), []
    for batch in read_batches(how, path, folder, rows=rows):
        decoded = decoder.decode(batch)
        found += decoded.events.select("offset", "user_id").rows()
        found += decoded.rejects.select("offset", "reason").rows()
        assert set(decoded.events["topic"]) | set(decoded.rejects["topic"]) == {"f.csv"}
    return sorted(found)


def test_files_of_a_source(tmp_path: Path) -> None:
    """Globs are of the configuration's folder; each file once, sorted; none is an error."""
    for name in ("b/2.csv", "a/1.csv", "a/deep/3.csv", "a/1.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    how = csv_source(files=["a/**/*.csv", "*/*.csv", str(tmp_path / "b/2.csv")])
    names = [path.relative_to(tmp_path).as_posix() for path in source_files(how, tmp_path)]
    assert names == ["a/1.csv", "a/deep/3.csv", "b/2.csv"]
    with pytest.raises(DataError, match=r"'web': no file matches x\*"):
        source_files(csv_source(files="x*"), tmp_path)


def test_topic_outside_the_folder(tmp_path: Path) -> None:
    """A file beside the configuration's folder is named by its whole path."""
    path = tmp_path / "f.json"
    path.write_bytes(b"{}\n")
    batch = next(read_batches(source(), path, tmp_path / "project"))
    assert batch.positions["topic"].item() == path.resolve().as_posix()


def test_json_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offsets are line numbers, however the file is cut into chunks; blank lines are none."""
    one = b'{"ts":1,"type":"a","user":"u%d"}'
    content = b"\xef\xbb\xbf" + b"\r\n".join([one % 1, b"", one % 2, b"{", one % 3, b"", one % 4])
    expected = [(1, "u1"), (3, "u2"), (4, "bad_json"), (5, "u3"), (7, "u4")]
    for chunk in (16 << 20, 40, 7):
        monkeypatch.setattr(files, "_CHUNK", chunk)
        assert lines(tmp_path, content, source()) == expected
        assert lines(tmp_path, content + b"\n", source(), rows=2) == expected


def test_json_line_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line past the limit is one reject, cut; the next line is read."""
    monkeypatch.setattr(files, "_CHUNK", 64)
    monkeypatch.setattr(files, "MAX_RECORD", 200)
    good = b'{"ts":1,"type":"a","user":"u"}'
    content = b"\n".join([good, b'{"x":"' + b"y" * 1000 + b'"}', good])
    assert lines(tmp_path, content, source()) == [(1, "u"), (2, "bad_json"), (3, "u")]


def test_gzip(tmp_path: Path) -> None:
    """A .gz file is unpacked; a damaged one is an error that names it."""
    path = tmp_path / "f.json.gz"
    packed = gzip.compress(b"{}\n" * 1000)
    path.write_bytes(packed)
    batch = next(read_batches(source(), path, tmp_path))
    assert isinstance(batch, RecordBatch)
    assert len(batch.payloads) == 1000
    path.write_bytes(packed[:20])
    with pytest.raises(DataError, match=r"f\.json\.gz: cannot be read"):
        list(read_batches(source(), path, tmp_path))


CSV = b"""user,type,ts
u1,a,1
u2,a
u3,a,3,x
"u,4",a,4
u5,"a,5
u6,a,6
u\xff,a,7
"u8
",a,8
u10,"a"b,10

u12,a,12
"""


def test_bad_csv_lines(tmp_path: Path) -> None:
    """Ragged lines, open quotes and bad UTF-8 cost their own line; offsets are line numbers."""
    expected = [
        (2, "u1"), (3, "bad_record"), (4, "bad_record"), (5, "u,4"), (6, "bad_record"), (7, "u6"),
        (8, "bad_record"), (9, "u8\n"), (11, "bad_record"), (13, "u12"),
    ]  # fmt: skip
    for rows in (100, 3, 1):
        assert lines(tmp_path, CSV, csv_source(), rows) == expected
    assert lines(tmp_path, CSV.replace(b"\n", b"\r\n"), csv_source())[-1] == (13, "u12")


def test_csv_rejects(tmp_path: Path) -> None:
    """A bad line is kept as it was, with what is wrong."""
    path = tmp_path / "f.csv"
    path.write_bytes(CSV)
    (batch,) = read_batches(csv_source(), path, tmp_path)
    rejects = Decoder(csv_source()).decode(batch).rejects
    assert rejects["source"].unique().to_list() == ["web"]
    assert rejects.filter(offset=3).select("detail", "raw").row(0) == (
        "line 3: 2 fields, not 3", b"u2,a",
    )  # fmt: skip
    assert rejects.filter(offset=8)["raw"].item() == b"u\xff,a,7"


def test_csv_without_header(tmp_path: Path) -> None:
    """Names and delimiter may be declared; a declared name stands over the header's."""
    how = csv_source(header=False, fields=["ts", "type", "user"], delimiter="\t")
    assert lines(tmp_path, b"1\ta\tu1\n2\ta\tu2", how) == [(1, "u1"), (2, "u2")]
    how = csv_source(fields=["ts", "type", "user"])
    assert lines(tmp_path, b"\xef\xbb\xbfx,y,z\n1,a,u1\n", how) == [(2, "u1")]


@pytest.mark.parametrize(
    ("content", "part"),
    [(b"", "no header"), (b"user,user\n", "different names"), (b"\xff\n", "not UTF-8")],
)
def test_csv_header_errors(tmp_path: Path, content: bytes, part: str) -> None:
    """A file without usable names is refused as a whole, by its name."""
    with pytest.raises(DataError, match=rf"f\.csv: .*{part}"):
        lines(tmp_path, content, csv_source())


def test_parquet(tmp_path: Path) -> None:
    """Rows are counted from 1 across batches; a file that is no Parquet is refused by name."""
    how = source(format="parquet", null_tokens=["-"])
    path = tmp_path / "f.parquet"
    pl.DataFrame({"ts": [1, 2, 3], "type": ["a"] * 3, "user": [7, 8, 9]}).write_parquet(path)
    found = []
    for batch in read_batches(how, path, tmp_path, rows=2):
        assert isinstance(batch, FieldBatch)
        found += Decoder(how).decode(batch).events.select("offset", "user_id").rows()
    assert found == [(1, "7"), (2, "8"), (3, "9")]
    path.write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match=r"f\.parquet: not a readable Parquet file"):
        list(read_batches(how, path, tmp_path))
    with pytest.raises(DataError, match=r"gone\.parquet"):
        list(read_batches(how, tmp_path / "gone.parquet", tmp_path))
