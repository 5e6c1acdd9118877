-- What a key looked like at a moment: the last record of it that a restore to that moment brings back.
-- Athena and Trino. Edit topic, date, key, moment. One row for each partition; a NULL value is a tombstone; no row: not there.
SELECT "partition", "offset", "timestamp", value
FROM (
    SELECT "partition", "offset", "timestamp", from_utf8(value, '?') AS value,
           row_number() OVER (PARTITION BY "partition" ORDER BY lineage DESC, "offset" DESC) AS place
    FROM records
    WHERE topic = 'orders' AND date >= '2026-02-13'
      AND key = to_utf8('order-5') AND "timestamp" <= TIMESTAMP '2026-02-13 01:30:00'
)
WHERE place = 1
ORDER BY "partition";
