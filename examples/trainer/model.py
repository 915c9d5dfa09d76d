"""A model of clicks: logistic regression, learned by FTRL-Proximal sample by sample.

Always holds: a model is a function of the samples that it learned and of their order; saved and
loaded it goes on as if it had not been. ``probability`` speaks of all impressions: where only a
part of the negatives was kept, the odds that were learned are too high by one through that part,
and are corrected (He et al. 2014, Practical lessons from predicting clicks on ads at Facebook).

Not promised: that logistic regression suits another log. FTRL-Proximal is that of McMahan et al.
2013 (Ad click prediction: a view from the trenches), as the library river has it.
"""

from __future__ import annotations

import math
import os
import pickle
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import polars as pl
from river import linear_model, optim

_SERVED: Final = pl.col("features").struct
#: Numbers of a sample that the model takes as they are, of the order of one.
NUMBERS: Final = {
    "item_quality": _SERVED.field("item_quality"),
    "affinity": _SERVED.field("affinity"),
    "position": pl.col("position") / 10,
    "is_ad": pl.col("is_ad").cast(pl.Float64),
}
#: Columns with a weight for each of their values.
CHOICES: Final = ("scene",)
LABEL: Final = "clicked"
_WHOLE: Final = {"bias": 1.0}


def encoded(rows: pl.DataFrame) -> Iterator[tuple[dict[str, float], bool, float]]:
    """Of each sample what the model reads, its label, and how many impressions it stands for.

    Args:
        rows: samples as ``labeling.samples`` gives them: of the label row what ``NUMBERS`` and
            ``CHOICES`` name, the label, ``kept`` and ``weight``, and the struct ``features``.
    """
    numbers = [e.cast(pl.Float64).fill_null(0.0).alias(n) for n, e in NUMBERS.items()]
    values = rows.select(*numbers).iter_rows(named=True)
    told = rows.select(*CHOICES, LABEL, pl.col("weight") / pl.col("kept")).iter_rows()
    for value, (*chosen, label, stands_for) in zip(values, told, strict=True):
        ones = {f"{name}={c}": 1.0 for name, c in zip(CHOICES, chosen, strict=True)}
        yield {**_WHOLE, **value, **ones}, label, stands_for


def _empty() -> linear_model.LogisticRegression:
    # The bias is a weight like the others: river would learn an intercept by plain steps.
    steps = optim.FTRLProximal(alpha=0.2, beta=1.0, l1=0.0, l2=0.0)
    return linear_model.LogisticRegression(optimizer=steps, intercept_lr=0.0)


@dataclass
class Model:
    """What was learned, of how many samples, and where the reader stood when it was.

    Args:
        kept: the part of the negatives that is among the samples, above 0 and up to 1.
        position: of the reader, past the last sample learned; as JSON knows it.
    """

    kept: float = 1.0
    position: Any = None
    learned: int = 0
    regression: linear_model.LogisticRegression = field(default_factory=_empty)

    def probability(self, x: dict[str, float]) -> float:
        """That an impression like this is clicked."""
        p = min(max(self.regression.predict_proba_one(x)[True], 1e-15), 1 - 1e-15)
        odds = p / (1 - p) * self.kept
        return odds / (1 + odds)

    def learn(self, x: dict[str, float], label: bool) -> None:  # noqa: FBT001 - what is learned
        """Learn one sample."""
        self.regression.learn_one(x, label)
        self.learned += 1

    @property
    def weights(self) -> dict[str, float]:
        """The weights, of log-odds among the samples."""
        return dict(sorted(self.regression.weights.items()))

    def save(self, path: Path) -> None:
        """Write it whole, its position with it, or not at all."""
        part = path.with_name(f".{path.name}.part")
        with part.open("wb") as file:
            pickle.dump(self, file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)

    @staticmethod
    def load(path: Path) -> Model:
        """What ``save`` wrote; nothing that others wrote should be given to it."""
        with path.open("rb") as file:
            found = pickle.load(file)  # noqa: S301 - a file that this program wrote
        if not isinstance(found, Model):
            raise TypeError(f"{path}: no model; remove it and train again")
        return found


def log_loss(p: float, label: bool) -> float:  # noqa: FBT001 - what happened
    """The loss of having said ``p``, in nats."""
    return -math.log(p if label else 1 - p)
