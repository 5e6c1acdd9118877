//! Whether the backup of a test is encrypted: what a scenario that is run for both differs in, and what a store shows.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::scenario::{noise, tree};
use crate::streamer::Job;

/// Whether a backup is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sealing {
    /// In the clear.
    Open,
    /// By a master key in a file.
    Key,
}

impl Sealing {
    /// The job with what it says of that. A master key lies in `dir`, the same for each job there.
    ///
    /// # Errors
    /// Where the key cannot be written.
    pub fn of(self, job: Job, dir: &Path) -> Result<Job> {
        if self == Self::Open {
            return Ok(job);
        }
        let key = dir.join("master-key");
        std::fs::write(&key, noise(1, 32))?;
        Ok(job.set("/backup/encryption", json!({"enabled": true, "keyFile": key})))
    }

    /// Insists that each object of the backup in `dir` is sealed, but those that are read before there is a key, and that its writers,
    /// however many they were, made one backup key. Of a backup in the clear nothing is asked.
    ///
    /// # Errors
    /// Naming what is not sealed, or the keys.
    pub fn check(self, dir: &Path) -> Result<()> {
        if self == Self::Open {
            return Ok(());
        }
        let objects: Vec<PathBuf> = tree(dir)?.into_keys().collect();
        for object in &objects {
            let is_open =
                object == Path::new("backup.json") || object.starts_with("keys") || object.starts_with("probe");
            let magic: &[u8] = if object.extension().is_some_and(|end| end == "parquet") { b"PARE" } else { b"SBE1" };
            let bytes = std::fs::read(dir.join(object)).with_context(|| object.display().to_string())?;
            // Who is killed before the first byte leaves an empty file.
            let is_sealed = bytes.is_empty() || bytes.starts_with(magic);
            ensure!(is_open || is_sealed, "{} is not sealed", object.display());
        }
        let keys: Vec<&PathBuf> = objects.iter().filter(|object| object.starts_with("keys")).collect();
        ensure!(keys.len() == 1, "one backup key, for all of them: {keys:?}");
        Ok(())
    }
}

/// Which of the texts a store shows, in a path or in an object, each with where.
///
/// # Errors
/// Where an object cannot be read.
pub fn shown<'a>(dir: &Path, texts: &[&'a str]) -> Result<Vec<(&'a str, PathBuf)>> {
    let mut found = Vec::new();
    for path in tree(dir)?.into_keys() {
        let bytes = std::fs::read(dir.join(&path)).with_context(|| path.display().to_string())?;
        for text in texts {
            let is_in = bytes.windows(text.len()).any(|part| part == text.as_bytes());
            if is_in || path.display().to_string().contains(text) {
                found.push((*text, path.clone()));
            }
        }
    }
    Ok(found)
}
