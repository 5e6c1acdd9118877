//! Python with pyarrow and duckdb, in the pinned virtual environment.

use std::process::Command;

use anyhow::Result;

use crate::parts;
use crate::process::run;

/// Runs a script with arguments (`sys.argv[1:]`) and returns what it printed.
pub fn run_python(script: &str, arguments: &[&str]) -> Result<String> {
    run_python_with(script, arguments, &[])
}

/// The same with environment variables.
pub fn run_python_with(script: &str, arguments: &[&str], environment: &[(String, String)]) -> Result<String> {
    let python = parts::part("python")?.join("bin/python");
    let variables = environment.iter().map(|(name, value)| (name, value));
    // -I: neither the user's packages nor PYTHON* variables may change what runs.
    run("a python script", Command::new(python).args(["-I", "-c", script]).args(arguments).envs(variables))
}
