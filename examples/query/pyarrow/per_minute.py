"""How many records and bytes of values a topic got in each minute: per_minute.py BACKUP TOPIC"""

import json
import sys

import pyarrow.compute as pc
import pyarrow.dataset as ds

backup, topic = sys.argv[1:]
records = ds.dataset(f"{backup}/topics/topic={topic}", format="parquet")
minute = pc.floor_temporal(pc.field("timestamp"), unit="minute")
table = records.to_table(columns={"minute": minute, "bytes": pc.binary_length(pc.field("value"))})
minutes = table.group_by("minute").aggregate([([], "count_all"), ("bytes", "sum")])
for row in minutes.sort_by("minute").to_pylist():
    minute = row["minute"].isoformat()
    print(json.dumps({"minute": minute, "records": row["count_all"], "bytes": row["bytes_sum"] or 0}))
