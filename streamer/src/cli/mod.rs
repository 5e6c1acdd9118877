//! The command line: arguments, and which function each command is.

mod manual;
mod process;
mod run;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use strimzi_backup_format::ids::{BackupId, GroupId, SnapshotId, TimestampMs, TopicName};
use strimzi_backup_format::job::{Job, Prices, parse_price};

pub use self::run::run;
use crate::error::Error;
use crate::report::Resource;
use crate::verify::Level;

/// Continuous backup of Kafka topics into object storage.
#[derive(Debug, Parser)]
#[command(
    name = "strimzi-backup",
    version,
    about = "Continuous backup of Kafka topics into object storage",
    after_help = manual::ALL
)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Stream topics into the store until SIGTERM.
    ///
    /// Goes on where the backup's log ends. On SIGTERM or Ctrl-C what was fetched is still committed; a second signal
    /// ends at once, and nothing is lost by that either: the next start fetches again what is not in the log.
    #[command(after_long_help = manual::STREAM)]
    Stream {
        /// The job document.
        #[command(flatten)]
        job: JobFile,
        /// End with 0 once every partition has reached the end offset it had at the start.
        #[arg(long)]
        until_caught_up: bool,
        /// Write what is protected into the status of this resource: kafkabackup/NAMESPACE/NAME. For pods: the API server
        /// and its token are found as in one.
        #[arg(long, value_name = "RESOURCE", value_parser = Resource::backup)]
        report_to: Option<Resource>,
    },
    /// Say on one screen what is protected, since when, until when, how far behind, and what is missing.
    ///
    /// Reads the store alone; the broker may be gone. Requests and their price are extrapolated from the newest manifests, over
    /// the time that is printed beside them.
    #[command(after_long_help = manual::INSPECT)]
    Inspect {
        /// The job document.
        #[command(flatten)]
        job: JobFile,
        /// How to print it.
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
        /// What the store charges.
        #[command(flatten)]
        prices: PriceList,
    },
    /// List the segments that hold a slice of topics and time.
    ///
    /// A slice is the records with FROM <= timestamp < TO. Segments are Parquet files: every engine reads them in place, but for those
    /// of an encrypted backup, which each take a key of their own.
    #[command(after_long_help = manual::SEGMENTS)]
    Segments {
        /// The job document.
        #[command(flatten)]
        job: JobFile,
        /// A topic; may be given again. All topics where absent.
        #[arg(long, value_name = "TOPIC")]
        topic: Vec<TopicName>,
        /// The first timestamp, RFC 3339 with zone, such as 2026-02-13T01:30:00.000Z.
        #[arg(long, value_name = "TIME", value_parser = TimestampMs::from_rfc3339)]
        from: Option<TimestampMs>,
        /// The first timestamp that is not part of the slice any more.
        #[arg(long, value_name = "TIME", value_parser = TimestampMs::from_rfc3339)]
        to: Option<TimestampMs>,
        /// Paths, JSON, or SQL for DuckDB that reads the slice.
        #[arg(long, value_enum, default_value_t = SegmentsOutput::Text)]
        output: SegmentsOutput,
        /// Of an encrypted backup, print with each file the key that opens it, and nothing else, and what pyarrow wants beside it.
        /// With --output json alone. Whoever has that output and the files reads them.
        #[arg(long)]
        with_keys: bool,
    },
    /// Write a copy of a slice of topics and time in the clear.
    ///
    /// Of an encrypted backup as of any other, for tools that read neither. JSON lines have keys, values and headers as text where they
    /// are UTF-8, and else as {"base64": "…"}. A file appears when it is whole, and replaces none.
    #[command(after_long_help = manual::EXPORT)]
    Export {
        /// The job document.
        #[command(flatten)]
        job: JobFile,
        /// A topic; may be given again.
        #[arg(long, value_name = "TOPIC", required = true)]
        topic: Vec<TopicName>,
        /// The first timestamp, RFC 3339 with zone, such as 2026-02-13T01:30:00.000Z.
        #[arg(long, value_name = "TIME", value_parser = TimestampMs::from_rfc3339)]
        from: Option<TimestampMs>,
        /// The first timestamp that is not part of the slice any more.
        #[arg(long, value_name = "TIME", value_parser = TimestampMs::from_rfc3339)]
        to: Option<TimestampMs>,
        /// In which form.
        #[arg(long, value_enum, default_value_t = ExportFormat::Jsonl)]
        format: ExportFormat,
        /// The file, which must not be there; - is standard output, and takes lines alone.
        #[arg(long, value_name = "FILE", default_value = "-")]
        output: PathBuf,
    },
    /// Wrap the keys of an encrypted backup by the current master key, too.
    ///
    /// After it, the current master key opens all of the backup, and earlier ones are not needed any longer. Rewrites nothing: it adds
    /// a document of some hundred bytes for each backup key that has none by it, also while a streamer runs.
    #[command(after_long_help = manual::REKEY)]
    Rekey {
        /// The job document; its backup.encryption names the new master key, and those from before.
        #[command(flatten)]
        job: JobFile,
        /// How to print what was done.
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Print the offsets that consumer groups had committed at a moment.
    ///
    /// A commit counts from the time at which the broker took it. Reads the store alone; the broker may be gone.
    #[command(after_long_help = manual::GROUPS)]
    Groups {
        /// The job document.
        #[command(flatten)]
        job: JobFile,
        /// A group; may be given again. All groups where absent.
        #[arg(long, value_name = "GROUP")]
        group: Vec<GroupId>,
        /// The moment, RFC 3339 with zone, such as 2026-02-13T01:30:00.000Z. The end of the backup where absent.
        #[arg(long, value_name = "TIME", value_parser = TimestampMs::from_rfc3339)]
        at: Option<TimestampMs>,
        /// How to print them.
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Give a name to a boundary that a restore can stop at.
    ///
    /// Waits for the streamer's next commit and writes where everything stood then: positions, topics with their
    /// configuration, sums. Needs the store alone; the broker may be gone, but a streamer must be running. The snapshot's
    /// boundary lies at or after the moment of asking, by the clocks of this machine and the streamer's.
    #[command(after_long_help = manual::SNAPSHOT)]
    Snapshot {
        /// The job document.
        #[command(flatten)]
        job: JobFile,
        /// The snapshot's name: 1 to 128 of [a-zA-Z0-9._-], given once. `backup-YYYYMMDD-HHMMSS`, in UTC, where absent.
        #[arg(long, value_name = "ID")]
        id: Option<SnapshotId>,
        /// Who asks, such as the UID of a Job: asked again by the same, the snapshot of this --id that is there already is printed,
        /// and is no fault.
        #[arg(long, value_name = "UUID", requires = "id")]
        request: Option<uuid::Uuid>,
        /// Keep it, and everything that is captured from it on, whatever retention says; until somebody deletes its document.
        #[arg(long)]
        keep_forever: bool,
        /// How long to wait for a commit; above backup.heartbeatInterval.
        #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, default_value = "2m")]
        timeout: Duration,
        /// How to print the snapshot.
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
        /// Also write a line of JSON with the sums of the snapshot there, for who reads no output: in a pod,
        /// /dev/termination-log.
        #[arg(long, value_name = "FILE")]
        summary_file: Option<PathBuf>,
    },
    /// Write records of a backup into a Kafka cluster, as they were at a moment or a snapshot.
    ///
    /// Plans first, and writes nothing where anything stands in the way: all of it is listed at once. Writes in transactions that
    /// carry how far it is: killed at any point and started again with the same document, it goes on exactly there. With
    /// consumerGroups.restore, groups go on at exactly the record that they would have read next. The plan and the report
    /// are kept under restores/ in the store.
    #[command(after_long_help = manual::RESTORE)]
    Restore {
        /// The restore document (YAML or JSON).
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Print the plan and write nothing, neither to Kafka nor to the store.
        #[arg(long)]
        plan_only: bool,
        /// Write how far it is into the status of this resource: kafkarestore/NAMESPACE/NAME. For pods: the API server and
        /// its token are found as in one.
        #[arg(long, value_name = "RESOURCE", value_parser = Resource::restore, conflicts_with = "plan_only")]
        report_to: Option<Resource>,
        /// How to print the plan or the report.
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// List the restores of a backup, and how they ended.
    #[command(after_long_help = manual::RESTORES)]
    Restores {
        /// The job document.
        #[command(flatten)]
        job: JobFile,
        /// How to print them.
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Delete what the backup does not hold any longer.
    ///
    /// The streamer retires what `retention` does not keep; this deletes the objects of what has been retired, or replaced, for
    /// longer than retention.gracePeriod, and uploads that no manifest names. Needs the store alone, and the right to delete
    /// there, which the streamer needs not. What cannot be read stops it before the first deletion.
    #[command(after_long_help = manual::PRUNE)]
    Prune {
        /// The job document.
        #[command(flatten)]
        job: JobFile,
        /// Say what would go, and delete nothing.
        #[arg(long)]
        dry_run: bool,
        /// How to print the report.
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
        /// Also write a line of JSON with the sums there, for who reads no output: in a pod, /dev/termination-log.
        #[arg(long, value_name = "FILE")]
        summary_file: Option<PathBuf>,
    },
    /// Delete a whole backup, for good.
    ///
    /// Deletes everything that streamers, snapshots and restores have written below the prefix, whatever retention, snapshots
    /// that are kept for ever or a damaged log say; only the store itself can hold something back. What is not of a
    /// backup's form is left alone. Waits whether a streamer still writes, for at most the time after which one counts as
    /// dead (75 s by default), and deletes nothing then, nor while a restore is under way. Killed at any point, the next run
    /// goes on.
    #[command(after_long_help = manual::DESTROY)]
    Destroy {
        /// The job document.
        #[command(flatten)]
        job: JobFile,
        /// The backup's UUID, as `inspect` and backup.json have it: where another one lies under the prefix, nothing is deleted.
        #[arg(long, value_name = "UUID")]
        backup: BackupId,
        /// The streamer is known to have ended: do not wait whether it writes.
        #[arg(long)]
        stopped: bool,
        /// How to print the report.
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Say what the segments prove, where the log of manifests is lost.
    ///
    /// Reads the footer of every segment: which backup it is of, and which offsets it accounts for. Marks what that does not
    /// prove. Changes nothing, and needs nothing but the segments, and of an encrypted backup its keys.
    #[command(after_long_help = manual::SALVAGE)]
    Salvage {
        /// The job document.
        #[command(flatten)]
        job: JobFile,
        /// How to print it.
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Prove that the backup is whole.
    ///
    /// Level 1 checks the chain of manifests, and that every segment is there with its size. Level 2 also reads every
    /// segment and compares its SHA-256. Level 3 also decodes every record and accounts for every offset. Ends with 0
    /// only if everything holds; each finding names object, topic, partition and offsets.
    #[command(after_long_help = manual::VERIFY)]
    Verify {
        /// The job document.
        #[command(flatten)]
        job: JobFile,
        /// How deep to look: 1, 2 or 3.
        #[arg(long, default_value = "1")]
        level: Level,
        /// How to print the report.
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
        /// Segments read at once.
        #[arg(long, value_name = "N", default_value = "4")]
        parallelism: NonZeroUsize,
        /// Also write a line of JSON with the sums and the first findings there, for who reads no output: in a pod,
        /// /dev/termination-log.
        #[arg(long, value_name = "FILE")]
        summary_file: Option<PathBuf>,
    },
}

/// Where the job document is.
#[derive(Debug, clap::Args)]
pub struct JobFile {
    /// The job document (YAML or JSON).
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// What a store charges, where that is not what the job document says.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct PriceList {
    /// Price of 1,000 PUT or LIST requests, instead of prices.put of the job document.
    #[arg(long, value_name = "PRICE", value_parser = price)]
    price_put: Option<f64>,
    /// Price of 1,000 GET or HEAD requests, instead of prices.get.
    #[arg(long, value_name = "PRICE", value_parser = price)]
    price_get: Option<f64>,
    /// Price of a GB stored over a month, instead of prices.storage.
    #[arg(long, value_name = "PRICE", value_parser = price)]
    price_storage: Option<f64>,
    /// Price of a GB read from the store, instead of prices.received.
    #[arg(long, value_name = "PRICE", value_parser = price)]
    price_received: Option<f64>,
}

impl PriceList {
    /// These prices, but for those that are given here.
    pub fn over(self, prices: Prices) -> Prices {
        Prices {
            put: self.price_put.unwrap_or(prices.put),
            get: self.price_get.unwrap_or(prices.get),
            storage: self.price_storage.unwrap_or(prices.storage),
            received: self.price_received.unwrap_or(prices.received),
        }
    }
}

fn price(text: &str) -> Result<f64, String> {
    parse_price(text).ok_or_else(|| format!("{text:?} is no price; give a number such as 0.005"))
}

/// How data is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// How segments are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SegmentsOutput {
    /// One path a line.
    Text,
    /// Objects with their runs.
    Json,
    /// SQL that reaches the store, without any key, and reads the slice.
    Duckdb,
}

/// How records are copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// One JSON object a line.
    Jsonl,
    /// One Parquet file with the columns of a segment.
    Parquet,
}

impl JobFile {
    fn read(&self) -> Result<Job, Error> {
        Ok(process::read_text("job document", &self.config)?.parse()?)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn help_reads_as_it_was_agreed() {
        let mut command = Arguments::command().term_width(100);
        command.build();
        let mut text = command.render_long_help().to_string();
        for name in [
            "stream", "inspect", "segments", "export", "groups", "snapshot", "restore", "restores", "prune", "destroy",
            "rekey", "salvage", "verify",
        ] {
            let subcommand = command.find_subcommand_mut(name).expect("a command of that name");
            text.push_str(&format!("\n--- {name} ---\n{}", subcommand.clone().term_width(100).render_long_help()));
        }
        insta::assert_snapshot!(text);
    }

    #[test]
    fn the_timeout_of_a_snapshot_is_the_documented_default() {
        let arguments = Arguments::try_parse_from(["strimzi-backup", "snapshot", "--config", "x"]).expect("usable");
        let Command::Snapshot { id: None, timeout, .. } = arguments.command else { panic!("{arguments:?}") };
        assert_eq!(timeout, crate::snapshot::TIMEOUT);
    }

    #[test]
    fn a_price_that_is_given_goes_before_that_of_the_job_document() {
        let given = ["strimzi-backup", "inspect", "--config", "x", "--price-get", "0.5", "--price-received", "0"];
        let arguments = Arguments::try_parse_from(given).expect("usable");
        let Command::Inspect { prices, .. } = arguments.command else { panic!("{arguments:?}") };
        let of_job = Prices { put: 1.0, get: 2.0, storage: 3.0, received: 4.0 };
        assert_eq!(prices.over(of_job), Prices { get: 0.5, received: 0.0, ..of_job });
        for wrong in ["cheap", "-1", "inf", "NaN"] {
            let wrong = format!("--price-put={wrong}");
            let error = Arguments::try_parse_from(["strimzi-backup", "inspect", "--config", "x", &wrong]);
            let text = error.expect_err("no price").to_string();
            assert!(text.contains("is no price") && text.contains("--price-put"), "{text}");
        }
    }

    #[test]
    fn usage_faults_name_what_is_wrong() {
        let error = Arguments::try_parse_from(["strimzi-backup", "segments", "--config", "x", "--from", "yesterday"]);
        let text = error.expect_err("no time").to_string();
        assert!(text.contains("yesterday") && text.contains("--from"), "{text}");
        let error = Arguments::try_parse_from(["strimzi-backup", "snapshot", "--config", "x", "--id", "a/b"]);
        let text = error.expect_err("no id").to_string();
        assert!(text.contains("illegal snapshot id \"a/b\"") && text.contains("--id"), "{text}");
        let error = Arguments::try_parse_from(["strimzi-backup", "verify", "--config", "x", "--level", "4"]);
        assert!(error.expect_err("no level").to_string().contains("1, 2 and 3"));
        let error = Arguments::try_parse_from(["strimzi-backup", "export", "--config", "x"]);
        assert!(error.expect_err("no topic").to_string().contains("--topic <TOPIC>"));
        let error = Arguments::try_parse_from(["strimzi-backup", "destroy", "--config", "x"]);
        assert!(error.expect_err("no backup").to_string().contains("--backup <UUID>"));
    }
}
