"""When a bad deployment began to write, and where to restore to: bad_deployment.py BACKUP TOPIC SINCE

restore_to is the last millisecond before it. What is bad is the example's: edit is_bad.
"""

import json
import sys
from datetime import datetime, timedelta, timezone

import pyarrow.compute as pc
import pyarrow.dataset as ds


def is_bad(row):
    if ("app-version", b"2.4.1") not in [(header["key"], header["value"]) for header in row["headers"]]:
        return False
    try:
        return float(json.loads(row["value"])["total"]["amount"]) == 0
    except (TypeError, ValueError, KeyError):
        return False


backup, topic, since = sys.argv[1:]
since = datetime.fromisoformat(since).astimezone(timezone.utc)
records = ds.dataset(f"{backup}/topics/topic={topic}", format="parquet")
batches = records.to_batches(columns=["timestamp", "value", "headers"], filter=pc.field("timestamp") >= since)
bad = [row["timestamp"] for batch in batches for row in batch.to_pylist() if is_bad(row)]
first = min(bad, default=None)
before = first and (first - timedelta(milliseconds=1)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
print(json.dumps({"first_bad": first and first.isoformat(), "bad_records": len(bad), "restore_to": before}))
