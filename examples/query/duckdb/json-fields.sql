-- Fields of JSON values: orders and their sum by channel. What is no JSON is counted in a row of its own.
-- Variable: topic. The paths are the example's.
WITH parsed AS (
    SELECT TRY_CAST(try(decode("value")) AS JSON) AS body
    FROM records
    WHERE topic = getvariable('topic') AND "value" IS NOT NULL
)
SELECT body->>'$.channel' AS channel, count(*) AS records, count(DISTINCT body->>'$.order') AS orders,
       sum(TRY_CAST(body->>'$.total.amount' AS DECIMAL(12, 2))) AS amount
FROM parsed
GROUP BY channel
ORDER BY channel NULLS LAST;
