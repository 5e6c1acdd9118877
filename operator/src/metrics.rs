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

/// A backup.
#[derive(Clone, Debug, Hash, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
pub struct BackupLabels {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// What is told of a backup, and of the prunes and verifications that it asks for; nothing of what it does not, or nobody knows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    /// 1 where a streamer follows the topics, else 0.
    pub streaming: Option<f64>,
    /// Unix time of the end of the last prune that ended well.
    pub last_prune: Option<f64>,
    /// Unix time at which the one after that is due.
    pub prune_due: Option<f64>,
    /// 1 where the last prune failed, else 0.
    pub prune_failed: Option<f64>,
    /// Unix time of the end of the last verification that came to a result.
    pub last_verification: Option<f64>,
    /// Unix time at which the one after that is due.
    pub verification_due: Option<f64>,
    /// 1 where the last verification came to no result, else 0.
    pub verification_failed: Option<f64>,
    /// How many things did not hold at the last one that came to a result.
    pub verification_findings: Option<f64>,
}

/// A gauge of each backup.
type OfBackups = Family<BackupLabels, Gauge<f64, AtomicU64>>;

/// The gauges of [`Figures`], by its fields.
#[derive(Debug, Default)]
struct Gauges {
    streaming: OfBackups,
    last_prune: OfBackups,
    prune_due: OfBackups,
    prune_failed: OfBackups,
    last_verification: OfBackups,
    verification_due: OfBackups,
    verification_failed: OfBackups,
    verification_findings: OfBackups,
}

impl Gauges {
    fn register(&self, registry: &mut Registry) {
        registry.register("streaming", "1 where a streamer follows the topics", self.streaming.clone());
        let help = "Unix time of the end of the last prune that ended well";
        registry.register("last_prune_timestamp", help, self.last_prune.clone());
        let help = "Unix time at which the prune after the last that ended well is due";
        registry.register("prune_due_timestamp", help, self.prune_due.clone());
        registry.register("prune_failed", "1 where the last prune failed", self.prune_failed.clone());
        let help = "Unix time of the end of the last verification with a result";
        registry.register("last_verification_timestamp", help, self.last_verification.clone());
        let help = "Unix time at which the verification after the last with a result is due";
        registry.register("verification_due_timestamp", help, self.verification_due.clone());
        let help = "1 where the last verification came to no result";
        registry.register("verification_failed", help, self.verification_failed.clone());
        let help = "What the last verification with a result found";
        registry.register("verification_findings", help, self.verification_findings.clone());
    }

    /// Sets what is told, and takes out the rest.
    fn set(&self, labels: &BackupLabels, told: &Figures) {
        let each = [
            (&self.streaming, told.streaming),
            (&self.last_prune, told.last_prune),
            (&self.prune_due, told.prune_due),
            (&self.prune_failed, told.prune_failed),
            (&self.last_verification, told.last_verification),
            (&self.verification_due, told.verification_due),
            (&self.verification_failed, told.verification_failed),
            (&self.verification_findings, told.verification_findings),
        ];
        for (gauge, value) in each {
            match value {
                Some(value) => {
                    gauge.get_or_create(labels).set(value);
                }
                None => {
                    gauge.remove(labels);
                }
            }
        }
    }
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
    figures: Gauges,
    stood: Mutex<BTreeMap<BackupLabels, Instant>>,
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
        let figures = Gauges::default();
        figures.register(registry);
        // A minute to a week.
        let restore_duration = Histogram::new(exponential_buckets(60.0, 2.0, 14));
        let help = "Seconds from the start of a restore to its end";
        all.sub_registry_with_prefix("strimzi_restore").register("duration_seconds", help, restore_duration.clone());
        let (told, stood) = (Mutex::default(), Mutex::default());
        Self { registry: all, reconciliations, duration, expiries, told, figures, stood, restore_duration, leader }
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
        remember(&self.told, &labels);
        self.expiries.get_or_create(&labels).set(unix_seconds);
    }

    /// Tells how a backup stands.
    pub fn stands(&self, labels: &BackupLabels, told: &Figures) {
        remember(&self.stood, labels);
        self.figures.set(labels, told);
    }

    /// Takes out what is of resources that are gone.
    fn forget(&self) {
        for labels in forgotten(&self.told) {
            self.expiries.remove(&labels);
        }
        for labels in forgotten(&self.stood) {
            self.figures.set(&labels, &Figures::default());
        }
    }

    /// All as OpenMetrics text.
    ///
    /// # Errors
    /// Never; the encoder writes into memory.
    pub fn text(&self) -> Result<String, fmt::Error> {
        self.forget();
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

fn remember<L: Clone + Ord>(told: &Mutex<BTreeMap<L, Instant>>, labels: &L) {
    told.lock().unwrap_or_else(PoisonError::into_inner).insert(labels.clone(), Instant::now());
}

/// What was not told for [`FORGOTTEN`], which is not remembered any longer.
fn forgotten<L: Clone + Ord>(told: &Mutex<BTreeMap<L, Instant>>) -> Vec<L> {
    let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
    let gone: Vec<L> =
        told.iter().filter(|(_, at)| at.elapsed() >= FORGOTTEN).map(|(labels, _)| labels.clone()).collect();
    told.retain(|labels, _| !gone.contains(labels));
    gone
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of metrics of a backup, without what is before the name.
    fn told(metrics: &Metrics) -> Vec<String> {
        let text = metrics.text().unwrap();
        let lines = text.lines().filter_map(|line| line.strip_prefix("strimzi_backup_operator_"));
        lines.filter(|line| line.contains("name=\"daily\"")).map(str::to_owned).collect()
    }

    #[test]
    fn what_is_known_of_a_backup_is_told_and_no_more() {
        let metrics = Metrics::default();
        let daily = BackupLabels { namespace: "kafka".to_owned(), name: "daily".to_owned() };
        let all = Figures {
            streaming: Some(0.0),
            last_prune: Some(1.5),
            prune_due: Some(2.5),
            prune_failed: Some(0.0),
            last_verification: Some(3.5),
            verification_due: Some(4.5),
            verification_failed: Some(1.0),
            verification_findings: Some(2.0),
        };
        metrics.stands(&daily, &all);
        let labels = "{namespace=\"kafka\",name=\"daily\"}";
        let wanted = [
            format!("streaming{labels} 0.0"),
            format!("last_prune_timestamp{labels} 1.5"),
            format!("prune_due_timestamp{labels} 2.5"),
            format!("prune_failed{labels} 0.0"),
            format!("last_verification_timestamp{labels} 3.5"),
            format!("verification_due_timestamp{labels} 4.5"),
            format!("verification_failed{labels} 1.0"),
            format!("verification_findings{labels} 2.0"),
        ];
        assert_eq!(told(&metrics), wanted);
        metrics.stands(&daily, &Figures { prune_failed: Some(1.0), ..Figures::default() });
        assert_eq!(told(&metrics), [format!("prune_failed{labels} 1.0")]);
        // As if nobody had told of it for long.
        let long_ago = Instant::now().checked_sub(FORGOTTEN);
        if let Some(long_ago) = long_ago {
            metrics.stood.lock().unwrap().insert(daily, long_ago);
            assert_eq!(told(&metrics), Vec::<String>::new());
        }
    }
}
