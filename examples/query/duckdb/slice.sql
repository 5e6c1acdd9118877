-- The records of a topic with since <= timestamp < until, as text; what is no UTF-8 is NULL here and whole in records.
-- Variables: topic, since, until. No record is filed before its hour, so filed spares the files of earlier hours.
SELECT "partition", "offset", "timestamp", try(decode("key")) AS "key", try(decode("value")) AS "value"
FROM records
WHERE topic = getvariable('topic')
  AND filed >= date_trunc('hour', getvariable('since')::TIMESTAMPTZ AT TIME ZONE 'UTC')
  AND "timestamp" >= getvariable('since')::TIMESTAMPTZ
  AND "timestamp" < getvariable('until')::TIMESTAMPTZ
ORDER BY lineage, "partition", "offset";
