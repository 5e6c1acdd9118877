//! From what was fetched to segments in the store.
//!
//! ```text
//! PartitionCut… ─▶ plan (pure: which segments, which row groups) ─▶ encode (blocking pool) ─▶ upload
//! ```
//! Owns: how a cut becomes segments. Does not own: when to cut, and committing ([`crate::stream`]). Uploads of several
//! cuts run side by side; the caller commits them in the order of the cuts.

pub mod plan;
pub mod produce;
