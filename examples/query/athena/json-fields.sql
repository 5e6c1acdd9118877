-- Fields of JSON values: orders and their sum by channel. What is no JSON has no channel.
-- Athena and Trino. Edit topic, date and paths.
WITH parsed AS (
    SELECT try(from_utf8(value, '?')) AS body
    FROM records
    WHERE topic = 'orders' AND date >= '2026-02-13' AND value IS NOT NULL
)
SELECT try(json_extract_scalar(body, '$.channel')) AS channel, count(*) AS records,
       count(DISTINCT try(json_extract_scalar(body, '$.order'))) AS orders,
       sum(try(CAST(json_extract_scalar(body, '$.total.amount') AS decimal(12, 2)))) AS amount
FROM parsed
GROUP BY 1
ORDER BY 1 NULLS LAST;
