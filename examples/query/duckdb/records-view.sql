-- The view that the other files here ask: every record under topics/, and the hour that it is filed under.
-- With retention, it lacks old records of compacted topics: docs/query.md has what to ask instead.
-- Variable: backup, the folder or URL of the storage prefix, such as 's3://company-kafka-backup/production'.
CREATE OR REPLACE VIEW records AS
SELECT *, date + to_hours(hour) AS filed
FROM read_parquet(
    getvariable('backup') || '/topics/*/*/*/*.parquet',
    hive_partitioning = true,
    hive_types = {'topic': VARCHAR, 'date': DATE, 'hour': INTEGER}
);
