"""How far a group was behind in a topic, at each of its commits: spark-submit lag_history.py BACKUP TOPIC GROUP"""

import sys

from pyspark.sql import SparkSession
from pyspark.sql import functions as f

backup, topic, group = sys.argv[1:]
spark = SparkSession.builder.appName("lag-history").config("spark.sql.session.timeZone", "UTC").getOrCreate()
spark.conf.set("spark.sql.sources.partitionColumnTypeInference.enabled", "false")
of_group = (f.col("group_id") == group) & (f.col("topic") == topic) & f.col("kind").isin("Commit", "Image")
commits = spark.read.parquet(f"{backup}/groups").where(of_group)
# An image repeats a commit with its place in the log: each counts once.
commits = commits.dropDuplicates(["lineage", "log_partition", "log_offset"]).select("partition", "offset", "committed_at")
records = spark.read.parquet(f"{backup}/topics").where(f.col("topic") == topic)
commits, records = commits.alias("c"), records.select("partition", "offset", "timestamp").alias("r")
unread = f.expr("r.partition = c.partition AND r.offset >= c.offset AND r.timestamp <= c.committed_at")
keys = ["c.committed_at", "c.partition", f.col("c.offset").alias("committed")]
lag = commits.join(records, unread, "left").groupBy(*keys)
lag.agg(f.count("r.offset").alias("lag")).orderBy("committed_at", "partition", "committed").show(1000, False)
