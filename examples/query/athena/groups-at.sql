-- What consumer groups had committed at a moment. `strimzi-backup groups --at` says the same, and refuses moments that are
-- not covered, which this cannot know.
-- Athena and Trino. Edit the moment.
SELECT group_id, topic, "partition", "offset", committed_at
FROM (
    SELECT kind, group_id, topic, "partition", "offset", committed_at,
           row_number() OVER (PARTITION BY group_id, topic, "partition" ORDER BY lineage DESC, log_offset DESC) AS place
    FROM offsets
    WHERE kind <> 'Raw' AND "timestamp" <= TIMESTAMP '2027-01-01 00:00:00'
)
WHERE place = 1 AND kind <> 'Delete'
ORDER BY group_id, topic, "partition";
