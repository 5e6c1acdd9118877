-- Every version of a key, in the order of the log, with how long each stood.
-- Variables: topic, key.
SELECT "partition", "offset", "timestamp", try(decode("value")) AS "value",
       lead("timestamp") OVER log - "timestamp" AS stood
FROM records
WHERE topic = getvariable('topic') AND "key" = encode(getvariable('key'))
WINDOW log AS (PARTITION BY "partition" ORDER BY lineage, "offset")
ORDER BY lineage, "partition", "offset";
