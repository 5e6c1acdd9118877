-- How far a consumer group was behind in a topic at each of its commits: records up to that instant that it had not read.
-- Athena and Trino. Edit topic (twice), group and dates. An image repeats a commit: each counts once.
WITH commits AS (
    SELECT DISTINCT "partition", "offset" AS committed, committed_at
    FROM offsets
    WHERE kind IN ('Commit', 'Image') AND group_id = 'billing' AND topic = 'payments' AND date >= '2026-02-13'
),
produced AS (
    SELECT "partition", "offset", "timestamp"
    FROM records
    WHERE topic = 'payments' AND date >= '2026-02-13'
)
SELECT c.committed_at, c."partition", c.committed, count(r."offset") AS lag,
       c.committed_at - min(r."timestamp") AS oldest_unread
FROM commits c
LEFT JOIN produced r
       ON r."partition" = c."partition" AND r."offset" >= c.committed AND r."timestamp" <= c.committed_at
GROUP BY c.committed_at, c."partition", c.committed
ORDER BY c.committed_at, c."partition", c.committed;
