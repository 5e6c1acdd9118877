//! `strimzi-backup-operator`: the control plane's one binary.

use std::fmt;
use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use strimzi_backup_operator::cli::{self, Arguments};
use strimzi_backup_operator::controller::error::chain;
use strimzi_backup_operator::telemetry;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    telemetry::init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tell(format_args!("start the runtime: {error}"));
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(cli::execute(arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(format_args!("{}", chain(&*error)));
            ExitCode::FAILURE
        }
    }
}

/// Says why the process ends. Where nobody reads standard error any more, the exit code alone says it.
fn tell(error: impl fmt::Display) {
    let _ = writeln!(std::io::stderr().lock(), "error: {error}");
}
