-- The shipped rule order_attribution in DuckDB's SQL, for the orders of one range of time.
--
-- Variables: files (of the archive), from_ts, to_ts (orders in [from_ts, to_ts)). Makes the tables
-- order_attribution and order_attribution_changes; benchmarks/attribution_twin.py runs it. Ties are
-- broken by event_id throughout; credit is in parts per 10^9, values in micro-units.

-- Orders of the range, and those behind it that may be the ones a refund names.
CREATE OR REPLACE TEMP TABLE orders AS
SELECT row_number() OVER () AS a, event_ts, event_id, user_id, order_id, "value", item_id, author_id,
    request_id, scene, page_id, "position", platform, session_id, experiments
FROM read_parquet(getvariable('files'), hive_partitioning = false)
WHERE event_type = 'order' AND event_ts >= getvariable('from_ts')
    AND event_ts < getvariable('to_ts') + INTERVAL 30 DAY;

CREATE OR REPLACE TEMP TABLE refunds AS
SELECT max_by(o.a, (o.event_ts, o.event_id)) AS a, any_value(r.event_ts) AS refund_ts,
    any_value(r.refund) AS refund
FROM (
    SELECT row_number() OVER () AS r, event_ts, user_id, order_id, "value" AS refund
    FROM read_parquet(getvariable('files'), hive_partitioning = false)
    WHERE event_type = 'refund' AND event_ts >= getvariable('from_ts')
        AND event_ts < getvariable('to_ts') + INTERVAL 30 DAY
) r JOIN orders o ON o.user_id = r.user_id AND o.order_id = r.order_id
    AND r.event_ts BETWEEN o.event_ts AND o.event_ts + INTERVAL 30 DAY
GROUP BY r.r;

DELETE FROM orders WHERE event_ts >= getvariable('to_ts');

-- The value of each order at its own time and after each refund.
CREATE OR REPLACE TEMP TABLE standing AS
SELECT a, p.point_ts, any_value(o."value") - coalesce(sum(r.refund), 0)::BIGINT AS "value"
FROM (SELECT a, event_ts AS point_ts FROM orders UNION SELECT a, refund_ts FROM refunds) p
JOIN orders o USING (a) LEFT JOIN refunds r ON r.a = p.a AND r.refund_ts <= p.point_ts
GROUP BY p.a, p.point_ts;

-- Clicks of a week or, where there is none, views of a day; then the credit of each by five models.
CREATE OR REPLACE TEMP TABLE paths AS
WITH touches AS (
    SELECT o.a, o.event_ts AS order_ts, if(e.event_type = 'click', 1, 2) AS class, e.*
    FROM (
        SELECT event_ts, event_id, event_type, user_id, item_id, author_id, request_id, scene, page_id,
            "position"
        FROM read_parquet(getvariable('files'), hive_partitioning = false)
        WHERE event_type IN ('click', 'view_start')
            AND event_ts >= getvariable('from_ts') - INTERVAL 7 DAY
            AND event_ts < getvariable('to_ts')
    ) e JOIN orders o ON o.user_id = e.user_id AND o.item_id = e.item_id
        AND e.event_ts BETWEEN o.event_ts - INTERVAL 7 DAY AND o.event_ts
        AND (e.event_type = 'click' OR e.event_ts >= o.event_ts - INTERVAL 1 DAY)
), best AS (
    SELECT * FROM touches QUALIFY class = min(class) OVER (PARTITION BY a)
), ranked AS (
    SELECT *, epoch_ms(order_ts) - epoch_ms(event_ts) AS delay_ms,
        row_number() OVER (PARTITION BY a ORDER BY event_ts, event_id) AS rank,
        count(*) OVER (PARTITION BY a) AS touches,
        floor(1e9 * pow(2.0, -(epoch_ms(max(event_ts) OVER (PARTITION BY a)) - epoch_ms(event_ts))
            / 151200000.0))::BIGINT AS weight
    FROM best
), parts AS (
    SELECT *, 1000000000 // touches AS even,
        (1000000000 * weight // sum(weight) OVER (PARTITION BY a))::BIGINT AS decayed
    FROM ranked
)
SELECT * EXCLUDE (even, decayed, weight),
    if(rank = touches, 1000000000, 0) AS credit_last,
    if(rank = 1, 1000000000, 0) AS credit_first,
    if(rank = touches, 1000000000 - even * (touches - 1), even) AS credit_linear,
    CASE
        WHEN touches = 1 THEN 1000000000
        WHEN touches = 2 THEN 500000000
        WHEN rank = 1 THEN 400000000
        WHEN rank < touches THEN 200000000 // (touches - 2)
        ELSE 600000000 - 200000000 // (touches - 2) * (touches - 2) END AS credit_position,
    (decayed + if(rank = touches, 1000000000 - sum(decayed) OVER (PARTITION BY a), 0))::BIGINT
        AS credit_decay
FROM parts;

-- What the value shares out to, rounded towards zero; what is missing to it goes to the last touch.
CREATE OR REPLACE TEMP MACRO part("value", credit) AS ("value"::HUGEINT * credit // 1000000000)::BIGINT;

CREATE OR REPLACE TEMP TABLE told AS
WITH cut AS (
    SELECT s.a, s.point_ts, p.rank, p.touches, s."value", part(s."value", credit_last) AS of_last,
        part(s."value", credit_first) AS of_first, part(s."value", credit_linear) AS of_linear,
        part(s."value", credit_position) AS of_position, part(s."value", credit_decay) AS of_decay
    FROM standing s JOIN paths p ON p.a = s.a
), shared AS (
    SELECT a, point_ts, 0 AS rank, "value", NULL::BIGINT AS value_last, NULL::BIGINT AS value_first,
        NULL::BIGINT AS value_linear, NULL::BIGINT AS value_position, NULL::BIGINT AS value_decay
    FROM standing
    UNION ALL
    SELECT a, point_ts, rank, NULL,
        of_last, of_first,
        of_linear + if(rank = touches, "value" - sum(of_linear) OVER w, 0),
        of_position + if(rank = touches, "value" - sum(of_position) OVER w, 0),
        of_decay + if(rank = touches, "value" - sum(of_decay) OVER w, 0)
    FROM cut WINDOW w AS (PARTITION BY a, point_ts)
), labelled AS (
    SELECT a, point_ts, rank, {'value': "value", 'last': value_last, 'first': value_first,
        'linear': value_linear::BIGINT, 'position': value_position::BIGINT,
        'decay': value_decay::BIGINT} AS said
    FROM shared
), compared AS (
    SELECT *, lag(said) OVER w AS said_before, row_number() OVER w AS nth
    FROM labelled WINDOW w AS (PARTITION BY a, rank ORDER BY point_ts)
)
SELECT a, point_ts, rank, said_before, said,
    (row_number() OVER (PARTITION BY a, rank ORDER BY point_ts))::INTEGER AS revision
FROM compared WHERE nth = 1 OR said IS DISTINCT FROM said_before;

CREATE OR REPLACE TABLE order_attribution AS
WITH now AS (
    SELECT * FROM told QUALIFY revision = max(revision) OVER (PARTITION BY a, rank)
), along AS (
    SELECT a, count(*) AS touches, list(coalesce(scene, '') ORDER BY rank) AS path
    FROM paths GROUP BY a
)
SELECT o.user_id, o.event_ts AS anchor_ts, o.event_id AS anchor_id, o.event_ts AS touch_ts,
    '' AS touch_id, n.revision, o.item_id, o.author_id, o.request_id, o.scene, o.page_id, o."position",
    o.platform, o.session_id, o.experiments,
    if(t.touches > 0, 'attributed', 'unattributed') AS verdict, coalesce(t.touches, 0) AS touches,
    coalesce(t.path, []) AS path, NULL::BIGINT AS rank, NULL::BOOLEAN AS direct,
    NULL::BIGINT AS delay_ms, NULL::VARCHAR AS touch_type, NULL::BIGINT AS touch_class,
    NULL::VARCHAR AS touch_item_id, NULL::VARCHAR AS touch_author_id,
    NULL::VARCHAR AS touch_request_id, NULL::VARCHAR AS touch_scene, NULL::VARCHAR AS touch_page_id,
    NULL::INTEGER AS touch_position, NULL::BIGINT AS credit_last, NULL::BIGINT AS credit_first,
    NULL::BIGINT AS credit_linear, NULL::BIGINT AS credit_position, NULL::BIGINT AS credit_decay,
    n.said."value" AS "value", NULL::BIGINT AS value_last, NULL::BIGINT AS value_first,
    NULL::BIGINT AS value_linear, NULL::BIGINT AS value_position, NULL::BIGINT AS value_decay
FROM orders o JOIN now n ON n.a = o.a AND n.rank = 0 LEFT JOIN along t ON t.a = o.a
UNION ALL
SELECT o.user_id, o.event_ts, o.event_id, p.event_ts, p.event_id, n.revision, o.item_id, o.author_id,
    o.request_id, o.scene, o.page_id, o."position", o.platform, o.session_id, o.experiments, NULL, NULL,
    NULL, p.rank, p.rank = p.touches, p.delay_ms, p.event_type, p.class, p.item_id, p.author_id,
    p.request_id, p.scene, p.page_id, p."position", p.credit_last, p.credit_first, p.credit_linear,
    p.credit_position, p.credit_decay, NULL, n.said."last", n.said."first", n.said.linear,
    n.said."position", n.said.decay
FROM paths p JOIN now n ON n.a = p.a AND n.rank = p.rank JOIN orders o ON o.a = p.a;

CREATE OR REPLACE TABLE order_attribution_changes AS
SELECT o.user_id, o.event_ts AS anchor_ts, o.event_id AS anchor_id,
    coalesce(p.event_ts, o.event_ts) AS touch_ts, coalesce(p.event_id, '') AS touch_id, t.revision,
    'update' AS kind, 'undo' AS reason, t.point_ts, t.said_before AS "old", t.said AS "new"
FROM told t JOIN orders o ON o.a = t.a LEFT JOIN paths p ON p.a = t.a AND p.rank = t.rank
WHERE t.revision > 1;
