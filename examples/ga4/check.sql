-- The same labels by joins over the raw file; rows that only one side has, none where all agree.
WITH raw AS (
    SELECT user_id, epoch_ms(event_timestamp) AS ts, event_name, item_id, max(price) AS price
    FROM read_parquet('data/ecommerce-event-data.parquet')
    GROUP BY ALL
), views AS (
    SELECT user_id, ts, item_id, price FROM raw WHERE event_name = 'view_item' AND item_id IS NOT NULL
), carted AS (
    SELECT DISTINCT v.user_id, v.ts, v.item_id
    FROM views v JOIN raw c ON c.event_name = 'add_to_cart' AND c.user_id = v.user_id
        AND c.item_id = v.item_id AND c.ts BETWEEN v.ts AND v.ts + 7 * 86400000
), ordered AS (
    SELECT v.user_id, v.ts, v.item_id, count(*) AS items, min(o.ts) - v.ts AS after_ms
    FROM views v JOIN raw o ON o.event_name = 'purchase' AND o.user_id = v.user_id
        AND o.ts BETWEEN v.ts AND v.ts + 7 * 86400000
    GROUP BY v.user_id, v.ts, v.item_id
), query AS (
    SELECT user_id, ts, item_id, price, c.item_id IS NOT NULL AS carted, o.items IS NOT NULL AS ordered,
        coalesce(o.items, 0) AS ordered_items, o.after_ms
    FROM views
    LEFT JOIN carted c USING (user_id, ts, item_id)
    LEFT JOIN ordered o USING (user_id, ts, item_id)
), labels AS (
    SELECT user_id, epoch_ms(anchor_ts) AS ts, item_id, price, carted, ordered, ordered_items,
        time_to_order_ms AS after_ms
    FROM view_to_order_final
)
SELECT 'labels' AS side, * FROM (FROM labels EXCEPT ALL FROM query)
UNION ALL
SELECT 'query', * FROM (FROM query EXCEPT ALL FROM labels)
ORDER BY user_id, ts, item_id, side
