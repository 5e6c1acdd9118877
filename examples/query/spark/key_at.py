"""What a key looked like at a moment: spark-submit key_at.py BACKUP TOPIC KEY MOMENT

A row with a null value is a tombstone; no row: it was not there. One row for each partition.
"""

import sys

from pyspark.sql import SparkSession, Window
from pyspark.sql import functions as f

backup, topic, key, moment = sys.argv[1:]
spark = SparkSession.builder.appName("key-at").config("spark.sql.session.timeZone", "UTC").getOrCreate()
spark.conf.set("spark.sql.sources.partitionColumnTypeInference.enabled", "false")
records = spark.read.parquet(f"{backup}/topics").where(f.col("topic") == topic)
of_key = f.col("key") == f.encode(f.lit(key), "UTF-8")
versions = records.where(of_key & (f.col("timestamp") <= f.lit(moment).cast("timestamp")))
newest = Window.partitionBy("partition").orderBy(f.desc("lineage"), f.desc("offset"))
last = versions.withColumn("place", f.row_number().over(newest)).where("place = 1")
last.select("partition", "offset", "timestamp", f.col("value").cast("string").alias("value")).show(1000, False)
