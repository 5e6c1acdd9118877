-- Files that show records which another file shows too: none of them, or files that no manifest names any more.
-- `strimzi-backup segments` prints those that count.
SELECT topic, lineage, "partition", "offset", count(*) AS times
FROM records
GROUP BY topic, lineage, "partition", "offset"
HAVING count(*) > 1
ORDER BY ALL;
