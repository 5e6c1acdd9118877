//! Steps that many scenarios share: one broker for a whole test binary, numbered records, and what is in a store.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::json;
use sha2::{Digest, Sha256};
use strimzi_backup_format::ids::TimestampMs;

use crate::backup::Backup;
use crate::client::{KafkaClient, Record};
use crate::kafka::KafkaBroker;
use crate::run_dir::RunDir;
use crate::sealing::Sealing;
use crate::streamer::{Job, PATIENCE};
use crate::wait;

/// The broker that the tests of one binary share. Nobody stops it; it ends with the process.
///
/// # Errors
/// Where it does not start.
pub fn shared_broker() -> Result<&'static KafkaBroker> {
    static BROKER: OnceLock<Result<KafkaBroker, String>> = OnceLock::new();
    let broker = BROKER.get_or_init(|| KafkaBroker::start().map_err(|error| format!("{error:#}")));
    broker.as_ref().map_err(|message| anyhow!("{message}"))
}

/// A job into a directory, over topics of the shared broker that nobody else uses.
#[derive(Debug)]
pub struct Scenario {
    /// For the test's own use.
    pub client: KafkaClient,
    /// Backs up the topics whose names begin with the scenario's.
    pub job: Job,
    dir: RunDir,
}

impl Scenario {
    /// A scenario on the shared broker; its topics' names begin with `name`.
    ///
    /// # Errors
    /// Where the broker does not start.
    pub fn shared(name: &str) -> Result<Self> {
        Self::on(shared_broker()?, name)
    }

    /// A scenario on a broker of its own.
    ///
    /// # Errors
    /// Where there is no room for its directory.
    pub fn on(broker: &KafkaBroker, name: &str) -> Result<Self> {
        let dir = RunDir::new(name)?;
        let job = Job::new(dir.path(), &broker.bootstrap()).set("/topics/include", json!([format!("{name}.*")]));
        Ok(Self { client: broker.client(), job, dir })
    }

    /// The same, whose backup is encrypted or not.
    ///
    /// # Errors
    /// Where its key cannot be written.
    pub fn sealed(mut self, sealing: Sealing) -> Result<Self> {
        self.job = sealing.of(self.job, self.dir.path())?;
        Ok(self)
    }

    /// A directory of its own.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What is in the store now.
    ///
    /// # Errors
    /// Where there is no backup.
    pub fn backup(&self) -> Result<Backup> {
        Backup::of_job(&self.job.backup_dir(), &self.job)
    }

    /// Waits until the backup satisfies a condition. There may be none yet.
    ///
    /// # Errors
    /// Where it never does.
    pub fn wait_backup(&self, what: &str, condition: impl Fn(&Backup) -> Result<bool>) -> Result<()> {
        wait_backup_of(&self.job, &self.job.backup_dir(), what, condition)
    }

    /// Waits until a life of a topic has as many records in the backup.
    ///
    /// # Errors
    /// Where it never has.
    pub fn wait_rows(&self, topic: &str, lineage: i32, rows: u64) -> Result<()> {
        let what = format!("{rows} records of {topic} in life {lineage}");
        self.wait_backup(&what, |backup| Ok(backup.rows(topic, lineage) >= rows))
    }
}

/// Waits until the backup in `dir` satisfies a condition. There may be none yet.
///
/// # Errors
/// Where it never does.
pub fn wait_backup(dir: &Path, what: &str, condition: impl Fn(&Backup) -> Result<bool>) -> Result<()> {
    wait_opened(what, || Backup::open(dir), condition)
}

/// The same where it is what `job` wrote there, encrypted or not.
///
/// # Errors
/// Where it never does.
pub fn wait_backup_of(job: &Job, dir: &Path, what: &str, condition: impl Fn(&Backup) -> Result<bool>) -> Result<()> {
    wait_opened(what, || Backup::of_job(dir, job), condition)
}

fn wait_opened(
    what: &str,
    open: impl Fn() -> Result<Backup>,
    condition: impl Fn(&Backup) -> Result<bool>,
) -> Result<()> {
    wait::wait_until(what, PATIENCE, || match open() {
        Ok(backup) => condition(&backup),
        Err(_) => Ok(false),
    })
}

/// Streams with `job` into `dir` until nothing lies in intake any more, and a checkpoint says so. Takes 64 KiB that are not refined.
///
/// # Errors
/// Where it never comes to that.
pub fn refine(job: &Job, dir: &Path) -> Result<()> {
    // All of it comes to intake first: what is cut after the first refining may be too little for another, and waits for its hour to end.
    job.catch_up()?;
    let job = job.clone().set("/backup/refineBytes", json!("64Ki"));
    let mut streamer = job.stream(&[])?;
    streamer.ready()?;
    streamer.wait_metric("strimzi_backup_refined_segments_total", |count| count > 0.0)?;
    wait_backup_of(&job, dir, "everything to be refined", |backup| {
        Ok(backup.objects()?.iter().all(|object| !object.starts_with("intake/")))
    })?;
    streamer.stop()?;
    // What was refined is in a checkpoint soon after the next start.
    let streamer = job.stream(&[])?;
    wait_backup_of(&job, dir, "a checkpoint after refining", |backup| {
        let through = backup.log.state.refined.context("refined")?.through;
        Ok(backup.log.blocks.last().is_some_and(|block| block.to > through))
    })?;
    streamer.stop()
}

/// Records that tell their number, for partition 0.
pub fn numbered(range: std::ops::Range<usize>) -> Vec<Record> {
    range.map(|number| Record::new(format!("key-{number}"), format!("value {number}")).partition(0)).collect()
}

/// Records of 100 kB for partition 0 that do not compress.
pub fn bulky(range: std::ops::Range<u64>) -> Vec<Record> {
    range.map(|number| Record::new(format!("{number}"), noise(number + 1, 100_000)).partition(0)).collect()
}

/// Incompressible bytes, the same for the same seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    // Neighbouring seeds begin far apart, and none at zero, where this generator would stay.
    let mut state = seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15).max(1);
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// The present in milliseconds, by the clock that the broker shares.
///
/// # Errors
/// Where the clock is of no such time.
pub fn now() -> Result<i64> {
    Ok(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?)
}

/// An instant after everything so far and before everything that follows, by that clock.
///
/// # Errors
/// Where the clock stands.
pub fn moment() -> Result<String> {
    let at = now()?;
    wait::wait_until("the next millisecond", Duration::from_secs(1), || Ok(now()? > at))?;
    Ok(TimestampMs::new(at).to_rfc3339())
}

/// Every file below a directory with the digest of its content: equal trees hold equal files.
///
/// # Errors
/// Where it cannot be read.
pub fn tree(dir: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut files = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(next) = open.pop() {
        if !next.exists() {
            continue;
        }
        for entry in std::fs::read_dir(&next).with_context(|| format!("list {}", next.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else {
                let digest = Sha256::digest(std::fs::read(&path)?).to_vec();
                files.insert(path.strip_prefix(dir)?.to_owned(), digest);
            }
        }
    }
    Ok(files)
}

/// Changes one bit in the middle of a file.
///
/// # Errors
/// Where it cannot be read or written, or is empty.
pub fn flip(path: &Path) -> Result<()> {
    let mut bytes = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
    let middle = bytes.len() / 2;
    *bytes.get_mut(middle).context("an empty file")? ^= 1;
    Ok(std::fs::write(path, bytes)?)
}

/// Copies a directory with everything below it; what `to` held before is gone.
///
/// # Errors
/// Where a file cannot be copied.
pub fn copy_dir(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        std::fs::remove_dir_all(to)?;
    }
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_dir(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Insists that no output of a command shows one of these secrets.
///
/// # Errors
/// Naming the secret's place in the list, not the secret.
pub fn shows_none_of(output: &str, secrets: &[&str]) -> Result<()> {
    let shown = secrets.iter().position(|secret| output.contains(secret));
    ensure!(shown.is_none(), "secret {shown:?} is in the output");
    Ok(())
}
