-- The records that carry a header with a value, and the first value of another header of theirs.
-- Athena and Trino. Edit topic, date, names and value.
SELECT "partition", "offset", "timestamp", from_utf8(key, '?') AS key,
       from_utf8(element_at(filter(headers, h -> h.key = 'app-version'), 1).value, '?') AS app_version
FROM records
WHERE topic = 'orders' AND date >= '2026-02-13'
  AND any_match(headers, h -> h.key = 'trace' AND h.value = to_utf8('trace-7'))
ORDER BY lineage, "partition", "offset";
