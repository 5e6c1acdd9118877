//! The command line: arguments, and which function each command is.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use strimzi_backup_format::job::Job;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::stream::Until;

/// Continuous backup of Kafka topics into object storage.
#[derive(Debug, Parser)]
#[command(
    name = "strimzi-backup",
    version,
    about = "Continuous backup of Kafka topics into object storage",
    after_help = EXIT_CODES
)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "Exit codes:
  0  done
  1  failed; trying again may help
  2  bad configuration or usage: all faults are listed, nothing was touched
  3  fenced: another writer has taken this backup over
  4  the backup is damaged, or belongs to another job or cluster

Environment:
  RUST_LOG   what is logged to standard error, such as info or strimzi_backup_streamer=debug
  AWS_*, AZURE_*, GOOGLE_*   credentials of stores, where the job document names no files";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Stream topics into the store until SIGTERM.
    ///
    /// Goes on where the backup's log ends. On SIGTERM or Ctrl-C what was fetched is still committed; a second signal
    /// ends at once, and nothing is lost by that either: the next start fetches again what is not in the log.
    Stream {
        /// The job document.
        #[command(flatten)]
        job: JobFile,
        /// End with 0 once every partition has reached the end offset it had at the start.
        #[arg(long)]
        until_caught_up: bool,
    },
}

/// Where the job document is.
#[derive(Debug, clap::Args)]
pub struct JobFile {
    /// The job document (YAML or JSON).
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// How data is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

impl JobFile {
    fn read(&self) -> Result<Job, Error> {
        let path = self.config.display().to_string();
        let text = std::fs::read_to_string(&self.config).map_err(|source| Error::ReadJob { path, source })?;
        Ok(text.parse()?)
    }
}

/// Runs a command.
///
/// # Errors
/// [`Error`], which knows its exit code.
pub async fn run(arguments: Arguments) -> Result<(), Error> {
    match arguments.command {
        Command::Stream { job, until_caught_up } => {
            let job = job.read()?;
            let until = if until_caught_up { Until::CaughtUp } else { Until::Stopped };
            let (stop, abandon) = (CancellationToken::new(), CancellationToken::new());
            listen_for_signals(stop.clone(), abandon.clone())?;
            crate::app::stream(job, until, stop, abandon).await
        }
    }
}

/// The first SIGTERM or SIGINT asks to stop, the second to stop at once.
fn listen_for_signals(stop: CancellationToken, abandon: CancellationToken) -> Result<(), Error> {
    use tokio::signal::unix::{SignalKind, signal};
    let failed = |source| Error::Io { what: "listen for signals".to_owned(), source };
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    tokio::spawn(async move {
        for token in [stop, abandon] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::info!("told to stop");
            token.cancel();
        }
    });
    Ok(())
}
