"""Progressive validation: a model predicts each sample, is scored, and only then learns it.

Always holds: the model and the reader's position are saved together, after the scores of the same
samples; so a trainer that is killed goes on where its model stands, as if it had run through, and
scores no sample twice. The base model learns nothing here: it is what standing still would give.

Not promised: one order of samples for every way to read them. The model is that of the order read.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import polars as pl
from model import LABEL, Model, encoded

KEY: Final = ("user_id", "anchor_ts", "anchor_id")
#: Scores: the key, the label, how many impressions a sample stands for, and what was predicted.
SCORES: Final = (*KEY, LABEL, "stands_for", "stream", "base")


class Progress:
    """A stream model in a folder, beside the base model that it began as.

    Args:
        folder: of ``stream.model`` and ``scores``; made if it is not there.
        base: where a model begins that has no file yet.
    """

    def __init__(self, folder: Path, base: Model) -> None:
        self._file, self._scores = folder / "stream.model", folder / "scores"
        self._scores.mkdir(parents=True, exist_ok=True)
        self._base = base
        if self._file.exists():
            self.model = Model.load(self._file)
        else:
            self.model = copy.deepcopy(base)
            self.model.position, self.model.learned = None, 0
        # Scores past what was saved are of samples that will come again.
        for file in self._scores.glob("*.parquet"):
            if int(file.stem) >= self.model.learned:
                file.unlink()

    @property
    def position(self) -> Any:
        """Where the reader goes on; None: from the beginning."""
        return self.model.position

    def take(self, rows: pl.DataFrame, position: Any) -> None:
        """Predict, score and learn a batch of samples, then save.

        Args:
            rows: samples with their features, in the order to learn them.
            position: of the reader, past these rows.
        """
        first, told = self.model.learned, []
        for x, label, stands_for in encoded(rows):
            stream, base = self.model.probability(x), self._base.probability(x)
            told.append((label, stands_for, stream, base))
            self.model.learn(x, label)
        if told:
            scored = pl.DataFrame(told, schema=SCORES[len(KEY) :], orient="row")
            both = pl.concat([rows.select(KEY), scored], how="horizontal")
            both.write_parquet(self._scores / f"{first:012}.parquet")
        self.model.position = position
        self.model.save(self._file)

    def run(self, batches: Iterable[tuple[pl.DataFrame, Any]]) -> None:
        """Take batch after batch."""
        for rows, position in batches:
            self.take(rows, position)

    def scores(self) -> pl.DataFrame:
        """Everything scored so far, in the order of learning."""
        files = sorted(self._scores.glob("*.parquet"))
        if not files:
            return pl.DataFrame(schema=SCORES)
        return pl.concat([pl.read_parquet(file) for file in files])

    def forget(self) -> None:
        """Begin anew from a base model: what a new one is for."""
        for file in (*self._scores.glob("*.parquet"), self._file):
            file.unlink(missing_ok=True)


def by_hour(scores: pl.DataFrame, models: tuple[str, ...] = ("stream", "base")) -> pl.DataFrame:
    """AUC and log loss of each model by hour of the impression.

    Args:
        scores: of ``Progress.scores``, with a column of probabilities for each of ``models``.
        models: columns.

    Returns:
        ``hour``, ``samples``, ``clicks``, then ``auc_...`` and ``loss_...`` (nats an impression, of
        all impressions) of each model.
    """
    weight = pl.col("stands_for")
    made = [pl.len().alias("samples"), pl.col(LABEL).sum().alias("clicks")]
    for name in models:
        said = pl.when(LABEL).then(pl.col(name)).otherwise(1 - pl.col(name))
        made.append(_auc(name).round(4).alias(f"auc_{name}"))
        loss = -(said.log() * weight).sum() / weight.sum()
        made.append(loss.round(4).alias(f"loss_{name}"))
    hour = pl.col("anchor_ts").dt.truncate("1h").alias("hour")
    return scores.group_by(hour).agg(made).sort("hour")


def _auc(name: str) -> pl.Expr:
    """How often a click was ranked above what was none; ties count half (Mann and Whitney).

    The part of the negatives that was kept makes no difference: all of them stand for as many.
    """
    clicks, others = pl.col(LABEL).sum().cast(pl.Float64), (~pl.col(LABEL)).sum()
    ranks = pl.col(name).rank("average").filter(LABEL).sum()
    return (ranks - clicks * (clicks + 1) / 2) / (clicks * others)
