-- How far a consumer group was behind in a topic at each of its commits: records up to that instant that it had not read.
-- Variables: topic, group_id. Holes in the offsets (transactions, compaction) do not count, as records are counted.
WITH commits AS (
    SELECT "partition", "offset" AS committed, committed_at
    FROM offsets
    WHERE kind IN ('Commit', 'Image') AND group_id = getvariable('group_id') AND topic = getvariable('topic')
)
SELECT c.committed_at, c."partition", c.committed, count(r."offset") AS lag,
       c.committed_at - min(r."timestamp") AS oldest_unread
FROM commits c
LEFT JOIN records r
       ON r.topic = getvariable('topic') AND r."partition" = c."partition"
      AND r."offset" >= c.committed AND r."timestamp" <= c.committed_at
GROUP BY c.committed_at, c."partition", c.committed
ORDER BY c.committed_at, c."partition", c.committed;
