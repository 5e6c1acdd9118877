-- When a bad deployment began to write, and where to restore to: restore_to is the last millisecond before it.
-- Variables: topic, since (well before it). What is bad is the example's: edit the two lines that say so.
SELECT min("timestamp") AS first_bad, max("timestamp") AS last_bad, count(*) AS bad_records,
       strftime((min("timestamp") - INTERVAL 1 millisecond) AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%S.%gZ') AS restore_to
FROM records
WHERE topic = getvariable('topic')
  AND "timestamp" >= getvariable('since')::TIMESTAMPTZ
  AND TRY_CAST(TRY_CAST(try(decode("value")) AS JSON)->>'$.total.amount' AS DECIMAL(12, 2)) = 0
  AND len(list_filter(headers, lambda h: h.key = 'app-version' AND h.value = encode('2.4.1'))) > 0;
