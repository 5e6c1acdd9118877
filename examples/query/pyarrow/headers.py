"""The records that carry a header with a value, one JSON object a line: headers.py BACKUP TOPIC HEADER VALUE"""

import json
import sys

import pyarrow.dataset as ds

backup, topic, header, value = sys.argv[1:]
records = ds.dataset(f"{backup}/topics/topic={topic}", format="parquet")
for batch in records.to_batches(columns=["partition", "offset", "headers"]):
    for row in batch.to_pylist():
        # Keys of headers may repeat: a dict of them would keep the last alone.
        headers = [(one["key"], one["value"]) for one in row["headers"]]
        if (header, value.encode()) in headers:
            keys = [key for key, _ in headers]
            print(json.dumps({"partition": row["partition"], "offset": row["offset"], "keys": keys}))
