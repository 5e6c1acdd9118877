-- Athena: the records of all topics as a table. Edit the two locations and the first date. Partitions are computed of their
-- names, so nothing has to be added or crawled; a query has to name one topic.
-- With retention, it lacks old records of compacted topics: docs/query.md has what to ask instead.
CREATE EXTERNAL TABLE records (
    lineage int,
    `partition` int,
    `offset` bigint,
    `timestamp` timestamp,
    timestamp_type string,
    key binary,
    value binary,
    headers array<struct<key: string, value: binary>>,
    headers_raw binary,
    timestamp_raw bigint
)
PARTITIONED BY (topic string, `date` string, hour string)
STORED AS PARQUET
LOCATION 's3://company-kafka-backup/production/topics/'
TBLPROPERTIES (
    'projection.enabled' = 'true',
    'projection.topic.type' = 'injected',
    'projection.date.type' = 'date',
    'projection.date.format' = 'yyyy-MM-dd',
    'projection.date.range' = '2026-01-01,NOW+1DAYS',
    'projection.date.interval' = '1',
    'projection.date.interval.unit' = 'DAYS',
    'projection.hour.type' = 'integer',
    'projection.hour.range' = '0,23',
    'projection.hour.digits' = '2',
    'storage.location.template' =
        's3://company-kafka-backup/production/topics/topic=${topic}/date=${date}/hour=${hour}/'
);
