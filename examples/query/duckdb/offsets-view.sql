-- The view that lag-history.sql and groups-at.sql ask: what consumer groups committed or lost.
-- Variable: backup, as for records-view.sql.
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
