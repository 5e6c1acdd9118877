"""The records of a topic with since <= timestamp < until, one JSON object a line: slice.py BACKUP TOPIC SINCE UNTIL

BACKUP is a folder or a URL of the storage prefix, such as s3://company-kafka-backup/production. Bytes are base64.
"""

import base64
import json
import sys
from datetime import datetime, timezone

import pyarrow.compute as pc
import pyarrow.dataset as ds

backup, topic, since, until = sys.argv[1:]
since, until = (datetime.fromisoformat(text).astimezone(timezone.utc) for text in (since, until))
records = ds.dataset(f"{backup}/topics/topic={topic}", format="parquet")
wanted = (pc.field("timestamp") >= since) & (pc.field("timestamp") < until)
columns = ["lineage", "partition", "offset", "timestamp", "key", "value"]
table = records.to_table(columns=columns, filter=wanted)
text = lambda data: None if data is None else base64.b64encode(data).decode()
for row in table.sort_by([(name, "ascending") for name in columns[:3]]).to_pylist():
    row["timestamp"] = row["timestamp"].isoformat(timespec="milliseconds")
    print(json.dumps(row | {"key": text(row["key"]), "value": text(row["value"])}))
