-- Trino: what consumer groups committed, as a table of the Hive connector. Edit the two locations and the first date.
CREATE TABLE offsets (
    kind varchar,
    group_id varchar,
    topic varchar,
    "partition" integer,
    "offset" bigint,
    leader_epoch integer,
    metadata varchar,
    committed_at timestamp(3),
    topic_id varchar,
    "timestamp" timestamp(3),
    lineage integer,
    log_partition integer,
    log_offset bigint,
    raw_key varbinary,
    raw_value varbinary,
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
    external_location = 's3://company-kafka-backup/production/groups/',
    partitioned_by = ARRAY['date', 'hour'],
    partition_projection_enabled = true,
    partition_projection_location_template =
        's3://company-kafka-backup/production/groups/date=${date}/hour=${hour}/'
)
