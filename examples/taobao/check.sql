-- The same labels by joins over the raw file; rows that only one side has, none where all agree.
-- Shanghai is 8 h ahead of UTC and has no summer time: local days by whole numbers.
WITH raw AS (
    SELECT * FROM read_csv('data/UserBehavior.csv', header = false, columns = {
        'user_id': 'VARCHAR', 'item_id': 'VARCHAR', 'category_id': 'VARCHAR',
        'behavior': 'VARCHAR', 't': 'BIGINT'})
), views AS (
    SELECT user_id, item_id, category_id, t,
        ((t + 8 * 3600) // 86400 + 2) * 86400 - 8 * 3600 AS end_t
    FROM raw WHERE behavior = 'pv'
), latest AS (   -- each action with the latest view of its item at or before it
    SELECT a.user_id, a.item_id, a.behavior, a.t AS action_t, max(v.t) AS t
    FROM raw a JOIN views v ON v.user_id = a.user_id AND v.item_id = a.item_id AND v.t <= a.t
    WHERE a.behavior <> 'pv'
    GROUP BY ALL
), query AS (
    SELECT v.user_id, v.t * 1000 AS ts, v.item_id, v.category_id,
        coalesce(bool_or(a.behavior = 'fav'), false) AS favorited,
        coalesce(bool_or(a.behavior = 'cart'), false) AS carted,
        coalesce(bool_or(a.behavior = 'buy'), false) AS ordered,
        (min(a.action_t) FILTER (a.behavior = 'buy') - v.t) * 1000 AS after_ms
    FROM views v LEFT JOIN latest a ON a.user_id = v.user_id AND a.item_id = v.item_id
        AND a.t = v.t AND a.action_t < v.end_t
    GROUP BY v.user_id, v.t, v.item_id, v.category_id
), labels AS (
    SELECT user_id, epoch_ms(anchor_ts) AS ts, item_id, category_id, favorited, carted, ordered,
        time_to_order_ms AS after_ms
    FROM view_to_order_final
)
SELECT 'labels' AS side, * FROM (FROM labels EXCEPT ALL FROM query)
UNION ALL
SELECT 'query', * FROM (FROM query EXCEPT ALL FROM labels)
ORDER BY user_id, ts, item_id, side
