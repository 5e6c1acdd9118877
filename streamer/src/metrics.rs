//! The metrics of the streamer, in OpenMetrics text. Every one of them is set somewhere, and a test sees each move.
//!
//! No label is without a bound: reasons and kinds are enums, topics are no labels.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use strimzi_backup_format::coverage::{GroupCondition, GroupCoverage};
use strimzi_backup_format::ids::TimestampMs;
use strimzi_backup_format::manifest::BehindReason;
use strimzi_backup_format::store::{Request, Tally};

use crate::cost::{Cost, Counted, Pace, Prices};
use crate::report::Trouble;
use crate::retire::Held;

/// One label, `kind`, with a bounded set of values.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct KindLabel {
    kind: String,
}

impl KindLabel {
    /// The label of that value.
    pub fn new(kind: &str) -> Self {
        Self { kind: kind.to_owned() }
    }
}

/// All metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Records committed.
    pub records: Counter,
    /// Bytes of keys, values and headers committed.
    pub bytes: Counter,
    /// Manifests committed, by kind: `data`, `heartbeat`, `claim`.
    pub commits: Family<KindLabel, Counter>,
    /// Seconds from a cut to its commit.
    pub duration: Histogram,
    /// Unix time of the last commit.
    pub last_success: Gauge<f64, AtomicU64>,
    /// Unix time of the last failure of the store or the broker.
    pub last_failure: Gauge<f64, AtomicU64>,
    /// Bytes of segments in the store.
    pub storage_bytes: Gauge,
    /// What a month costs at the job's prices, if it went on like the last hour, by what for: `put`, `get`, `storage`, `received`.
    pub monthly_cost: Family<KindLabel, Gauge<f64, AtomicU64>>,
    /// Seconds since `recoverable.until`; while there is none, since the claim; before the claim, not a number.
    pub lag: Gauge<f64, AtomicU64>,
    /// Bytes held by the budget.
    pub buffered: Gauge,
    /// The budget.
    pub budget: Gauge,
    /// Partitions read.
    pub partitions: Gauge,
    /// Partitions behind, by reason.
    pub behind: Family<KindLabel, Gauge>,
    /// Partitions that retention is about to overtake.
    pub headroom_low: Gauge,
    /// Offsets lost, by reason of their gap.
    pub lost_offsets: Family<KindLabel, Counter>,
    /// Topic events, by kind.
    pub topic_events: Family<KindLabel, Counter>,
    /// Requests to the store, by kind: `put`, `get`, `head`, `list`, `delete`. An upload in parts is a `put` to begin, one for each
    /// part, and one to complete.
    pub store_requests: Family<KindLabel, Counter>,
    /// Bytes of objects to and from the store: `sent`, `received`.
    pub store_bytes: Family<KindLabel, Counter>,
    /// Requests to the store that failed, by what they were for.
    pub store_errors: Family<KindLabel, Counter>,
    /// Whether the store fails at the moment.
    pub store_failing: Gauge,
    /// Requests for the master key that failed, of those that may succeed later.
    pub key_errors: Counter,
    /// Whether the master key is waited for.
    pub key_unavailable: Gauge,
    /// What the Kafka client complained of, by kind.
    pub kafka_errors: Family<KindLabel, Counter>,
    /// Whether the broker cannot be reached at the moment.
    pub kafka_unreachable: Gauge,
    /// Claims of the log in the last ten minutes: at 2 or more, writers fight or one restarts.
    pub recent_claims: Gauge,
    /// The writer's epoch.
    pub epoch: Gauge,
    /// Checkpoints written.
    pub checkpoints: Counter,
    /// Intake segments written anew as topic segments.
    pub refined_segments: Counter,
    /// Their bytes.
    pub refined_bytes: Counter,
    /// Bytes of their row groups that were copied, neither decoded nor encoded, also where nothing was committed in the end.
    pub refined_copied_bytes: Counter,
    /// Segments of which nothing is kept any longer.
    pub retired_segments: Counter,
    /// Their bytes.
    pub retired_bytes: Counter,
    /// Why nothing is retired although something is older than what is kept, or may be: 1 at one of the reasons, if any.
    pub retention_held: Family<KindLabel, Gauge>,
    /// Upkeep of the log that failed and is tried again, by kind.
    pub upkeep_failures: Family<KindLabel, Counter>,
    /// Commits and deletions of consumer groups committed.
    pub group_offsets: Counter,
    /// Records of `__consumer_offsets` that this release cannot read, kept as they are.
    pub group_unreadable: Counter,
    /// How consumer groups stand: 1 at one of the states.
    pub groups: Family<KindLabel, Gauge>,
    failing: AtomicBool,
    /// Why the master key is waited for, while it is: no metric, since its words have no bound.
    keyless: Mutex<Option<String>>,
    pace: Mutex<Pace>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Tally for Metrics {
    fn request(&self, kind: Request) {
        self.store_requests.get_or_create(&KindLabel::new(kind.as_str())).inc();
    }

    fn sent(&self, bytes: u64) {
        self.store_bytes.get_or_create(&KindLabel::new("sent")).inc_by(bytes);
    }

    fn received(&self, bytes: u64) {
        self.store_bytes.get_or_create(&KindLabel::new("received")).inc_by(bytes);
    }
}

impl Metrics {
    /// All metrics at zero, registered.
    pub fn new() -> Self {
        let mut all = Self {
            registry: Registry::default(),
            records: Counter::default(),
            bytes: Counter::default(),
            commits: Family::default(),
            duration: Histogram::new(exponential_buckets(0.01, 2.0, 14)),
            last_success: Gauge::default(),
            last_failure: Gauge::default(),
            storage_bytes: Gauge::default(),
            monthly_cost: Family::default(),
            lag: Gauge::default(),
            buffered: Gauge::default(),
            budget: Gauge::default(),
            partitions: Gauge::default(),
            behind: Family::default(),
            headroom_low: Gauge::default(),
            lost_offsets: Family::default(),
            topic_events: Family::default(),
            store_requests: Family::default(),
            store_bytes: Family::default(),
            store_errors: Family::default(),
            store_failing: Gauge::default(),
            key_errors: Counter::default(),
            key_unavailable: Gauge::default(),
            kafka_errors: Family::default(),
            kafka_unreachable: Gauge::default(),
            recent_claims: Gauge::default(),
            epoch: Gauge::default(),
            checkpoints: Counter::default(),
            refined_segments: Counter::default(),
            refined_bytes: Counter::default(),
            refined_copied_bytes: Counter::default(),
            retired_segments: Counter::default(),
            retired_bytes: Counter::default(),
            retention_held: Family::default(),
            upkeep_failures: Family::default(),
            group_offsets: Counter::default(),
            group_unreadable: Counter::default(),
            groups: Family::default(),
            failing: AtomicBool::new(false),
            keyless: Mutex::default(),
            pace: Mutex::default(),
        };
        // Until there is something to tell: 0 would say that all is well.
        all.lag.set(f64::NAN);
        let mut registry = std::mem::take(&mut all.registry);
        all.register(registry.sub_registry_with_prefix("strimzi_backup"));
        all.registry = registry;
        all
    }

    fn register(&self, r: &mut Registry) {
        r.register("records", "Records committed", self.records.clone());
        r.register("bytes", "Bytes of keys, values and headers committed", self.bytes.clone());
        r.register("commits", "Manifests committed, by kind", self.commits.clone());
        r.register("duration_seconds", "Seconds from a cut to its commit", self.duration.clone());
        r.register("last_success_timestamp", "Unix time of the last commit", self.last_success.clone());
        let help = "Unix time of the last failure of the store or the broker";
        r.register("last_failure_timestamp", help, self.last_failure.clone());
        r.register("storage_bytes", "Bytes of segments in the store", self.storage_bytes.clone());
        let help = "What a month costs if it went on like the last hour, by what for";
        r.register("monthly_cost", help, self.monthly_cost.clone());
        r.register("lag_seconds", "Seconds since the last instant everything is captured up to", self.lag.clone());
        r.register("buffered_bytes", "Bytes fetched and not yet durable", self.buffered.clone());
        r.register("memory_budget_bytes", "The most bytes to be held at once", self.budget.clone());
        r.register("partitions", "Partitions read", self.partitions.clone());
        r.register("partitions_behind", "Partitions behind, by reason", self.behind.clone());
        let help = "Partitions that retention is about to overtake";
        r.register("headroom_low_partitions", help, self.headroom_low.clone());
        r.register("lost_offsets", "Offsets that could not be captured, by reason", self.lost_offsets.clone());
        r.register("topic_events", "Topics added, changed, deleted and so on", self.topic_events.clone());
        r.register("store_requests", "Requests to the store, by kind", self.store_requests.clone());
        r.register("store_bytes", "Bytes of objects sent and received", self.store_bytes.clone());
        r.register("store_errors", "Failed requests to the store, by purpose", self.store_errors.clone());
        r.register("store_failing", "1 while the store fails", self.store_failing.clone());
        r.register("key_errors", "Failed requests for the master key", self.key_errors.clone());
        r.register("key_unavailable", "1 while the master key is waited for", self.key_unavailable.clone());
        r.register("kafka_errors", "Complaints of the Kafka client, by kind", self.kafka_errors.clone());
        r.register("kafka_unreachable", "1 while the broker cannot be asked", self.kafka_unreachable.clone());
        let help = "Claims of the log in the last ten minutes; at 2 or more, writers fight or one restarts";
        r.register("recent_claims", help, self.recent_claims.clone());
        r.register("epoch", "The writer's epoch", self.epoch.clone());
        r.register("checkpoints", "Checkpoints written", self.checkpoints.clone());
        r.register("refined_segments", "Intake segments written anew by topic", self.refined_segments.clone());
        r.register("refined_bytes", "Bytes of these intake segments", self.refined_bytes.clone());
        let help = "Bytes of their row groups that were copied as they were";
        r.register("refined_copied_bytes", help, self.refined_copied_bytes.clone());
        r.register("retired_segments", "Segments of which nothing is kept any longer", self.retired_segments.clone());
        r.register("retired_bytes", "Bytes of these segments", self.retired_bytes.clone());
        r.register("retention_held", "1 while retention is held, by reason", self.retention_held.clone());
        r.register("upkeep_failures", "Upkeep of the log that failed, by kind", self.upkeep_failures.clone());
        let help = "Commits and deletions of consumer groups committed";
        r.register("consumer_group_offsets", help, self.group_offsets.clone());
        let help = "Records of __consumer_offsets that cannot be read, kept as they are";
        r.register("consumer_group_unreadable", help, self.group_unreadable.clone());
        r.register("consumer_groups", "1 for how consumer groups stand", self.groups.clone());
    }

    /// The OpenMetrics text.
    ///
    /// # Errors
    /// Never for these metrics; the encoder writes into memory.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// Counts a failed request to the store, and says so in the log when the failing begins.
    pub fn store_failed(
        &self,
        purpose: &'static str,
        object: &impl fmt::Display,
        error: &dyn std::error::Error,
        now: TimestampMs,
    ) {
        self.last_failure.set(unix_seconds(now));
        self.store_errors.get_or_create(&KindLabel::new(purpose)).inc();
        self.store_failing.set(1);
        let error = crate::error::chain(error);
        if self.failing.swap(true, Ordering::Relaxed) {
            tracing::debug!(purpose, %object, error, "store request failed again");
        } else {
            tracing::warn!(purpose, %object, error, "store request failed; trying until it succeeds");
        }
    }

    /// A request to the store succeeded.
    pub fn store_recovered(&self) {
        self.store_failing.set(0);
        if self.failing.swap(false, Ordering::Relaxed) {
            tracing::info!("store answers again");
        }
    }

    /// Counts a failed request for the master key, and says so in the log when the waiting begins.
    pub fn key_failed(&self, error: &dyn std::error::Error, now: TimestampMs) {
        self.last_failure.set(unix_seconds(now));
        self.key_errors.inc();
        let error = crate::error::chain(error);
        *self.keyless.lock() = Some(error.clone());
        if self.key_unavailable.set(1) == 0 {
            tracing::warn!(
                error,
                "the master key is not available; nothing is fetched and nothing written until it is, records stay in Kafka"
            );
        } else {
            tracing::debug!(error, "the master key is still not available");
        }
    }

    /// Whoever has the master key has answered.
    pub fn key_answered(&self) {
        *self.keyless.lock() = None;
        if self.key_unavailable.set(0) != 0 {
            tracing::info!("the master key is available again");
        }
    }

    /// Which master key is waited for, and why, in the words of who has it; `None` while none is.
    pub fn why_keyless(&self) -> Option<String> {
        self.keyless.lock().clone()
    }

    /// Tells how many bytes are stored, and what a month costs with that and with what is asked of the store as of late. So soon after a
    /// start that nothing is known of the latter, what was told of it stays.
    pub fn set_stored(&self, bytes: u64, prices: &Prices, now: TimestampMs) {
        self.storage_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        let hourly = self.pace.lock().take(self.counted(now));
        let cost = Cost::of_month(prices, hourly.unwrap_or_default(), bytes);
        let tell = |kind: &str, cost: f64| {
            self.monthly_cost.get_or_create(&KindLabel::new(kind)).set(cost);
        };
        tell("storage", cost.storage);
        if hourly.is_some() {
            tell("put", cost.puts);
            tell("get", cost.gets);
            tell("received", cost.received);
        }
    }

    /// What was asked of the store since the start, by what it is charged as.
    fn counted(&self, at: TimestampMs) -> Counted {
        let asked = |kind: Request| self.store_requests.get_or_create(&KindLabel::new(kind.as_str())).get();
        Counted {
            at,
            puts: asked(Request::Put) + asked(Request::List),
            gets: asked(Request::Get) + asked(Request::Head),
            received_bytes: self.store_bytes.get_or_create(&KindLabel::new("received")).get(),
        }
    }

    /// What keeps the streamer from going on at the moment.
    pub fn trouble(&self) -> Option<Trouble> {
        if self.key_unavailable.get() != 0 {
            return Some(Trouble::EncryptionKeyUnavailable);
        }
        match (self.store_failing.get(), self.kafka_unreachable.get()) {
            (0, 0) => None,
            (0, _) => Some(Trouble::KafkaUnreachable),
            _ => Some(Trouble::StoreFailing),
        }
    }

    /// A manifest was committed.
    pub fn succeeded(&self, now: TimestampMs) {
        self.last_success.set(unix_seconds(now));
    }

    /// The broker could not be asked. Says whether that is new.
    pub fn broker_failed(&self, now: TimestampMs) -> bool {
        self.last_failure.set(unix_seconds(now));
        self.kafka_unreachable.set(1) == 0
    }

    /// Tells why retention is held, if it is.
    pub fn set_retention_held(&self, reason: Option<&'static str>) {
        for known in Held::REASONS {
            self.retention_held.get_or_create(&KindLabel::new(known)).set(i64::from(reason == Some(known)));
        }
    }

    /// Tells how consumer groups stand.
    pub fn set_groups(&self, found: GroupCoverage) {
        for state in GroupCondition::ALL {
            self.groups.get_or_create(&KindLabel::new(state.as_str())).set(i64::from(state == found.state));
        }
    }

    /// Counts the partitions behind.
    pub fn set_behind(&self, reasons: impl Iterator<Item = BehindReason> + Clone) {
        use BehindReason::{Backlog, Corrupt, OpenTransaction, Unreachable};
        for reason in [Backlog, OpenTransaction, Unreachable, Corrupt] {
            let count = reasons.clone().filter(|found| *found == reason).count();
            let gauge = self.behind.get_or_create(&KindLabel::new(reason.as_str()));
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}

/// An instant as metrics tell it.
pub(crate) fn unix_seconds(instant: TimestampMs) -> f64 {
    Duration::from_millis(u64::try_from(instant.get()).unwrap_or(0)).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_month_costs_is_told_by_what_was_asked_of_the_store() {
        let (metrics, start) = (Metrics::new(), TimestampMs::new(1_770_966_000_000));
        let prices = Prices { put: 1.0, get: 0.1, storage: 2.0, received: 0.0 };
        let cost = |kind: &str| metrics.monthly_cost.get(&KindLabel::new(kind)).map(|gauge| gauge.get());
        metrics.set_stored(1 << 30, &prices, start);
        assert_eq!(["storage", "put", "get", "received"].map(cost), [Some(2.0), None, None, None]);
        for kind in [Request::Put, Request::List, Request::Get, Request::Head, Request::Head, Request::Delete] {
            metrics.request(kind);
        }
        metrics.set_stored(2 << 30, &prices, start.plus_millis(3_600_000));
        // Two, and three, an hour; deleting costs nothing.
        assert_eq!(["storage", "put"].map(cost), [Some(4.0), Some(1.46)]);
        assert!(cost("get").is_some_and(|cost| (cost - 0.219).abs() < 1e-9), "{:?}", cost("get"));
        assert_eq!((cost("received"), metrics.storage_bytes.get()), (Some(0.0), 2 << 30));
        // What comes from the store is charged by the GB.
        metrics.received(1 << 30);
        let prices = Prices { received: 0.5, ..prices };
        metrics.set_stored(2 << 30, &prices, start.plus_millis(3_600_000));
        assert_eq!(cost("received"), Some(365.0));
    }
}
