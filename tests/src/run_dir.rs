//! The temporary directory of one server: its configuration, data and output.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Once;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::process;

/// Set to keep the directories of all runs for inspection.
pub const KEEP_VARIABLE: &str = "STRIMZI_BACKUP_KEEP_RUNS";

/// Followed by the id of the process that owns the directory.
const PREFIX: &str = "strimzi-backup-run-";

/// A directory that disappears with its owner, unless [`KEEP_VARIABLE`] is set.
#[derive(Debug)]
pub struct RunDir {
    dir: TempDir,
}

impl RunDir {
    /// Makes an empty directory whose name begins with `name`.
    pub fn new(name: &str) -> Result<RunDir> {
        static SWEPT: Once = Once::new();
        SWEPT.call_once(|| sweep(&std::env::temp_dir()));
        let keep = std::env::var_os(KEEP_VARIABLE).is_some();
        let prefix = if keep {
            format!("strimzi-backup-kept-{name}-")
        } else {
            format!("{PREFIX}{}-{name}-", std::process::id())
        };
        let mut dir = tempfile::Builder::new().prefix(&prefix).tempdir().context("make a directory for a run")?;
        dir.disable_cleanup(keep);
        Ok(RunDir { dir })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// Removes the directories of processes that were killed, or that held a server in a static, which is never dropped.
fn sweep(parent: &Path) {
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let abandoned = owner(&entry.file_name()).is_some_and(|id| !process::exists(id));
        if abandoned {
            // Another process may sweep at the same time; what is left is met by the next one.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

fn owner(name: &OsStr) -> Option<u32> {
    name.to_str()?.strip_prefix(PREFIX)?.split('-').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sweep_removes_only_what_no_process_owns() {
        let parent = tempfile::tempdir().expect("a directory");
        let mine = parent.path().join(format!("{PREFIX}{}-kafka-x", std::process::id()));
        // Above the highest process id that Linux gives out.
        let abandoned = parent.path().join(format!("{PREFIX}4194305-kafka-x"));
        let other = parent.path().join("strimzi-backup-kept-kafka-x");
        for dir in [&mine, &abandoned, &other] {
            std::fs::create_dir(dir).expect("a directory");
        }
        sweep(parent.path());
        assert!(mine.is_dir() && other.is_dir() && !abandoned.exists());
    }
}
