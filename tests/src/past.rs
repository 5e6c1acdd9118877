//! A backup that was made long ago: one that was made just now, with the instants of its log moved into the past.

use std::path::Path;

use anyhow::{Context, Result};
use strimzi_backup_format::checksum::Sha256;
use strimzi_backup_format::crypt::KeyRing;
use strimzi_backup_format::document;
use strimzi_backup_format::ids::{Sequence, Shard, TimestampMs};
use strimzi_backup_format::layout;
use strimzi_backup_format::manifest::Manifest;

use crate::backup::Backup;
use crate::streamer::Job;

/// Writes the log in `dir` anew with every instant so many milliseconds earlier. What is derived from it goes. Records keep
/// their timestamps.
///
/// # Errors
/// Where the log cannot be read or written.
pub fn move_back(dir: &Path, millis: i64) -> Result<()> {
    move_back_sealed(dir, millis, None)
}

/// The same of what `job` writes to a directory, encrypted or not.
///
/// # Errors
/// As [`move_back`], and where the backup cannot be opened.
pub fn move_back_of(job: &Job, millis: i64) -> Result<()> {
    let dir = job.backup_dir();
    let keys = Backup::of_job(&dir, job)?.keys();
    move_back_sealed(&dir, millis, keys.as_deref())
}

fn move_back_sealed(dir: &Path, millis: i64, keys: Option<&KeyRing>) -> Result<()> {
    let earlier = |instant: TimestampMs| instant.plus_millis(-millis);
    let mut previous = Sha256::of(&std::fs::read(dir.join(layout::identity().as_str()))?);
    for number in 1.. {
        let key = layout::manifest(Shard::ONLY, Sequence::new(number));
        let path = dir.join(key.as_str());
        if !path.exists() {
            break;
        }
        let stored = std::fs::read(&path)?;
        let plain = match keys {
            Some(keys) => keys.open_document(key.as_str(), &stored)?,
            None => stored.into(),
        };
        let mut manifest: Manifest = document::unpack(&plain).context("a manifest")?;
        manifest.previous = previous;
        manifest.observed_at = earlier(manifest.observed_at);
        manifest.frontier.until = manifest.frontier.until.map(earlier);
        for behind in &mut manifest.frontier.behind {
            behind.until = behind.until.map(earlier);
        }
        let bytes = document::pack(&manifest)?;
        previous = Sha256::of(&bytes);
        let stored = match keys {
            Some(keys) => keys.seal_document(key.as_str(), &bytes)?,
            None => bytes,
        };
        std::fs::write(&path, &stored)?;
    }
    for derived in [layout::checkpoints(Shard::ONLY), layout::buckets()] {
        let folder = dir.join(derived.as_str());
        if folder.exists() {
            std::fs::remove_dir_all(folder)?;
        }
    }
    Ok(())
}

/// Makes every file below `dir` so much older, but for the newest manifest, by which clocks are compared.
///
/// # Errors
/// Where a file cannot be changed.
pub fn grow_old(dir: &Path, by: std::time::Duration) -> Result<()> {
    let manifests = dir.join(layout::manifests(Shard::ONLY).as_str());
    let newest = std::fs::read_dir(&manifests)?.filter_map(|entry| Some(entry.ok()?.path())).max();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if Some(&path) != newest.as_ref() {
                let file = std::fs::File::options().write(true).open(&path)?;
                let modified = file.metadata()?.modified()?;
                file.set_modified(modified - by)?;
            }
        }
    }
    Ok(())
}
