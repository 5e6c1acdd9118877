-- The views that the other files here ask: records, and offsets, what consumer groups committed or lost.
-- Variable: backup, the folder or URL of the storage prefix, such as 's3://company-kafka-backup/production'.
CREATE OR REPLACE VIEW records AS
SELECT *, date + to_hours(hour) AS filed
FROM read_parquet(
    getvariable('backup') || '/topics/*/*/*/*.parquet',
    hive_partitioning = true,
    hive_types = {'topic': VARCHAR, 'date': DATE, 'hour': INTEGER}
);

-- An image repeats commits with their place in the log: each counts once.
CREATE OR REPLACE VIEW offsets AS
SELECT * EXCLUDE (date, hour, raw_key, raw_value)
FROM read_parquet(
    getvariable('backup') || '/groups/*/*/*.parquet',
    hive_partitioning = true,
    hive_types = {'date': DATE, 'hour': INTEGER}
)
WHERE kind <> 'Raw'
QUALIFY row_number() OVER (PARTITION BY lineage, log_partition, log_offset ORDER BY kind) = 1;
