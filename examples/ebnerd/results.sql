SELECT
    count(*) AS impressions,
    count(*) FILTER (clicked) AS clicks,
    count(dwell_ms) AS with_dwell,
    count(*) FILTER (valid_click) AS valid_clicks,
    round(100.0 * count(*) FILTER (clicked) / count(*), 2) AS click_rate_percent,
    round(100.0 * count(*) FILTER (valid_click) / count(*), 2) AS valid_rate_percent
FROM article_labels_final
