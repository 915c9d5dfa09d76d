-- The rows in which labels and the publisher's flags differ, from either side; none where all agree.
WITH ours AS (
    SELECT
        impression_id::BIGINT AS impression_id, user_id::BIGINT AS user_id,
        session_id::BIGINT AS session_id, epoch_ms(anchor_ts) AS shown_ms,
        position + 1 AS place, item_id::BIGINT AS item_id,
        clicked, dwell_ms, valid_click
    FROM article_labels_final
), publisher AS (
    SELECT
        impression_id, user_id, session_id, epoch_ms(impression_time), position, item_id,
        clicked, (dwell_s * 1000)::BIGINT, clicked AND coalesce(dwell_s >= 3, false)
    FROM read_csv('data/expected_item_labels.csv')
)
SELECT 'labels' AS side, * FROM (FROM ours EXCEPT ALL FROM publisher)
UNION ALL
SELECT 'publisher', * FROM (FROM publisher EXCEPT ALL FROM ours)
ORDER BY impression_id, place, side
