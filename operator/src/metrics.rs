//! What is counted of the operator itself; what pods do they count themselves.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

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

/// A certificate that a resource uses.
#[derive(Clone, Debug, Hash, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
pub struct CertificateLabels {
    /// `KafkaBackup` or `KafkaRestore`.
    pub kind: String,
    /// The namespace of the resource.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// `cluster-ca` or `user`.
    pub certificate: &'static str,
}

/// What was not told again for so long is of a resource that is gone: all are looked at every five minutes.
const FORGOTTEN: Duration = Duration::from_secs(900);

/// All metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    reconciliations: Family<Labels, Counter>,
    duration: Histogram,
    expiries: Family<CertificateLabels, Gauge<f64, AtomicU64>>,
    told: Mutex<BTreeMap<CertificateLabels, Instant>>,
    /// Seconds from the start of a restore to its end.
    pub restore_duration: Histogram,
    /// 1 while this process is the one that acts.
    pub leader: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut all = Registry::default();
        let registry = all.sub_registry_with_prefix("strimzi_backup_operator");
        let reconciliations = Family::default();
        let duration = Histogram::new(exponential_buckets(0.01, 2.0, 12));
        let leader = Gauge::default();
        registry.register("reconciliations", "Reconciliations of resources", reconciliations.clone());
        registry.register("reconciliation_duration_seconds", "How long reconciliations take", duration.clone());
        registry.register("leader", "1 while this process is the one that acts", leader.clone());
        let expiries = Family::default();
        let help = "Unix time at which the certificate that a resource uses ends";
        registry.register("certificate_expiry_timestamp", help, expiries.clone());
        // A minute to a week.
        let restore_duration = Histogram::new(exponential_buckets(60.0, 2.0, 14));
        let help = "Seconds from the start of a restore to its end";
        all.sub_registry_with_prefix("strimzi_restore").register("duration_seconds", help, restore_duration.clone());
        let told = Mutex::default();
        Self { registry: all, reconciliations, duration, expiries, told, restore_duration, leader }
    }
}

impl Metrics {
    /// Counts a reconciliation.
    pub fn reconciled(&self, kind: &str, success: bool, took: Duration) {
        let result = if success { "success" } else { "failure" };
        self.reconciliations.get_or_create(&Labels { kind: kind.to_owned(), result: result.to_owned() }).inc();
        self.duration.observe(took.as_secs_f64());
    }

    /// Tells when a certificate ends.
    pub fn expires(&self, labels: CertificateLabels, unix_seconds: f64) {
        self.expiries.get_or_create(&labels).set(unix_seconds);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.insert(labels, Instant::now());
        told.retain(|labels, at| {
            let is_known = at.elapsed() < FORGOTTEN;
            if !is_known {
                self.expiries.remove(labels);
            }
            is_known
        });
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
