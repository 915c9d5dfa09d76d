-- The shipped rule follow_causes in DuckDB's SQL, for the follows of one range of time.
--
-- Variables: files (of the archive), from_ts, to_ts (follows in [from_ts, to_ts)). Makes the tables
-- follow_causes and follow_causes_changes; benchmarks/attribution_twin.py runs it. Ties are broken
-- by event_id throughout; credit is in parts per 10^9.

-- Follows of the range, and those behind it that may be the ones an unfollow takes back.
CREATE OR REPLACE TEMP TABLE follows AS
SELECT row_number() OVER () AS a, event_ts, event_id, user_id, item_id, author_id, request_id, scene,
    page_id, "position", platform, session_id, experiments
FROM read_parquet(getvariable('files'), hive_partitioning = false)
WHERE event_type = 'follow' AND event_ts >= getvariable('from_ts')
    AND event_ts < getvariable('to_ts') + INTERVAL 1 DAY;

CREATE OR REPLACE TEMP TABLE undone AS
WITH taken_back AS (
    SELECT any_value(u.event_ts) AS event_ts, max_by(f.a, (f.event_ts, f.event_id)) AS a
    FROM (
        SELECT row_number() OVER () AS u, event_ts, user_id, author_id
        FROM read_parquet(getvariable('files'), hive_partitioning = false)
        WHERE event_type = 'unfollow' AND event_ts >= getvariable('from_ts')
            AND event_ts < getvariable('to_ts') + INTERVAL 1 DAY
    ) u JOIN follows f ON f.user_id = u.user_id AND f.author_id = u.author_id
        AND u.event_ts BETWEEN f.event_ts AND f.event_ts + INTERVAL 1 DAY
    GROUP BY u.u
)
SELECT a, min(event_ts) AS undone_ts FROM taken_back GROUP BY a;

DELETE FROM follows WHERE event_ts >= getvariable('to_ts');

CREATE OR REPLACE TEMP TABLE paths AS
WITH events AS (
    SELECT event_ts, event_id, event_type, user_id, item_id, author_id, request_id, scene, page_id,
        "position"
    FROM read_parquet(getvariable('files'), hive_partitioning = false)
    WHERE event_type IN ('view_start', 'search')
        AND event_ts >= getvariable('from_ts') - INTERVAL 1 DAY AND event_ts < getvariable('to_ts')
), touches AS (
    SELECT f.a, f.event_ts AS follow_ts, 1 AS class, e.*
    FROM events e JOIN follows f ON f.user_id = e.user_id AND f.author_id = e.author_id
        AND e.event_ts BETWEEN f.event_ts - INTERVAL 1 DAY AND f.event_ts
    WHERE e.event_type = 'view_start'
    UNION ALL
    SELECT f.a, f.event_ts, 2, e.*
    FROM events e JOIN follows f ON f.user_id = e.user_id
        AND e.event_ts BETWEEN f.event_ts - INTERVAL 10 MINUTE AND f.event_ts
    WHERE e.event_type = 'search'
), ranked AS (
    SELECT *, row_number() OVER (PARTITION BY a ORDER BY event_ts, event_id) AS rank,
        count(*) OVER (PARTITION BY a) AS touches
    FROM touches
)
SELECT *, epoch_ms(follow_ts) - epoch_ms(event_ts) AS delay_ms, CASE
    WHEN touches = 1 THEN 1000000000
    WHEN touches = 2 THEN 500000000
    WHEN rank = 1 THEN 400000000
    WHEN rank < touches THEN 200000000 // (touches - 2)
    ELSE 600000000 - 200000000 // (touches - 2) * (touches - 2) END AS credit
FROM ranked;

CREATE OR REPLACE TABLE follow_causes AS
WITH known AS (
    SELECT f.*, u.undone_ts, p.touches, p.path
    FROM follows f LEFT JOIN undone u USING (a)
    LEFT JOIN (
        SELECT a, count(*) AS touches, list(coalesce(scene, '') ORDER BY rank) AS path
        FROM paths GROUP BY a
    ) p USING (a)
)
SELECT user_id, event_ts AS anchor_ts, event_id AS anchor_id, event_ts AS touch_ts,
    '' AS touch_id, if(undone_ts > event_ts, 2, 1) AS revision, item_id, author_id, request_id, scene,
    page_id, "position", platform, session_id, experiments, CASE
        WHEN undone_ts IS NOT NULL THEN 'undone'
        WHEN touches > 0 THEN 'attributed' ELSE 'unattributed' END AS verdict,
    coalesce(touches, 0) AS touches, coalesce(path, []) AS path, NULL::BIGINT AS rank,
    NULL::BOOLEAN AS direct, NULL::BIGINT AS delay_ms, NULL::VARCHAR AS touch_type,
    NULL::BIGINT AS touch_class, NULL::VARCHAR AS touch_item_id, NULL::VARCHAR AS touch_author_id,
    NULL::VARCHAR AS touch_request_id, NULL::VARCHAR AS touch_scene, NULL::VARCHAR AS touch_page_id,
    NULL::INTEGER AS touch_position, NULL::BIGINT AS credit
FROM known
UNION ALL
SELECT f.user_id, f.event_ts, f.event_id, p.event_ts, p.event_id, 1, f.item_id, f.author_id,
    f.request_id, f.scene, f.page_id, f."position", f.platform, f.session_id, f.experiments, NULL, NULL,
    NULL, p.rank, p.rank = p.touches, p.delay_ms, p.event_type, p.class, p.item_id, p.author_id,
    p.request_id, p.scene, p.page_id, p."position", p.credit
FROM paths p JOIN known f USING (a)
WHERE f.undone_ts IS NULL;

CREATE OR REPLACE TABLE follow_causes_changes AS
WITH gone AS (
    SELECT f.*, u.undone_ts FROM follows f JOIN undone u USING (a) WHERE u.undone_ts > f.event_ts
)
SELECT user_id, event_ts AS anchor_ts, event_id AS anchor_id, event_ts AS touch_ts, '' AS touch_id,
    2 AS revision, 'update' AS kind, 'undo' AS reason, undone_ts AS point_ts,
    {'verdict': if(a IN (SELECT a FROM paths), 'attributed', 'unattributed'), 'rank': NULL::BIGINT,
        'credit': NULL::BIGINT} AS "old",
    {'verdict': 'undone', 'rank': NULL::BIGINT, 'credit': NULL::BIGINT} AS "new"
FROM gone
UNION ALL
SELECT g.user_id, g.event_ts, g.event_id, p.event_ts, p.event_id, 2, 'retract', 'undo', g.undone_ts,
    {'verdict': NULL, 'rank': p.rank, 'credit': p.credit}, NULL
FROM paths p JOIN gone g USING (a);
