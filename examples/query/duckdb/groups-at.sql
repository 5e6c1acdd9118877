-- What consumer groups had committed at a moment. `strimzi-backup groups --at` says the same, and refuses moments that are
-- not covered, which this cannot know.
-- Variable: moment.
SELECT group_id, topic, "partition", "offset", committed_at
FROM (
    SELECT *
    FROM offsets
    WHERE "timestamp" <= getvariable('moment')::TIMESTAMPTZ
    QUALIFY row_number() OVER (PARTITION BY group_id, topic, "partition" ORDER BY lineage DESC, log_offset DESC) = 1
)
WHERE kind <> 'Delete'
ORDER BY group_id, topic, "partition";
