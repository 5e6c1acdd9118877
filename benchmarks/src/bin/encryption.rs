//! What encryption costs: streaming a backlog of 1 KiB records, and restoring it, in the clear and encrypted by turns.
//!
//! `encryption [pairs]`. Which of a pair comes first alternates, so that a machine that slows down favours neither.

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use strimzi_backup_benchmarks::backup::{Backlog, Backup};
use strimzi_backup_benchmarks::measure::{Cost, bytes_below, mib};
use strimzi_backup_benchmarks::table;
use strimzi_backup_tests::kafka::{BrokerOptions, KafkaBroker};
use strimzi_backup_tests::sealing::Sealing;

const RECORDS: usize = 2_000_000;
const VALUE_BYTES: usize = 1024;

/// Of fewer, nobody can tell cost from noise.
const LEAST_PAIRS: usize = 3;

/// The same work, done in the clear and encrypted right after each other.
struct Pair {
    open: Cost,
    sealed: Cost,
}

impl Pair {
    /// By how much more CPU time the one that is encrypted took, in percent.
    fn more(&self) -> f64 {
        (self.sealed.cpu.as_secs_f64() / self.open.cpu.as_secs_f64() - 1.0) * 100.0
    }
}

fn main() -> Result<()> {
    let pairs: usize = std::env::args().nth(1).map_or(Ok(5), |pairs| pairs.parse())?;
    ensure!(pairs >= LEAST_PAIRS, "{pairs} pairs are too few: {LEAST_PAIRS} at least");
    // The harness's own broker is compiled for short lives.
    let jvm = vec!["-XX:TieredStopAtLevel=4".to_owned()];
    let broker = KafkaBroker::start_with(&BrokerOptions { jvm, ..BrokerOptions::default() })?;
    let backlog = Backlog::produce(&broker, "size-1k", VALUE_BYTES, RECORDS)?;
    let (mut open, mut sealed) = (None, None);
    let streamed = in_pairs(pairs, |is_sealed, _| {
        let backup = empty(&broker, backlog, is_sealed)?;
        let cost = backup.stream()?;
        let has_keys = backup.job.backup_dir().join("keys").exists();
        ensure!(has_keys == is_sealed, "the backup is not what was to be measured");
        let last = if is_sealed { &mut sealed } else { &mut open };
        *last = Some(backup);
        Ok(cost)
    })?;
    broker.client().delete_topic(backlog.topic)?;
    let (open, sealed) = open.zip(sealed).context("a backup of each kind")?;
    let restored = in_pairs(pairs, |is_sealed, number| {
        let backup = if is_sealed { &sealed } else { &open };
        backup.restore(&broker, &format!("round-{number}-{is_sealed}"))
    })?;
    table::head(&[
        "1 KiB, zstd-1, directory",
        "CPU s per GiB",
        "encrypted",
        "more CPU",
        "from – to",
        "wanted",
        "MB/s wall",
        "encrypted",
        "peak MiB",
        "encrypted",
    ]);
    print("streaming", &streamed, backlog.bytes, "≤ 10 %");
    print("restoring", &restored, backlog.bytes, "≤ 15 %");
    let [open, sealed] = [open, sealed].map(|backup| bytes_below(&backup.job.backup_dir()));
    println!(
        "\n{pairs} pairs; {:.0} MiB raw, {:.1} stored, {:.1} encrypted",
        mib(backlog.bytes),
        mib(open?),
        mib(sealed?)
    );
    Ok(())
}

/// A backup that nothing is in yet, as `throughput` makes it.
fn empty(broker: &KafkaBroker, backlog: Backlog, is_sealed: bool) -> Result<Backup> {
    let mut backup = Backup::new(broker, backlog)?;
    let settings = json!({"compression": "zstd", "compressionLevel": 1, "memoryBudget": "256Mi"});
    // By a key in a file: who has it is asked when a process starts, and never again.
    let sealing = if is_sealed { Sealing::Key } else { Sealing::Open };
    backup.job = sealing.of(backup.job.set("/backup", settings), backup.dir.path())?;
    Ok(backup)
}

/// Runs both of each pair, whether encrypted or not and the number of the pair being given.
fn in_pairs(pairs: usize, mut run: impl FnMut(bool, usize) -> Result<Cost>) -> Result<Vec<Pair>> {
    let pair = |number: usize| -> Result<Pair> {
        if number % 2 == 1 {
            let sealed = run(true, number)?;
            return Ok(Pair { open: run(false, number)?, sealed });
        }
        let open = run(false, number)?;
        Ok(Pair { open, sealed: run(true, number)? })
    };
    (0..pairs).map(pair).collect()
}

fn print(what: &str, pairs: &[Pair], bytes: u64, wanted: &str) {
    let middle = |of: &dyn Fn(&Pair) -> f64| table::median(pairs.iter().map(of).collect());
    let (least, most) = table::spread(&pairs.iter().map(Pair::more).collect::<Vec<_>>());
    table::row(&[
        what.to_owned(),
        format!("{:.2}", middle(&|pair| pair.open.cpu_seconds_per_gib(bytes))),
        format!("{:.2}", middle(&|pair| pair.sealed.cpu_seconds_per_gib(bytes))),
        format!("{:+.1} %", middle(&Pair::more)),
        format!("{least:+.1} – {most:+.1} %"),
        wanted.to_owned(),
        format!("{:.0}", middle(&|pair| pair.open.mb_per_second(bytes))),
        format!("{:.0}", middle(&|pair| pair.sealed.mb_per_second(bytes))),
        format!("{:.0}", middle(&|pair| mib(pair.open.peak_bytes))),
        format!("{:.0}", middle(&|pair| mib(pair.sealed.peak_bytes))),
    ]);
}
