-- When a bad deployment began to write, and where to restore to: restore_to is the last millisecond before it.
-- Athena and Trino. Edit topic, date (well before it), and the two lines that say what is bad.
SELECT min("timestamp") AS first_bad, max("timestamp") AS last_bad, count(*) AS bad_records,
       date_format(min("timestamp") - INTERVAL '0.001' SECOND, '%Y-%m-%dT%H:%i:%s.') ||
       lpad(CAST(millisecond(min("timestamp") - INTERVAL '0.001' SECOND) AS varchar), 3, '0') || 'Z' AS restore_to
FROM records
WHERE topic = 'orders' AND date >= '2026-02-13'
  AND try(CAST(json_extract_scalar(from_utf8(value, '?'), '$.total.amount') AS decimal(12, 2))) = 0
  AND any_match(headers, h -> h.key = 'app-version' AND h.value = to_utf8('2.4.1'));
