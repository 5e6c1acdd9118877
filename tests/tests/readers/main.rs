//! Others who read: query engines the segments, monitoring the metrics, people the terminal, and the conformance suite the
//! stores.

mod gcs;
mod manual;
mod metrics;
mod query;
mod stores;
mod terminal;
