-- The shipped rule note_labels in DuckDB's SQL, for one range of anchors and one range of users.
--
-- Variables: files (of the archive), from_ts, to_ts (anchors in [from_ts, to_ts)), low_key, high_key
-- (user_key, both inclusive). Appends to note_labels and label_changes; benchmarks/twin.py makes them.
-- Times are epoch milliseconds until the last statement. Ties are broken by event_id throughout.

-- Impressions: those of the range, and those behind it that may take an event from them.
CREATE OR REPLACE TEMP TABLE anchors AS
SELECT row_number() OVER () AS a, epoch_ms(event_ts) AS ts, event_ts, event_id, user_id, item_id,
    author_id, impression_id, request_id, scene, page_id, "position", platform, session_id, experiments
FROM read_parquet(getvariable('files'), hive_partitioning = false)
WHERE event_type = 'impression'
    AND event_ts >= getvariable('from_ts') AND event_ts <= getvariable('to_ts') + INTERVAL 30 MINUTE
    AND user_key BETWEEN getvariable('low_key') AND getvariable('high_key');

CREATE OR REPLACE TEMP TABLE acts AS
SELECT row_number() OVER () AS e, epoch_ms(event_ts) AS ts, event_id, event_type, user_id, item_id,
    author_id, impression_id, view_id
FROM read_parquet(getvariable('files'), hive_partitioning = false)
WHERE event_type IN ('click', 'view_start', 'view_heartbeat', 'view_end', 'like', 'unlike',
        'favorite', 'comment', 'share', 'hide', 'follow', 'unfollow')
    AND event_ts >= getvariable('from_ts') AND event_ts <= getvariable('to_ts') + INTERVAL 30 MINUTE
    AND user_key BETWEEN getvariable('low_key') AND getvariable('high_key');

-- The anchor of each event: by reference, else the latest; both are one join, the latest of what matches.
CREATE OR REPLACE TEMP TABLE owned AS
SELECT e.e, any_value(e.event_type) AS event_type, any_value(e.ts) AS ts,
    any_value(e.event_id) AS event_id, max_by(a.a, (a.ts, a.event_id)) AS a, max(a.ts) AS a_ts
FROM acts e JOIN anchors a ON a.user_id = e.user_id AND a.item_id = e.item_id
    AND a.ts <= e.ts AND e.ts <= a.ts + 1800000
    AND (e.impression_id IS NULL OR a.event_id = e.impression_id OR a.impression_id = e.impression_id)
WHERE e.event_type NOT IN ('view_heartbeat', 'view_end', 'follow', 'unfollow')
GROUP BY e.e;

CREATE OR REPLACE TEMP TABLE follows AS
SELECT a, max_by(event_type, (ts, event_id)) FILTER (ts <= a_ts + 60000) = 'follow' AS followed_early,
    max_by(event_type, (ts, event_id)) = 'follow' AS followed
FROM (
    SELECT e.e, any_value(e.event_type) AS event_type, any_value(e.ts) AS ts,
        any_value(e.event_id) AS event_id, max_by(a.a, (a.ts, a.event_id)) AS a, max(a.ts) AS a_ts
    FROM acts e JOIN anchors a ON a.user_id = e.user_id AND a.author_id = e.author_id
        AND a.ts <= e.ts AND e.ts <= a.ts + 1800000
        AND (e.impression_id IS NULL OR a.event_id = e.impression_id
            OR a.impression_id = e.impression_id)
    WHERE e.event_type IN ('follow', 'unfollow')
    GROUP BY e.e
)
GROUP BY a;

CREATE OR REPLACE TEMP TABLE plain AS
SELECT a,
    coalesce(bool_or(event_type = 'click') FILTER (ts <= a_ts + 60000), false) AS clicked_early,
    bool_or(event_type = 'click') AS clicked,
    coalesce(bool_or(event_type IN ('like', 'favorite', 'comment', 'share'))
        FILTER (ts <= a_ts + 60000), false) AS interacted_early,
    bool_or(event_type IN ('like', 'favorite', 'comment', 'share')) AS interacted,
    coalesce(max_by(event_type, (ts, event_id)) FILTER (event_type IN ('like', 'unlike')
        AND ts <= a_ts + 60000) = 'like', false) AS liked_early,
    coalesce(max_by(event_type, (ts, event_id)) FILTER (event_type IN ('like', 'unlike'))
        = 'like', false) AS liked,
    coalesce(bool_or(event_type = 'favorite') FILTER (ts <= a_ts + 60000), false) AS favorited_early,
    bool_or(event_type = 'favorite') AS favorited,
    coalesce(bool_or(event_type = 'comment') FILTER (ts <= a_ts + 60000), false) AS commented_early,
    bool_or(event_type = 'comment') AS commented,
    coalesce(bool_or(event_type = 'share') FILTER (ts <= a_ts + 60000), false) AS shared_early,
    bool_or(event_type = 'share') AS shared,
    coalesce(bool_or(event_type = 'hide') FILTER (ts <= a_ts + 60000), false) AS hidden_early,
    bool_or(event_type = 'hide') AS hidden
FROM owned GROUP BY a;

-- Views. A start without a view_id is closed by the next start of its user and item.
CREATE OR REPLACE TEMP TABLE starts AS
SELECT e AS s, user_id, item_id, ts, event_id, view_id,
    CASE WHEN view_id IS NULL THEN lead(ts)
        OVER (PARTITION BY user_id, item_id ORDER BY ts, event_id) END AS next_ts
FROM acts WHERE event_type = 'view_start' AND item_id IS NOT NULL;

-- Heartbeats and ends join the latest start, whichever anchor they would go to by themselves.
CREATE OR REPLACE TEMP TABLE joined AS
SELECT any_value(c.event_type) = 'view_end' AS is_end, any_value(c.ts) AS ts,
    max_by(s.s, (s.ts, s.event_id)) AS s
FROM acts c JOIN starts s ON s.user_id = c.user_id AND s.item_id = c.item_id
    AND s.ts <= c.ts AND c.ts <= s.ts + 1800000 AND (c.view_id IS NULL OR s.view_id = c.view_id)
WHERE c.event_type IN ('view_heartbeat', 'view_end')
GROUP BY c.e;

-- Each view as of each of the two points, the heartbeats of it up to its close, and its close.
CREATE OR REPLACE TEMP TABLE views AS
WITH seen AS (
    SELECT s.s, p.early, any_value(o.a) AS a, any_value(s.ts) AS ts,
        any_value(o.a_ts + p.delay) AS point_ts,
        coalesce(max(j.ts) FILTER (j.is_end),
            any_value(CASE WHEN s.next_ts <= o.a_ts + p.delay THEN s.next_ts END)) AS close_ts
    FROM starts s JOIN owned o ON o.e = s.s
    JOIN (VALUES (true, 60000), (false, 1800000)) p(early, delay) ON s.ts <= o.a_ts + p.delay
    LEFT JOIN joined j ON j.s = s.s AND j.ts <= o.a_ts + p.delay
    GROUP BY s.s, p.early
)
SELECT *, 0 AS kind, ts AS at_ts FROM seen
UNION ALL
SELECT seen.*, 1, j.ts FROM seen JOIN joined j ON j.s = seen.s
WHERE NOT j.is_end AND j.ts <= point_ts AND (close_ts IS NULL OR j.ts <= close_ts)
UNION ALL
SELECT *, 2, close_ts FROM seen WHERE close_ts IS NOT NULL;

CREATE OR REPLACE TEMP TABLE dwells AS
WITH stretches AS (
    SELECT a, early, at_ts AS until_ts,
        lag(at_ts) OVER (PARTITION BY s, early ORDER BY at_ts) AS since_ts,
        bool_or(kind = 1) OVER (PARTITION BY s, early) AS beaten
    FROM views
), counted AS (
    SELECT a, early, since_ts, until_ts FROM stretches
    WHERE since_ts < until_ts AND NOT (beaten AND until_ts - since_ts > 60000)
), fresh AS (
    SELECT a, early, greatest(0, until_ts - greatest(since_ts, max(until_ts) OVER (
        PARTITION BY a, early ORDER BY since_ts, until_ts
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING))) AS ms
    FROM counted
    UNION ALL
    SELECT DISTINCT a, early, 0 FROM views
)
SELECT a, CASE WHEN bool_or(early)  -- least() skips a null: an early point without a view stays null
        THEN least(sum(ms) FILTER (early), 600000) END::BIGINT AS dwell_early_ms,
    least(sum(ms) FILTER (NOT early), 600000)::BIGINT AS dwell_ms
FROM fresh GROUP BY a;

-- Both points of each anchor that anything happened to; the others are false and null at both.
CREATE OR REPLACE TEMP TABLE touched AS
WITH labels AS (
    SELECT coalesce(p.a, f.a) AS a,
        struct_pack(clicked := coalesce(clicked_early, false),
            valid_click := coalesce(clicked_early AND (coalesce(dwell_early_ms >= 3000, false)
                OR interacted_early), false),
            dwell_ms := dwell_early_ms, liked := coalesce(liked_early, false),
            favorited := coalesce(favorited_early, false),
            commented := coalesce(commented_early, false), shared := coalesce(shared_early, false),
            followed := coalesce(followed_early, false), hidden := coalesce(hidden_early, false)
        ) AS old,
        struct_pack(clicked := coalesce(clicked, false),
            valid_click := coalesce(clicked AND (coalesce(dwell_ms >= 3000, false)
                OR interacted), false),
            dwell_ms := dwell_ms, liked := coalesce(liked, false),
            favorited := coalesce(favorited, false), commented := coalesce(commented, false),
            shared := coalesce(shared, false), followed := coalesce(followed, false),
            hidden := coalesce(hidden, false)) AS new
    FROM plain p FULL JOIN follows f ON f.a = p.a LEFT JOIN dwells d ON d.a = p.a
)
SELECT a, old, new, CASE WHEN old = new THEN 1 ELSE 2 END AS revision FROM labels;

INSERT INTO note_labels
SELECT user_id, event_ts, event_id, coalesce(revision, 1), item_id, author_id, request_id, scene,
    page_id, "position", platform, session_id, experiments, coalesce(new.clicked, false),
    coalesce(new.valid_click, false), new.dwell_ms, coalesce(new.liked, false),
    coalesce(new.favorited, false), coalesce(new.commented, false), coalesce(new.shared, false),
    coalesce(new.followed, false), coalesce(new.hidden, false)
FROM anchors LEFT JOIN touched ON touched.a = anchors.a
WHERE event_ts < getvariable('to_ts');

INSERT INTO label_changes
SELECT user_id, event_ts, event_id, 2, 'update', 'point', event_ts + INTERVAL 30 MINUTE, old, new
FROM touched JOIN anchors ON anchors.a = touched.a
WHERE revision = 2 AND event_ts < getvariable('to_ts');
