//! `strimzi-backup-operator`: the control plane's one binary.

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
            eprintln!("error: start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(cli::execute(arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", chain(&*error));
            ExitCode::FAILURE
        }
    }
}
