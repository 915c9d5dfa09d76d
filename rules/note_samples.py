"""Note samples: note labels with what the ranker knew of the note when it showed it.

Always holds: a positive is a click; positives are all kept, negatives are a tenth.

Not promised: that the ranker's source is named ``ranker``. It is the operator's to copy and change.
"""

from __future__ import annotations

from labeling import Features, SampleRule
from rules.note_labels import NOTE_LABELS

NOTE_SAMPLES = SampleRule(
    name="note_samples",
    version=1,
    labels=NOTE_LABELS,
    label="clicked",
    features=Features("ranker", within="1h"),
    negatives=0.1,
)
