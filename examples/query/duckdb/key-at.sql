-- What a key looked like at a moment: the last record of it that a restore to that moment brings back.
-- Variables: topic, key, moment. One row for each partition; a NULL value is a tombstone; no row: it was not there.
SELECT "partition", "offset", "timestamp", try(decode("value")) AS "value"
FROM records
WHERE topic = getvariable('topic')
  AND "key" = encode(getvariable('key'))
  AND "timestamp" <= getvariable('moment')::TIMESTAMPTZ
QUALIFY row_number() OVER (PARTITION BY "partition" ORDER BY lineage DESC, "offset" DESC) = 1
ORDER BY "partition";
