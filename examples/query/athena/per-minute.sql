-- How many records and bytes of values a topic got in each minute, and how many tombstones.
-- Athena and Trino. Edit topic, date and times. No record is filed before its hour, so date bounds the files from below alone.
SELECT date_trunc('minute', "timestamp") AS minute, count(*) AS records,
       coalesce(sum(length(value)), 0) AS bytes, count_if(value IS NULL) AS tombstones
FROM records
WHERE topic = 'orders' AND date >= '2026-02-13'
  AND "timestamp" >= TIMESTAMP '2026-02-13 01:10:00' AND "timestamp" < TIMESTAMP '2026-02-13 01:12:00'
GROUP BY 1
ORDER BY 1;
