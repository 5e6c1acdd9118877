//! Says how far a restore is: a bar on a terminal, a line in the log every now and then otherwise.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio_util::task::AbortOnDropHandle;

use super::plan::Plan;
use super::tally::{Tallied, Tally};

/// How often the log says how far it is.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// How often the bar moves.
const BAR_INTERVAL: Duration = Duration::from_millis(250);

/// Begins to tell, until it is dropped.
pub(super) fn start(plan: &Plan, tally: Arc<Tally>) -> AbortOnDropHandle<()> {
    let (id, total) = (plan.restore.to_string(), plan.reads.records);
    AbortOnDropHandle::new(if std::io::stderr().is_terminal() {
        tokio::spawn(draw(total, tally))
    } else {
        tokio::spawn(log(id, total, tally))
    })
}

async fn draw(total: u64, tally: Arc<Tally>) {
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} records  {msg}");
    let bar = ProgressBar::new(total).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let mut tick = tokio::time::interval(BAR_INTERVAL);
    loop {
        tick.tick().await;
        let Tallied { records, bytes, .. } = tally.read();
        bar.set_position(records);
        bar.set_message(bytesize::ByteSize(bytes).to_string());
    }
}

async fn log(restore: String, at_most: u64, tally: Arc<Tally>) {
    let mut tick = tokio::time::interval(LOG_INTERVAL);
    tick.tick().await;
    loop {
        tick.tick().await;
        let Tallied { records, bytes, transactions, requests, fetched_bytes } = tally.read();
        tracing::info!(restore, records, at_most, bytes, transactions, requests, fetched_bytes, "restoring");
    }
}
