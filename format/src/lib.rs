//! What a backup of a Kafka cluster stores, and what it means.
//!
//! ```text
//! <prefix>/
//!   backup.json                                                identity            identity.rs
//!   manifests/<shard>/<sequence>.json.zst                      the manifest log    manifest/
//!   checkpoints/<shard>/<sequence>-<sha256>.json.zst           folded state        checkpoint.rs, state.rs
//!   snapshots/<id>.json                                        named boundaries    snapshot/
//!   intake/<date>/<hour>/….parquet                             records of many topics  segment/
//!   groups/date=<date>/hour=<hour>/….parquet                   offsets of groups   groups/
//!   keys/<number>-<wrap>.json                                  backup keys, wrapped    crypt/
//!   topics/topic=<t>/date=<date>/hour=<hour>/….parquet         records of one topic    segment/
//!   base/topic=<t>/date=<date>/hour=<hour>/….parquet           of old ones the newest of each key  segment/
//! ```
//!
//! The invariants that tests and comments refer to:
//!
//! - **P1** what the manifests say is the truth; nothing else is state.
//! - **P2** a segment is complete in the store before the manifest that names it is created.
//! - **P3** every object is created once and never overwritten.
//! - **P4** a writer claims an epoch before it writes; who finds a higher one stops for good.
//! - **P5** each offset is in one live segment, or is a legal hole, or is in a recorded gap.
//! - **P6** a record comes back byte for byte.
//! - **P9** unreadable, contradictory or foreign data stops the work with an error that names it.
//! - **P10** there is one resolved view of what is protected ([`coverage`]).
//!
//! This crate knows neither a Kafka client nor Kubernetes nor a clock: instants, ids and retries come from its callers.
//! Only [`store`], [`manifest`], [`snapshot`] and [`crypt::wraps`] call the `object_store` crate; [`segment::slice`] reads through [`store`].

pub mod bucket;
pub mod checkpoint;
pub mod checksum;
pub mod coverage;
pub mod crypt;
pub mod document;
pub mod errors;
pub mod groups;
pub mod identity;
pub mod ids;
pub mod job;
pub mod layout;
pub mod manifest;
pub mod offset_range;
pub mod record;
pub mod retention;
#[cfg(any(test, feature = "testing"))]
pub mod sample;
pub mod schema;
pub mod seal;
pub mod segment;
pub mod slice;
pub mod snapshot;
pub mod state;
pub mod store;
