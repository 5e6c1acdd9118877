//! Finds the servers that `tests/parts/install.sh` installed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail, ensure};

static DIR: OnceLock<PathBuf> = OnceLock::new();

/// The parts that lie in a directory of their own each.
const APART: &[&str] = &["kubernetes", "node", "helm", "promtool", "vault", "trino", "spark"];

/// The directory of an installed part: `kafka`, `versitygw`, `python`, `azurite`, `toxiproxy`, `kubernetes`, `node`, `helm`,
/// `promtool`, `vault`, `trino` or `spark`.
pub fn part(name: &str) -> Result<PathBuf> {
    let dir = if APART.contains(&name) { find_dir(&[name])? } else { dir()?.to_owned() };
    ensure!(
        dir.join(format!("{name}.stamp")).is_file(),
        "the test part {name} is not installed in {}: run `make {}`",
        dir.display(),
        installed_by(name)
    );
    Ok(dir.join(name))
}

/// What installs a part, of the Makefile.
fn installed_by(part: &str) -> &'static str {
    match part {
        "vault" => "vault",
        "trino" | "spark" => "engines",
        _ => "parts",
    }
}

/// The directory that holds all other parts: the variable `PARTS_DIR`, else what `tests/parts/dir.sh` prints.
pub fn dir() -> Result<&'static Path> {
    if let Some(dir) = DIR.get() {
        return Ok(dir);
    }
    let found = find_dir(&[])?;
    Ok(DIR.get_or_init(|| found))
}

fn find_dir(arguments: &[&str]) -> Result<PathBuf> {
    match std::env::var_os("PARTS_DIR") {
        Some(dir) => Ok(PathBuf::from(dir)),
        None => ask_script(arguments),
    }
}

fn ask_script(arguments: &[&str]) -> Result<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("parts/dir.sh");
    let output = Command::new(&script).args(arguments).output().with_context(|| format!("run {}", script.display()))?;
    if !output.status.success() {
        bail!("{} failed: {}", script.display(), String::from_utf8_lossy(&output.stderr));
    }
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
}
