"""The archive of one source of features, and the key of what a record says.

Always holds: it lies in ``features/<source>`` of the archive and is one itself, of the source's own
columns and ``features_key``; where events have a user it has the request, and for their id the
item. The files of a stream's tail are sorted as those of hours are: they are searched all the time.
``features_key`` depends on the values alone (clause S4 of docs/samples.md): not on the machine, on
the version of a library, or on the record's position. Null is told from an empty text, and one
float from any other.

Not promised: that different features have different keys; 64 bits tell them apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final

import polars as pl
from polars.datatypes import DataTypeClass

from labeling.config.features import FEATURES, FEATURES_KEY
from labeling.config.settings import Config
from labeling.config.source import SourceConfig
from labeling.engine.keys import text_key
from labeling.io import leases
from labeling.io.archive import SORTED_BY, Archive, ArchiveFile

#: Stands for null: the text of a value begins with another sign.
_NULL: Final = "-"


@dataclass(frozen=True)
class FeatureArchive(Archive):
    """A folder of feature files.

    Args:
        root: the folder.
        extra: the source's features, then ``features_key``.
        source: whose they are.
    """

    source: str

    def write_tail(self, frame: pl.DataFrame, stem: str) -> ArchiveFile:
        """See ``Archive.write_tail``; sorted."""
        return super().write_tail(frame.sort(SORTED_BY, maintain_order=True), stem)

    @property
    def prefix(self) -> str:
        """What the names of its files begin with, from the archive's folder."""
        return f"{FEATURES}/{self.source}/"

    def _advice(self, file: ArchiveFile, what: str) -> str:
        return (
            f"feature file {self.root / file.name}: {what}. Restore it from a backup; or, to do "
            f"without its {file.rows} records, run `labeling import --forget {self.prefix}"
            f"{file.name}` and import that hour's input again (source {self.source})"
        )


def feature_archive(config: Config, source: SourceConfig) -> FeatureArchive:
    """The archive of a source of kind ``features``; its folder is made when first written."""
    extra = {**source.features, FEATURES_KEY: "i64"}
    return FeatureArchive(config.archive / FEATURES / source.name, extra, source.name)


def archive_of(config: Config, source: SourceConfig) -> Archive:
    """Where the records of a source go."""
    if source.kind == FEATURES:
        return feature_archive(config, source)
    return Archive(config.archive, config.columns)


def feature_archives(config: Config) -> dict[str, FeatureArchive]:
    """Those of all sources of features, by name."""
    mine = (s for s in config.sources if s.kind == FEATURES)
    return {source.name: feature_archive(config, source) for source in mine}


def archives(config: Config) -> tuple[Archive, ...]:
    """That of events, then those of features."""
    return (Archive(config.archive, config.columns), *feature_archives(config).values())


@contextmanager
def reading_all(config: Config) -> Iterator[None]:
    """Hold leases on events and features for the block; see ``labeling.io.leases.reading``."""
    with ExitStack() as stack:
        for archive in archives(config):
            stack.enter_context(leases.reading(archive.root))
        yield


def archive_named(config: Config, name: str) -> tuple[Archive, str]:
    """The archive of a file named from the archive's folder, and the name from its own.

    >>> archive_named(Config(), "dt=2026-11-20/hour=09/import-1.parquet")[1]
    'dt=2026-11-20/hour=09/import-1.parquet'
    """
    for archive in feature_archives(config).values():
        if name.startswith(archive.prefix):
            return archive, name.removeprefix(archive.prefix)
    return Archive(config.archive, config.columns), name


def prepared(archive: Archive, frame: pl.DataFrame) -> pl.DataFrame:
    """What is to be archived, with what an archive makes itself: ``features_key``."""
    if not isinstance(archive, FeatureArchive):
        return frame
    features = [name for name in archive.extra if name != FEATURES_KEY]
    key = content_key(frame.schema, features)
    return frame.with_columns(key.alias(FEATURES_KEY))


def content_key(schema: Mapping[str, pl.DataType], features: Sequence[str]) -> pl.Expr:
    """The stable hash of the values of features, and of ``props``, as Int64."""
    texts = [_text(pl.col(name), schema[name]) for name in (*features, "props")]
    return text_key(pl.concat_str(texts, separator="|")).reinterpret(dtype=pl.Int64)


def _text(values: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """A text for each value, another one for each other value of the type."""
    if isinstance(dtype, pl.List):
        each = _plain(pl.element(), dtype.inner)
        count = values.list.len().cast(pl.String)
        text = pl.concat_str(count, pl.lit("["), values.list.eval(each).list.join(","))
    else:
        text = _plain(values, dtype)
    return text.fill_null(_NULL)


def _plain(values: pl.Expr, dtype: pl.DataType | DataTypeClass) -> pl.Expr:
    if dtype == pl.String():
        return pl.concat_str(
            pl.lit("+"), values.str.len_bytes().cast(pl.String), pl.lit(":"), values
        )
    if dtype == pl.Float64():
        # Its bits: what a float is written as differs between libraries.
        return pl.lit("f") + values.reinterpret(dtype=pl.Int64).cast(pl.String)
    if dtype == pl.Boolean():
        return pl.lit("b") + values.cast(pl.Int8).cast(pl.String)
    whole = values.dt.epoch("ms") if isinstance(dtype, pl.Datetime) else values
    return pl.lit("i") + whole.cast(pl.Int64).cast(pl.String)
