"""What a key looked like at a moment, as a restore to it brings it back: key_at.py BACKUP TOPIC KEY MOMENT

Prints the last record of the key in each partition, one JSON object a line. A null value is a tombstone.
"""

import json
import sys
from datetime import datetime, timezone

import pyarrow.compute as pc
import pyarrow.dataset as ds

backup, topic, key, moment = sys.argv[1:]
moment = datetime.fromisoformat(moment).astimezone(timezone.utc)
records = ds.dataset(f"{backup}/topics/topic={topic}", format="parquet")
wanted = (pc.field("key") == key.encode()) & (pc.field("timestamp") <= moment)
table = records.to_table(columns=["lineage", "partition", "offset", "timestamp", "value"], filter=wanted)
last = {}
for row in table.sort_by([("lineage", "ascending"), ("offset", "ascending")]).to_pylist():
    last[row["partition"]] = row
for partition, row in sorted(last.items()):
    value = None if row["value"] is None else row["value"].decode(errors="replace")
    timestamp = row["timestamp"].isoformat(timespec="milliseconds")
    print(json.dumps({"partition": partition, "offset": row["offset"], "timestamp": timestamp, "value": value}))
