-- What was written over after a moment: each key that changed, its last value up to the moment and its last value now.
-- Variables: topic, moment. A key without a value before is new.
WITH versions AS (
    SELECT "partition", "key", arg_max_null("value", "offset") FILTER (early) AS before,
           arg_max_null("value", "offset") AS now, count(*) FILTER (NOT early) AS writes
    FROM (SELECT *, "timestamp" <= getvariable('moment')::TIMESTAMPTZ AS early FROM records)
    WHERE topic = getvariable('topic') AND "key" IS NOT NULL
    GROUP BY lineage, "partition", "key"
)
SELECT try(decode("key")) AS "key", writes, try(decode(before)) AS before, try(decode(now)) AS now
FROM versions
WHERE writes > 0
ORDER BY "key";
