//! What `--help` says after the options: examples, each of which a test runs, and exit codes.

/// Of the program as a whole.
pub(super) const ALL: &str = "\
Exit codes:
  0  done
  1  failed; trying again may help
  2  bad configuration or usage: all faults are listed, nothing was touched;
     or no master key that opens an encrypted backup, or one for a backup in the clear: the same;
     or a store that ignores create-once, where no more than the probe's object stays
  3  fenced: another writer has taken this backup over, or another start this restore
  4  the backup is damaged, belongs to another job or cluster, or was written by a newer release

Environment:
  RUST_LOG   what is logged to standard error, such as info or strimzi_backup_streamer=debug
  AWS_*, AZURE_*, GOOGLE_*   credentials of stores, where the job document names no files";

/// Of `stream`.
pub(super) const STREAM: &str = "\
Examples:
  Until SIGTERM; whatever started it starts it again when it ended with 1:
    strimzi-backup stream --config job.yaml
  Once, from a timer, up to what Kafka holds now:
    strimzi-backup stream --config job.yaml --until-caught-up

Exit codes:
  0  stopped by a signal, or caught up: everything fetched is in the backup
  1  failed, or stopped before the store took the last records: start again, nothing is lost
  2  bad configuration or usage: all faults are listed, nothing was touched;
     or no master key that opens an encrypted backup, or one for a backup in the clear: the same;
     or a store that ignores create-once, where no more than the probe's object stays
  3  fenced: another writer has taken this backup over
  4  the backup is damaged, belongs to another job or cluster, or was written by a newer release";

/// Of `inspect`.
pub(super) const INSPECT: &str = "\
Examples:
  One screen:
    strimzi-backup inspect --config job.yaml
  With the prices of another store, for a program:
    strimzi-backup inspect --config job.yaml --output json \\
      --price-put 0.0065 --price-get 0.0005 --price-storage 0.018

Exit codes:
  0  done, however the backup stands
  1  the store or who has the master key did not answer, or there is no backup yet
  2  bad configuration or usage: all faults are listed; or no master key that opens the backup
  4  the backup's log, or what lies below keys/, is damaged, or was written by a newer release";

/// Of `segments`.
pub(super) const SEGMENTS: &str = "\
Examples:
  The files that hold an hour of a topic:
    strimzi-backup segments --config job.yaml --topic orders \\
      --from 2026-02-13T07:00:00Z --to 2026-02-13T08:00:00Z
  The same as SQL, which DuckDB runs:
    strimzi-backup segments --config job.yaml --topic orders \\
      --from 2026-02-13T07:00:00Z --to 2026-02-13T08:00:00Z --output duckdb > orders.sql

Exit codes:
  0  done, also where nothing is in the slice
  1  the store or who has the master key did not answer, or there is no backup yet
  2  bad configuration or usage: all faults are listed; also a topic that the backup does not have,
     a form that is none for it, or no master key that opens it
  4  the backup's log, or what lies below keys/, is damaged, or was written by a newer release";

/// Of `export`.
pub(super) const EXPORT: &str = "\
Examples:
  An hour of a topic, one record a line:
    strimzi-backup export --config job.yaml --topic orders \\
      --from 2026-02-13T07:00:00Z --to 2026-02-13T08:00:00Z > orders.jsonl
  All of it, for a query engine that opens no encrypted file:
    strimzi-backup export --config job.yaml --topic orders \\
      --format parquet --output orders.parquet

Exit codes:
  0  done, also where nothing is in the slice
  1  the store or who has the master key did not answer, the copy cannot be written,
     or there is no backup yet
  2  bad configuration or usage: all faults are listed; also a topic that the backup does not have,
     a file that is there already, or no master key that opens the backup
  4  the backup is damaged where it is needed, or was written by a newer release:
     no file appears, and lines end before that";

/// Of `rekey`.
pub(super) const REKEY: &str = "\
Examples:
  After the master key was changed and the streamer started with it, before the old one goes:
    strimzi-backup rekey --config job.yaml
  For a program:
    strimzi-backup rekey --config job.yaml --output json

Exit codes:
  0  done, also where nothing was left to do
  1  the store or who has the master key did not answer or refuses, or there is no backup yet
  2  bad configuration or usage: all faults are listed; also no master key that opens a key of the
     backup: it is named, and nothing was written; or a backup in the clear
  4  of a backup key all that lies below keys/ is damaged, two wraps open to different keys, or one
     was written by a newer release: nothing was written";

/// Of `groups`.
pub(super) const GROUPS: &str = "\
Examples:
  Where every group stood when the backup ended:
    strimzi-backup groups --config job.yaml
  Where one stood at a moment, for a program:
    strimzi-backup groups --config job.yaml --group order-processor \\
      --at 2026-02-13T07:30:00Z --output json

Exit codes:
  0  done, also where no group had committed anything
  1  that moment is not covered, the store or who has the master key did not answer,
     or there is no backup yet
  2  bad configuration or usage: all faults are listed; or no master key that opens the backup
  4  the backup is damaged, or was written by a newer release";

/// Of `snapshot`.
pub(super) const SNAPSHOT: &str = "\
Examples:
  From a timer, named after the moment:
    strimzi-backup snapshot --config job.yaml
  Before an upgrade, with the document kept:
    strimzi-backup snapshot --config job.yaml --id before-upgrade \\
      --output json > before-upgrade.json

Exit codes:
  0  done: the snapshot is in the store
  1  no commit came in time, the store or who has the master key did not answer,
     or there is no backup yet
  2  bad configuration or usage: all faults are listed; also an id that is taken,
     or no master key that opens the backup
  4  the backup is damaged, belongs to another job, or was written by a newer release";

/// Of `restore`.
pub(super) const RESTORE: &str = "\
Examples:
  What would be read and written, and what stands in the way:
    strimzi-backup restore --config restore.yaml --plan-only
  The restore; started again after any failure, it goes on where it was:
    strimzi-backup restore --config restore.yaml

Exit codes:
  0  done: everything that the document asks for is at the target
  1  failed or stopped; what was committed stays, and the same document goes on there
  2  bad configuration or usage, or something stands in the way: all of it is listed;
     or no master key that opens the backup: this start wrote nothing
  3  fenced: the same restore was started elsewhere
  4  the backup is damaged where it is needed, or was written by a newer release;
     what was committed before stays";

/// Of `restores`.
pub(super) const RESTORES: &str = "\
Examples:
  One line each:
    strimzi-backup restores --config job.yaml
  For a program:
    strimzi-backup restores --config job.yaml --output json

Exit codes:
  0  done, also where no restore was begun
  1  the store or who has the master key did not answer, or there is no backup yet
  2  bad configuration or usage: all faults are listed; or no master key that opens the backup
  4  what a restore kept is damaged, or was written by a newer release:
     its row says so, the others are listed";

/// Of `prune`.
pub(super) const PRUNE: &str = "\
Examples:
  What would go:
    strimzi-backup prune --config job.yaml --dry-run
  From a timer, with credentials that may delete:
    strimzi-backup prune --config job.yaml

Exit codes:
  0  done; what the store protects (Object Lock, legal holds) is left for the next time
  1  the store did not answer or refuses to delete, who has the master key did not answer,
     the clock is wrong, or there is no backup yet
  2  bad configuration or usage: all faults are listed; or no master key that opens the backup
  4  the backup is damaged, belongs to another job, or was written by a newer release:
     nothing was deleted";

/// Of `destroy`.
pub(super) const DESTROY: &str = "\
Examples:
  Which backup it is, and then the end of it, with credentials that may delete:
    strimzi-backup inspect --config job.yaml
    strimzi-backup destroy --config job.yaml --backup 0d0c4b0e-7c43-4be0-8fd5-1ba7e0b4b6a5

Exit codes:
  0  done: the backup is gone; also where there is no backup.json
  1  the store did not answer, or refuses to delete (Object Lock, legal holds, missing rights):
     the objects are named and backup.json is left;
     or a streamer lives, or a restore is under way: nothing was deleted
  2  bad configuration or usage: all faults are listed; no master key is needed
  4  another backup lies under the prefix, or backup.json is damaged or was written by a newer
     release: nothing was deleted";

/// Of `salvage`.
pub(super) const SALVAGE: &str = "\
Examples:
  What is there, and what cannot be said of it:
    strimzi-backup salvage --config job.yaml
  For a program:
    strimzi-backup salvage --config job.yaml --output json

Exit codes:
  0  done
  1  the store or who has the master key did not answer, or there is no segment
  2  bad configuration or usage: all faults are listed; or no master key that opens the backup
  4  of an encrypted backup, what lies below keys/ is damaged, gone, or of a newer release";

/// Of `verify`.
pub(super) const VERIFY: &str = "\
Examples:
  Quickly, from a timer:
    strimzi-backup verify --config job.yaml
  Every byte and every record, with the report kept:
    strimzi-backup verify --config job.yaml --level 3 --output json > report.json

Exit codes:
  0  everything holds; also where the current master key does not open a backup key, which is told
     (`attention`, see rekey)
  1  the store did not answer for everything, or who has the master key did not, or there is
     no backup yet; nothing damaged was found
  2  bad configuration or usage: all faults are listed; or no master key that opens the backup
  4  the backup is damaged, does not hold storage.anchor, or was written by a newer release";
