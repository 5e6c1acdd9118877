-- Trino: the records of all topics as a table of the Hive connector. Edit the two locations and the first date. Partitions are
-- computed of their names, where the catalog has hive.partition-projection-enabled=true; a query has to name one topic.
-- With retention, it lacks old records of compacted topics: docs/query.md has what to ask instead.
CREATE TABLE records (
    lineage integer,
    "partition" integer,
    "offset" bigint,
    "timestamp" timestamp(3),
    timestamp_type varchar,
    "key" varbinary,
    "value" varbinary,
    headers array(row("key" varchar, "value" varbinary)),
    headers_raw varbinary,
    timestamp_raw bigint,
    topic varchar WITH (partition_projection_type = 'injected'),
    date varchar WITH (
        partition_projection_type = 'date',
        partition_projection_format = 'yyyy-MM-dd',
        partition_projection_range = ARRAY['2026-01-01', 'NOW+1DAYS'],
        partition_projection_interval = 1,
        partition_projection_interval_unit = 'DAYS'
    ),
    hour varchar WITH (
        partition_projection_type = 'integer',
        partition_projection_range = ARRAY['0', '23'],
        partition_projection_digits = 2
    )
)
WITH (
    format = 'PARQUET',
    external_location = 's3://company-kafka-backup/production/topics/',
    partitioned_by = ARRAY['topic', 'date', 'hour'],
    partition_projection_enabled = true,
    partition_projection_location_template =
        's3://company-kafka-backup/production/topics/topic=${topic}/date=${date}/hour=${hour}/'
)
