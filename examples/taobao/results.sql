SELECT
    count(*) AS views,
    count(*) FILTER (favorited) AS favorited,
    count(*) FILTER (carted) AS carted,
    count(*) FILTER (ordered) AS ordered,
    round(100.0 * count(*) FILTER (carted) / count(*), 2) AS cart_rate_percent,
    round(100.0 * count(*) FILTER (ordered) / count(*), 2) AS order_rate_percent,
    round(quantile_cont(time_to_order_ms, 0.5) / 60000, 1) AS median_minutes_to_order
FROM view_to_order_final
