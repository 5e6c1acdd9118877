//! `strimzi-backup`: the data plane's one binary.

use std::fmt;
use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use strimzi_backup_streamer::cli::{self, Arguments};
use strimzi_backup_streamer::{error, telemetry};
use tikv_jemallocator::Jemalloc;

mod allocator;
mod end;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    telemetry::init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tell(format_args!("start the runtime: {error}"));
            return ExitCode::from(error::exit::FAILED);
        }
    };
    let ended = runtime.block_on(cli::run(arguments));
    // Blocked reads of a store or a broker must not hold up the end.
    runtime.shutdown_background();
    end::now(match ended {
        Ok(()) => error::exit::DONE,
        Err(error) => {
            tell(error::chain(&error));
            error.exit_code()
        }
    })
}

/// Says why the process ends. Where nobody reads standard error any more, the exit code alone says it.
fn tell(error: impl fmt::Display) {
    let _ = writeln!(std::io::stderr().lock(), "error: {error}");
}
