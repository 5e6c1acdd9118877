//! What a streamer goes on from: reads what the log says of consumer groups.

use std::sync::Arc;

use strimzi_backup_format::groups::Table;
use strimzi_backup_format::groups::at::{self, Moment};
use strimzi_backup_format::job::GroupSelection;
use strimzi_backup_format::manifest::reader;
use strimzi_backup_format::state::State;
use strimzi_backup_format::store::Store;

use super::Groups;
use crate::clock::{Backoff, Clock};
use crate::error::Error;
use crate::metrics::Metrics;

/// What a streamer knows of consumer groups when it starts: what the log it has claimed says of them. Waits for a store that
/// fails. Where it cannot be read any more, that is told, and holds up nothing else.
///
/// # Errors
/// [`Error::Read`] where the log is damaged.
pub async fn load<C: Clock>(
    store: &Store,
    selection: Option<GroupSelection>,
    state: &State,
    clock: &Arc<C>,
    metrics: &Metrics,
) -> Result<Groups, Error> {
    let was_followed = state.positions.keys().any(|key| key.topic.is_consumer_offsets());
    if selection.is_none() || !was_followed {
        return Ok(Groups::new(selection, Some(Table::default()), state));
    }
    let backoff = Backoff::new();
    loop {
        match table(store, state).await {
            Ok(table) => return Ok(Groups::new(selection, Some(table), state)),
            Err(at::Error::Log(error)) if !error.is_retryable() => return Err(error.into()),
            Err(error) if error.is_retryable() => {
                metrics.store_failed("groups", &"groups/", &error, clock.now());
                tokio::time::sleep(backoff.next(clock.as_ref())).await;
            }
            Err(error) => {
                let error = crate::error::chain(&error);
                tracing::warn!(
                    error,
                    "what groups have committed goes on being captured, but not all of it is held any more"
                );
                return Ok(Groups::new(selection, None, state));
            }
        }
    }
}

async fn table(store: &Store, state: &State) -> Result<Table, at::Error> {
    let Some(log) = reader::open(store, state.shard).await? else { return Ok(Table::default()) };
    match Moment::of_log(&log, None) {
        Some(moment) => at::table(store, &log, moment).await,
        None => Ok(Table::default()),
    }
}
