"""Clicks within ten minutes of an impression, and samples of them with what the ranker knew.

Always holds: all clicked impressions are samples; of the others a quarter, by a hash of their id.

Not promised: that ten minutes suffice for another product. Here a click comes within seconds.
"""

from labeling import Event, Features, LabelRule, SampleRule, anchor, happened

IMPRESSIONS = LabelRule(
    name="impressions",
    version=1,
    anchor=Event("impression"),
    match=("user_id", "item_id"),
    reference="impression_id",
    window="10m",
    early=("1m",),
    labels={"clicked": happened("click"), "is_ad": anchor("is_ad")},
    carry=("request_id", "item_id", "scene", "position"),
    columns={"is_ad": "bool"},
)
CLICK_SAMPLES = SampleRule(
    name="click_samples",
    version=1,
    labels=IMPRESSIONS,
    label="clicked",
    features=Features("ranker", within="1h"),
    negatives=0.25,
)
RULES = (IMPRESSIONS, CLICK_SAMPLES)
