-- How many records and bytes of values a topic got in each minute, and how many tombstones.
-- Variables: topic, since, until.
SELECT date_trunc('minute', "timestamp" AT TIME ZONE 'UTC') AS minute, count(*) AS records,
       coalesce(sum(octet_length("value")), 0) AS bytes, count(*) FILTER ("value" IS NULL) AS tombstones
FROM records
WHERE topic = getvariable('topic')
  AND "timestamp" >= getvariable('since')::TIMESTAMPTZ
  AND "timestamp" < getvariable('until')::TIMESTAMPTZ
GROUP BY minute
ORDER BY minute;
