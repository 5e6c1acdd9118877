//! How long a start takes to read the log, with 10², 10⁴ and 10⁵ manifests of history in a directory store.

use std::time::Instant;

use anyhow::{Context as _, Result};
use strimzi_backup_benchmarks::table;
use strimzi_backup_format::identity::Identity;
use strimzi_backup_format::ids::{BackupId, ClusterId, Nonce, Shard, TimestampMs};
use strimzi_backup_format::job::{Filesystem, Location, Storage};
use strimzi_backup_format::manifest::log::{self, Draft, LogWriter};
use strimzi_backup_format::manifest::{Claim, Frontier, reader};
use strimzi_backup_format::store;
use strimzi_backup_tests::run_dir::RunDir;

#[tokio::main]
async fn main() -> Result<()> {
    table::head(&["manifests", "seconds to read the log", "manifests read"]);
    for manifests in [100, 10_000, 100_000] {
        let dir = RunDir::new("resume")?;
        let path = dir.path().join("backup");
        let location = Location::Filesystem(Filesystem { path: path.clone() });
        let opened = store::open_to_write(&Storage { location, anchor: None })?;
        // Written without fsync: here only the reading is timed.
        let local = object_store::local::LocalFileSystem::new_with_prefix(&path)?;
        let quick = opened.with_inner(std::sync::Arc::new(local));
        write(quick, manifests).await?;
        let mut seconds = Vec::new();
        let mut read = 0;
        for _ in 0..7 {
            let started = Instant::now();
            let log = reader::open(&opened, Shard::ONLY).await?.context("a log")?;
            seconds.push(started.elapsed().as_secs_f64());
            read = log.tail.len();
        }
        table::row(&[manifests.to_string(), format!("{:.4}", table::median(seconds)), read.to_string()]);
    }
    Ok(())
}

async fn write(store: store::Store, manifests: usize) -> Result<()> {
    let mut number = 0_u128;
    let mut uuid = || {
        number += 1;
        uuid::Uuid::from_u128(number)
    };
    let now = TimestampMs::new(1_770_966_000_000);
    let identity = Identity::new(BackupId::new(uuid()), "resume", ClusterId::new("cluster"), now);
    log::create_identity(&store, &identity).await?;
    let empty = reader::open(&store, Shard::ONLY).await?.context("a log")?;
    let mut writer = LogWriter::new(store, Shard::ONLY, empty);
    let claim = Claim { writer: "bench".to_owned(), software: "0".to_owned() };
    let prepared = writer.prepare_claim(claim, Nonce::new(uuid()), now)?;
    writer.commit(&prepared).await?;
    for manifest in 1..manifests {
        let at = now.plus_millis(i64::try_from(manifest)? * 5000);
        let draft = Draft { frontier: Frontier { until: Some(at), ..Frontier::default() }, ..Draft::default() };
        let prepared = writer.prepare(draft, Nonce::new(uuid()), at)?;
        writer.commit(&prepared).await?;
        if writer.checkpoint_is_due() {
            writer.checkpoint().await?;
        }
    }
    Ok(())
}
