//! What is counted of the operator itself; what pods do they count themselves.

use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Which kind of resource, and how it went.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Labels {
    /// `KafkaBackup` or `KafkaRestore`.
    pub kind: String,
    /// `success` or `failure`.
    pub result: String,
}

/// All metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    reconciliations: Family<Labels, Counter>,
    duration: Histogram,
    /// 1 while this process is the one that acts.
    pub leader: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("strimzi_backup_operator");
        let reconciliations = Family::default();
        let duration = Histogram::new(exponential_buckets(0.01, 2.0, 12));
        let leader = Gauge::default();
        registry.register("reconciliations", "Reconciliations of resources", reconciliations.clone());
        registry.register("reconciliation_duration_seconds", "How long reconciliations take", duration.clone());
        registry.register("leader", "1 while this process is the one that acts", leader.clone());
        Self { registry, reconciliations, duration, leader }
    }
}

impl Metrics {
    /// Counts a reconciliation.
    pub fn reconciled(&self, kind: &str, success: bool, took: Duration) {
        let result = if success { "success" } else { "failure" };
        self.reconciliations.get_or_create(&Labels { kind: kind.to_owned(), result: result.to_owned() }).inc();
        self.duration.observe(took.as_secs_f64());
    }

    /// All as OpenMetrics text.
    ///
    /// # Errors
    /// Never; the encoder writes into memory.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
