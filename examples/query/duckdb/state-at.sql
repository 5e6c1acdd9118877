-- A topic as the table that it is, at a moment: the last value of each key, without what was deleted.
-- Variables: topic, moment.
SELECT try(decode("key")) AS "key", try(decode("value")) AS "value", "timestamp", "partition", "offset"
FROM (
    SELECT *
    FROM records
    WHERE topic = getvariable('topic')
      AND "key" IS NOT NULL
      AND "timestamp" <= getvariable('moment')::TIMESTAMPTZ
    QUALIFY row_number() OVER (PARTITION BY "partition", "key" ORDER BY lineage DESC, "offset" DESC) = 1
)
WHERE "value" IS NOT NULL
ORDER BY "key";
