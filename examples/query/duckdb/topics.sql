-- What is there: of each topic and life of it, partitions, records, bytes, first and last timestamp.
SELECT topic, lineage, count(DISTINCT "partition") AS partitions, count(*) AS records,
       sum(coalesce(octet_length("key"), 0) + coalesce(octet_length("value"), 0)) AS bytes,
       min("timestamp") AS first, max("timestamp") AS last
FROM records
GROUP BY topic, lineage
ORDER BY topic, lineage;
