//! How long a start takes to read the log, with 10², 10⁴ and 10⁵ manifests of history in a directory store.

use std::time::Instant;

use anyhow::{Context as _, Result};
use strimzi_backup_benchmarks::table;
use strimzi_backup_benchmarks::writer::VirtualWriter;
use strimzi_backup_format::ids::{Shard, TimestampMs};
use strimzi_backup_format::job::{Filesystem, Location, Storage};
use strimzi_backup_format::manifest::reader;
use strimzi_backup_format::store;
use strimzi_backup_tests::run_dir::RunDir;

#[tokio::main]
async fn main() -> Result<()> {
    table::head(&["manifests", "seconds to read the log", "manifests read"]);
    for manifests in [100, 10_000, 100_000] {
        let dir = RunDir::new("resume")?;
        let path = dir.path().join("backup");
        let location = Location::Filesystem(Filesystem { path: path.clone() });
        let opened = store::open_to_write(&Storage { location, anchor: None, encryption: None })?;
        // Written without fsync: here only the reading is timed.
        let local = object_store::local::LocalFileSystem::new_with_prefix(&path)?;
        let quick = opened.with_inner(std::sync::Arc::new(local));
        write(quick, manifests).await?;
        let mut seconds = Vec::new();
        let mut read = 0;
        for _ in 0..7 {
            let started = Instant::now();
            let log = reader::open_to_write(&opened, Shard::ONLY).await?.context("a log")?;
            seconds.push(started.elapsed().as_secs_f64());
            read = log.tail.len();
        }
        table::row(&[manifests.to_string(), format!("{:.4}", table::median(seconds)), read.to_string()]);
    }
    Ok(())
}

async fn write(store: store::Store, manifests: usize) -> Result<()> {
    let now = TimestampMs::new(1_770_966_000_000);
    let mut writer = VirtualWriter::claim(&store, "resume", now).await?;
    for manifest in 1..manifests {
        writer.add(Vec::new(), now.plus_millis(i64::try_from(manifest)? * 5000)).await?;
    }
    Ok(())
}
