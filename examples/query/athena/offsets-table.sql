-- Athena: what consumer groups committed, as a table. Edit the two locations and the first date.
CREATE EXTERNAL TABLE offsets (
    kind string,
    group_id string,
    topic string,
    `partition` int,
    `offset` bigint,
    leader_epoch int,
    metadata string,
    committed_at timestamp,
    topic_id string,
    `timestamp` timestamp,
    lineage int,
    log_partition int,
    log_offset bigint,
    raw_key binary,
    raw_value binary
)
PARTITIONED BY (`date` string, hour string)
STORED AS PARQUET
LOCATION 's3://company-kafka-backup/production/groups/'
TBLPROPERTIES (
    'projection.enabled' = 'true',
    'projection.date.type' = 'date',
    'projection.date.format' = 'yyyy-MM-dd',
    'projection.date.range' = '2026-01-01,NOW+1DAYS',
    'projection.date.interval' = '1',
    'projection.date.interval.unit' = 'DAYS',
    'projection.hour.type' = 'integer',
    'projection.hour.range' = '0,23',
    'projection.hour.digits' = '2',
    'storage.location.template' = 's3://company-kafka-backup/production/groups/date=${date}/hour=${hour}/'
);
