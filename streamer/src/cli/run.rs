//! Which function each command is, and what becomes of what it gives.

use std::path::Path;

use strimzi_backup_format::ids::Nonce;
use strimzi_backup_format::job::RestoreJob;
use strimzi_backup_format::snapshot::Keep;
use strimzi_backup_format::store;
use tokio_util::sync::CancellationToken;

use super::process::{json, listen_for_signals, print, print_as, read_text, summarize};
use super::{Arguments, Command, ExportFormat, Output, SegmentsOutput};
use crate::clock::{Clock as _, SystemClock};
use crate::destroy;
use crate::error::Error;
use crate::export;
use crate::groups;
use crate::inspect;
use crate::keys;
use crate::prune;
use crate::rekey;
use crate::report::Resource;
use crate::restore::{self, Outcome, RestoreError};
use crate::salvage;
use crate::segments::{self, Slice};
use crate::snapshot;
use crate::stream::Until;
use crate::verify::{self, Progress};

/// Runs a command.
///
/// # Errors
/// [`Error`], which knows its exit code.
pub async fn run(arguments: Arguments) -> Result<(), Error> {
    match arguments.command {
        Command::Stream { job, until_caught_up, report_to } => {
            let job = job.read()?;
            let until = if until_caught_up { Until::CaughtUp } else { Until::Stopped };
            let (stop, abandon) = (CancellationToken::new(), CancellationToken::new());
            listen_for_signals(stop.clone(), abandon.clone())?;
            crate::app::stream(job, until, report_to, stop, abandon).await
        }
        Command::Inspect { job, output, prices } => {
            let job = job.read()?;
            let store = keys::open(&job.storage).await?;
            let found =
                inspect::run(&store, prices.over(job.prices), job.backup.metadata_interval, SystemClock.now()).await;
            let found = found.map_err(|error| error.of_store(&store))?;
            print_as(output, &found, || found.to_json())
        }
        Command::Segments { job, topic, from, to, output, with_keys } => {
            let format = match (output, with_keys) {
                (SegmentsOutput::Json, true) => segments::Format::JsonWithKeys,
                (_, true) => return Err(Error::Usage("--with-keys needs --output json".to_owned())),
                (SegmentsOutput::Text, false) => segments::Format::Paths,
                (SegmentsOutput::Json, false) => segments::Format::Json,
                (SegmentsOutput::Duckdb, false) => segments::Format::DuckDb,
            };
            let storage = job.read()?.storage;
            let store = keys::open(&storage).await?;
            let slice = Slice { topics: topic, from, to };
            let found = segments::run(&store, &storage.location, &slice, format).await;
            print(&found.map_err(|error| error.of_store(&store))?)
        }
        Command::Export { job, topic, from, to, format, output } => {
            let store = keys::open(&job.read()?.storage).await?;
            let format = match format {
                ExportFormat::Jsonl => export::Format::Lines,
                ExportFormat::Parquet => export::Format::Parquet,
            };
            let output = Some(output).filter(|path| path.as_os_str() != "-");
            let request = export::Request { slice: Slice { topics: topic, from, to }, format, output };
            let done = export::run(&store, request).await;
            let export::Exported { records } = done.map_err(|error| error.of_store(&store))?;
            tracing::info!(records, "exported");
            Ok(())
        }
        Command::Rekey { job, output } => {
            let done = rekey::run(&job.read()?.storage, &SystemClock).await?;
            print_as(output, &done, || done.to_json())
        }
        Command::Groups { job, group, at, output } => {
            let store = keys::open(&job.read()?.storage).await?;
            let found =
                groups::run(&store, &group.into_iter().collect(), at).await.map_err(|error| error.of_store(&store))?;
            print_as(output, &found, || found.to_json())
        }
        Command::Snapshot { job, id, request, keep_forever, timeout, output, summary_file } => {
            let job = job.read()?;
            let store = keys::open(&job.storage).await?;
            let (by, keep) = (request.map(Nonce::new), keep_forever.then_some(Keep::Forever));
            let request = snapshot::Request { id, by, keep, timeout };
            let taken =
                snapshot::run(&store, &job, request, &SystemClock).await.map_err(|error| error.of_store(&store))?;
            print_as(output, &taken, || taken.to_json())?;
            if let Some(path) = summary_file {
                summarize(&path, &taken.summary());
            }
            Ok(())
        }
        Command::Restore { config, plan_only, report_to, output } => {
            restore_as(&config, plan_only, report_to, output).await
        }
        Command::Restores { job, output } => {
            let store = keys::open(&job.read()?.storage).await?;
            let restores = restore::list::restores(&store).await.map_err(|error| error.of_store(&store))?;
            print_as(output, &restores, || restores.to_json())?;
            restores.outcome()
        }
        Command::Prune { job, dry_run, output, summary_file } => {
            let job = job.read()?;
            let store = keys::open(&job.storage).await?;
            let report =
                prune::run(&store, &job, dry_run, &SystemClock).await.map_err(|error| error.of_store(&store))?;
            print_as(output, &report, || report.to_json())?;
            if let Some(path) = summary_file {
                summarize(&path, &report.summary());
            }
            Ok(())
        }
        Command::Destroy { job, backup, stopped, output } => {
            let job = job.read()?;
            // It deletes by listing, and reads nothing that is sealed: a backup whose keys are lost can go, too.
            let store = store::open(&job.storage)?;
            let report = destroy::run(&store, &job, backup, stopped, &SystemClock)
                .await
                .map_err(|error| error.of_store(&store))?;
            print_as(output, &report, || report.to_json())?;
            report.outcome()
        }
        Command::Salvage { job, output } => {
            let store = keys::open(&job.read()?.storage).await?;
            let found = salvage::run(&store).await.map_err(|error| error.of_store(&store))?;
            print_as(output, &found, || found.to_json())
        }
        Command::Verify { job, level, output, parallelism, summary_file } => {
            let storage = job.read()?.storage;
            let store = keys::open(&storage).await?;
            let current = keys::current(&storage, &store).await?;
            let options = verify::Options { parallelism, current, ..verify::Options::default() };
            let report = verify::run(&store, level, &options, &Progress::on_terminal())
                .await
                .map_err(|error| error.of_store(&store))?;
            print_as(output, &report, || report.to_json())?;
            if let Some(path) = summary_file {
                summarize(&path, &report.summary());
            }
            report.outcome()
        }
    }
}

async fn restore_as(config: &Path, plan_only: bool, report_to: Option<Resource>, output: Output) -> Result<(), Error> {
    let job = RestoreJob::parse(&read_text("restore document", config)?, SystemClock.now())?;
    let (stop, abandon) = (CancellationToken::new(), CancellationToken::new());
    listen_for_signals(stop.clone(), abandon.clone())?;
    let outcome = tokio::select! {
        outcome = restore::run(job, plan_only, report_to, stop) => outcome?,
        () = abandon.cancelled() => return Err(RestoreError::Stopped.into()),
    };
    match outcome {
        Outcome::Planned(plan, conflicts) => {
            print_as(output, &plan, || json(&plan))?;
            if conflicts.is_empty() { Ok(()) } else { Err(RestoreError::Conflicts(conflicts).into()) }
        }
        Outcome::Done(report) => print_as(output, &report, || json(&report)),
    }
}
