//! Others who read: query engines the segments, monitoring the metrics, and the conformance suite the stores.

mod metrics;
mod query;
mod stores;
