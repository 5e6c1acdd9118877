//! The metrics of a restore, and where they are served. Every one of them is set somewhere, and a test sees each move.

use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use strimzi_backup_format::job::HttpSettings;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::tally::{Phase, Tally};
use crate::error::Error;
use crate::http::{self, Told};

/// What is told of a restore.
struct View {
    tally: Arc<Tally>,
    registry: Registry,
}

impl View {
    fn of(tally: &Arc<Tally>) -> Self {
        let mut registry = Registry::default();
        register(tally, registry.sub_registry_with_prefix("strimzi_restore"));
        Self { tally: Arc::clone(tally), registry }
    }
}

fn register(tally: &Tally, r: &mut Registry) {
    r.register("phase", "1 for what the restore is at", tally.phase.clone());
    r.register("planned_records", "Records that the plan reads, at most", tally.planned_records.clone());
    let help = "Bytes of keys, values and headers that the plan reads, about";
    r.register("planned_bytes", help, tally.planned_bytes.clone());
    r.register("planned_segments", "Segments that the plan reads", tally.planned_segments.clone());
    r.register("restored_records", "Records at the target, over all starts", tally.restored_records.clone());
    r.register("records", "Records committed by this start", tally.records.clone());
    r.register("bytes", "Bytes of keys, values and headers committed by this start", tally.bytes.clone());
    r.register("transactions", "Transactions committed", tally.transactions.clone());
    r.register("last_commit_timestamp", "Unix time of the last commit", tally.last_commit.clone());
    r.register("segments", "Segments read", tally.segments.clone());
    r.register("store_requests", "Requests for segments", tally.requests.clone());
    r.register("fetched_bytes", "Bytes of segments read", tally.fetched_bytes.clone());
    r.register("repeats", "Passes that were begun anew after a failure", tally.repeats.clone());
    let help = "Offsets that others took in partitions of the target";
    r.register("foreign_offsets", help, tally.foreign_offsets.clone());
}

impl Told for View {
    fn not_ready(&self) -> Option<&'static str> {
        (self.tally.phase() == Phase::Planning).then_some("the restore is not planned yet")
    }

    fn metrics(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// Serves health and metrics until it is dropped.
///
/// # Errors
/// [`Error::Io`] where the address cannot be had.
pub(super) async fn serve(settings: HttpSettings, tally: &Arc<Tally>) -> Result<AbortOnDropHandle<()>, Error> {
    let listener = http::bind(settings.address).await?;
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "listening for /livez, /readyz and /metrics");
    }
    let view = Arc::new(View::of(tally));
    Ok(AbortOnDropHandle::new(tokio::spawn(async move {
        if let Err(error) = http::serve(listener, view, CancellationToken::new()).await {
            tracing::warn!(error = crate::error::chain(&error), "health and metrics are not served any more");
        }
    })))
}
