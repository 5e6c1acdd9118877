//! The programs under test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow, ensure};

use crate::process::run;

/// Names the program to test instead of the one built here.
pub const VARIABLE: &str = "STRIMZI_BACKUP_BIN";

/// The same for the operator.
pub const OPERATOR_VARIABLE: &str = "STRIMZI_BACKUP_OPERATOR_BIN";

type Found = OnceLock<Result<PathBuf, String>>;

/// The `strimzi-backup` program: what [`VARIABLE`] names, else built once per test process with the profile of the
/// tests.
pub fn strimzi_backup() -> Result<PathBuf> {
    static FOUND: Found = OnceLock::new();
    find(&FOUND, VARIABLE, "strimzi-backup-streamer", "strimzi-backup")
}

/// The `strimzi-backup-operator` program: what [`OPERATOR_VARIABLE`] names, else built likewise.
pub fn strimzi_backup_operator() -> Result<PathBuf> {
    static FOUND: Found = OnceLock::new();
    find(&FOUND, OPERATOR_VARIABLE, "strimzi-backup-operator", "strimzi-backup-operator")
}

fn find(found: &Found, variable: &str, package: &str, name: &str) -> Result<PathBuf> {
    let found = found.get_or_init(|| locate(variable, package, name).map_err(|error| format!("{error:#}")));
    found.clone().map_err(|message| anyhow!("{message}; or name a built program in {variable}"))
}

fn locate(variable: &str, package: &str, name: &str) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(variable) {
        let path = PathBuf::from(path);
        ensure!(path.is_file(), "{variable} names {}, which is no file", path.display());
        return Ok(path);
    }
    // A test runs from <target>/<profile>/deps/, the program is built into <target>/<profile>/.
    let test = std::env::current_exe()?;
    let dir = test
        .ancestors()
        .find(|dir| dir.parent().is_some_and(|parent| parent.join("CACHEDIR.TAG").is_file()))
        .with_context(|| format!("{} is not in a target directory", test.display()))?;
    let binary = dir.join(name);
    build(dir, package, name)?;
    ensure!(binary.is_file(), "the build did not write {}", binary.display());
    Ok(binary)
}

fn build(dir: &Path, package: &str, name: &str) -> Result<()> {
    let profile = match dir.file_name().and_then(|name| name.to_str()).context("a profile's directory")? {
        "debug" => "dev",
        other => other,
    };
    let target = dir.parent().context("a target directory")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["build", "--quiet", "--package", package, "--bin", name])
        .args(["--profile", profile])
        .arg("--target-dir")
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    run(&format!("cargo build of {name}"), &mut command)?;
    Ok(())
}
