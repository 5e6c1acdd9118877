"""The records of an encrypted backup, one JSON object a line: read.py BACKUP ENTRIES

BACKUP is a folder or a URL of the storage prefix, such as s3://company-kafka-backup/production. ENTRIES is a file with what
`strimzi-backup segments --output json --with-keys` has printed: a secret, as it opens what it names. Bytes are base64.
"""

import base64
import json
import sys

import pyarrow.fs as fs
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe

backup, entries = sys.argv[1:]
store, folder = fs.FileSystem.from_uri(backup) if "://" in backup else (fs.LocalFileSystem(), backup)
text = lambda data: None if data is None else base64.b64encode(data).decode()
with open(entries) as file:
    entries = json.load(file)
for entry in entries:
    key, place = (base64.b64decode(entry[name]) for name in ("dataKey", "aadPrefix"))
    properties = pe.create_decryption_properties(footer_key=key, aad_prefix=place)
    with store.open_input_file(f"{folder}/{entry['object']}") as file:
        table = pq.ParquetFile(file, decryption_properties=properties).read()
    # A file may hold other records, too: those of these runs count.
    runs = entry["runs"]
    for row in table.to_pylist():
        place = (row["topic"], row["lineage"], row["partition"])
        if any(
            place == (run["topic"], run["lineage"], run["partition"]) and run["baseOffset"] <= row["offset"] < run["nextOffset"]
            for run in runs
        ):
            row["timestamp"] = row["timestamp"].isoformat(timespec="milliseconds")
            columns = ("topic", "lineage", "partition", "offset", "timestamp")
            print(json.dumps({name: row[name] for name in columns} | {name: text(row[name]) for name in ("key", "value")}))
