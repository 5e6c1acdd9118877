"""How many records a topic got in each minute: spark-submit per_minute.py BACKUP TOPIC SINCE UNTIL"""

import sys

from pyspark.sql import SparkSession
from pyspark.sql import functions as f

backup, topic, since, until = sys.argv[1:]
spark = SparkSession.builder.appName("per-minute").config("spark.sql.session.timeZone", "UTC").getOrCreate()
# Names of folders stay text: a topic may be called 123.
spark.conf.set("spark.sql.sources.partitionColumnTypeInference.enabled", "false")
records = spark.read.parquet(f"{backup}/topics").where(f.col("topic") == topic)
wanted = (f.col("timestamp") >= f.lit(since).cast("timestamp")) & (f.col("timestamp") < f.lit(until).cast("timestamp"))
minutes = records.where(wanted).groupBy(f.date_trunc("minute", "timestamp").alias("minute"))
minutes.agg(f.count("*").alias("records"), f.sum(f.length("value")).alias("bytes")).orderBy("minute").show(1000, False)
