"""When a bad deployment began to write, and where to restore to: spark-submit bad_deployment.py BACKUP TOPIC SINCE

restore_to is the last millisecond before it. What is bad is the example's: edit the two lines that say so.
"""

import sys

from pyspark.sql import SparkSession
from pyspark.sql import functions as f

backup, topic, since = sys.argv[1:]
spark = SparkSession.builder.appName("bad-deployment").config("spark.sql.session.timeZone", "UTC").getOrCreate()
spark.conf.set("spark.sql.sources.partitionColumnTypeInference.enabled", "false")
records = spark.read.parquet(f"{backup}/topics").where(f.col("topic") == topic)
records = records.where(f.col("timestamp") >= f.lit(since).cast("timestamp"))
free = f.get_json_object(f.col("value").cast("string"), "$.total.amount").try_cast("decimal(12, 2)") == 0
by_it = f.exists("headers", lambda h: (h["key"] == "app-version") & (h["value"] == f.encode(f.lit("2.4.1"), "UTF-8")))
first, last = f.min("timestamp"), f.max("timestamp")
restore_to = f.date_format(first - f.expr("INTERVAL 1 MILLISECOND"), "yyyy-MM-dd'T'HH:mm:ss.SSS'Z'")
columns = [first.alias("first_bad"), last.alias("last_bad"), f.count("*").alias("bad_records"), restore_to.alias("restore_to")]
records.where(free & by_it).agg(*columns).show(1, False)
