//! The program under test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow, ensure};

use crate::process::run;

/// Names the program to test instead of the one built here.
pub const VARIABLE: &str = "STRIMZI_BACKUP_BIN";

static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();

/// The `strimzi-backup` program: what [`VARIABLE`] names, else built once per test process with the profile of the
/// tests.
pub fn strimzi_backup() -> Result<PathBuf> {
    let found = BINARY.get_or_init(|| locate().map_err(|error| format!("{error:#}")));
    found.clone().map_err(|message| anyhow!("{message}; or name a built program in {VARIABLE}"))
}

fn locate() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(VARIABLE) {
        let path = PathBuf::from(path);
        ensure!(path.is_file(), "{VARIABLE} names {}, which is no file", path.display());
        return Ok(path);
    }
    // A test runs from <target>/<profile>/deps/, the program is built into <target>/<profile>/.
    let test = std::env::current_exe()?;
    let dir = test
        .ancestors()
        .find(|dir| dir.parent().is_some_and(|parent| parent.join("CACHEDIR.TAG").is_file()))
        .with_context(|| format!("{} is not in a target directory", test.display()))?;
    let binary = dir.join("strimzi-backup");
    build(dir)?;
    ensure!(binary.is_file(), "the build did not write {}", binary.display());
    Ok(binary)
}

fn build(dir: &Path) -> Result<()> {
    let profile = match dir.file_name().and_then(|name| name.to_str()).context("a profile's directory")? {
        "debug" => "dev",
        other => other,
    };
    let target = dir.parent().context("a target directory")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["build", "--quiet", "--package", "strimzi-backup-streamer", "--bin", "strimzi-backup"])
        .args(["--profile", profile])
        .arg("--target-dir")
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    run("cargo build of strimzi-backup", &mut command)?;
    Ok(())
}
