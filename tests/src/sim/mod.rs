//! A deterministic simulation: the real claim, stream, pipeline and log over a fake Kafka, a failing store and virtual time.
//!
//! ```text
//!  schedule (seed) ─▶ cluster: what Kafka holds ◀── broker: what a client sees of it ◀── writer: claim + stream
//!        │                        │                                                              │
//!        └─▶ weather: faults ─▶ FaultyStore ◀─ sabotage (planted bugs) ◀─────────────────────────┘
//!                                 │  └── restorer: restores that go on meanwhile, into a target in memory
//!                              oracle: the backup against everything that Kafka ever held
//! ```
//! Everything runs on one thread with tokio's clock paused, and each actor has dice of its own: the same seed gives the
//! same history, byte for byte. A seed that fails prints itself.
//!
//! Even seeds are encrypted: the writers claim with the master keys of [`keys`], and the oracle opens what they sealed. There the
//! history is the same but for what is drawn for each seal, and nothing of the schedule depends on that.

pub mod broker;
pub mod clock;
pub mod cluster;
pub mod dice;
pub mod keys;
pub mod oracle;
pub mod restorer;
pub mod sabotage;
pub mod schedule;
pub mod seeds;
pub mod target;
pub mod timed;
pub mod weather;
pub mod world;
pub mod writer;

use std::collections::BTreeSet;
use std::future::Future;

use anyhow::Result;
use strimzi_backup_format::checksum::Sha256;

use sabotage::Sabotage;
use world::{MAX_AGE, World};

/// Runs `scenario` in a world of its own, in virtual time.
pub fn simulate<T, F: Future<Output = Result<T>>>(scenario: impl FnOnce() -> F) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    runtime.block_on(async { scenario().await })
}

/// What came of a seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// The digest of what the seed decides of the store's content, which is all of it where nothing is sealed.
    pub digest: Sha256,
    /// What happened in it: the calls that writers made, what became of topics, why offsets are missing.
    pub seen: BTreeSet<String>,
}

/// Runs the random schedule of a seed.
pub fn run_seed(seed: u64, sabotage: Option<Sabotage>) -> Result<History> {
    simulate(|| async move {
        let mut world = World::new(seed, sabotage);
        world.retention.max_age = Some(MAX_AGE);
        world.run().await?;
        Ok(History { digest: world.digest().await?, seen: world.seen() })
    })
}
