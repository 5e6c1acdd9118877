//! Every librdkafka property that matters here, set explicitly, each with its reason.
//!
//! Owns: the values. Does not own: reading secrets ([`super::credentials`]), or which properties a user may override (the
//! job document's allow list; those come last and win). A pure function of its arguments.
//!
//! **Memory.** librdkafka fetches until its queue holds `queued.max.messages.kbytes` or `queued.min.messages` (both are
//! for the whole client, however many partitions), and each broker's answer under way comes on top. So the client holds
//! at most about `queue_bytes + brokers × fetch.max.bytes`, as sent by the brokers; decompression can multiply the latter,
//! which is why a fetch is kept to an eighth of the queue. A single record batch larger than a fetch is sent all the
//! same, up to `receive.message.max.bytes`.

use std::time::Duration;

use strimzi_backup_format::job::{Authentication, Cluster, ScramMechanism};

use super::credentials::Credentials;

/// What the pipeline decides about the client.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// How much the client may have fetched and not yet handed over, in bytes. 1 KiB to 2 TiB.
    pub queue_bytes: u64,
    /// How long a broker may wait for `fetch_min_bytes` to come together. It delays only topics with little traffic, by
    /// at most this much.
    pub fetch_wait: Duration,
    /// How many bytes a broker gathers before it answers. More than 1, or a thousand quiet partitions cost a request for
    /// each record.
    pub fetch_min_bytes: u32,
    /// How often partition leaders and deleted topics are looked up, if nothing fails. 1 s to 1 h.
    pub metadata_interval: Duration,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            queue_bytes: 64 << 20,
            fetch_wait: Duration::from_millis(500),
            fetch_min_bytes: 64 << 10,
            metadata_interval: Duration::from_secs(30),
        }
    }
}

/// What a restore decides about its producer.
#[derive(Clone, Debug)]
pub struct ProducerTuning {
    /// How much may be queued and not yet acknowledged, in bytes of keys, values and headers and what librdkafka needs
    /// beside them. One record may be larger: it then goes alone.
    pub queue_bytes: u64,
    /// How large a batch of records may become before compression. At most the smallest `max.message.bytes` of the
    /// topics that are written, or they refuse batches of records that are each small enough.
    pub batch_bytes: u64,
    /// The largest record that is taken at all. 1 kB to 1 GB.
    pub record_bytes: u64,
    /// How long a batch waits to become full. At a commit nothing waits.
    pub linger: Duration,
    /// After this long without an end the brokers abort a transaction and fence its producer; until then the readers of
    /// the target's committed records wait for a restore that was killed. At most the brokers'
    /// `transaction.max.timeout.ms`, by default 15 min. 1 s and more.
    pub transaction_timeout: Duration,
}

impl Default for ProducerTuning {
    fn default() -> Self {
        Self {
            queue_bytes: 64 << 20,
            batch_bytes: 1_000_000,
            record_bytes: RECEIVE_BYTES,
            linger: Duration::from_millis(20),
            transaction_timeout: Duration::from_secs(300),
        }
    }
}

/// One answer of a broker, if the queue is large.
const FETCH_BYTES_MAX: u64 = 16 << 20;
/// librdkafka raises a smaller one to `message.max.bytes`, so it says what it does.
const FETCH_BYTES_MIN: u64 = 1 << 20;
/// Of one partition in an answer: many partitions then share each answer, rather than one filling it.
const PARTITION_FETCH_BYTES: u64 = 1 << 20;
/// The largest answer that is accepted at all; the largest record batch that can be backed up.
const RECEIVE_BYTES: u64 = 100_000_000;

/// A property and its value. The value may be a secret: there is no `Debug`.
pub(super) type Property = (String, String);

/// All properties in the order in which they are set.
pub(super) fn properties(cluster: &Cluster, credentials: &Credentials, tuning: &Tuning) -> Vec<Property> {
    let mut properties = Vec::new();
    identity(cluster, &mut properties);
    reading(&mut properties);
    fetching(tuning, &mut properties);
    metadata(tuning, &mut properties);
    connection(&mut properties);
    security(cluster, credentials, &mut properties);
    properties.extend(cluster.properties.iter().map(|(name, value)| (name.clone(), value.clone())));
    properties
}

/// The properties of a consumer that only looks at what `group` has committed, and never becomes a member of it.
pub(super) fn group_properties(cluster: &Cluster, credentials: &Credentials, group: &str) -> Vec<Property> {
    let mut properties = properties(cluster, credentials, &Tuning::default());
    set(&mut properties, "group.id", group);
    properties
}

/// The properties of a transactional producer.
pub(super) fn producer_properties(
    cluster: &Cluster,
    credentials: &Credentials,
    transactional_id: &str,
    tuning: &ProducerTuning,
) -> Vec<Property> {
    let mut properties = Vec::new();
    set(&mut properties, "bootstrap.servers", &cluster.bootstrap_servers);
    set(&mut properties, "client.id", "strimzi-backup");
    set(&mut properties, "enable.metrics.push", false);
    metadata(&Tuning::default(), &mut properties);
    connection(&mut properties);
    security(cluster, credentials, &mut properties);
    properties.extend(cluster.properties.iter().map(|(name, value)| (name.clone(), value.clone())));
    // After the user's: what is restored, and that it is whole, does not depend on them.
    transactions(transactional_id, tuning, &mut properties);
    producing(tuning, &mut properties);
    properties
}

/// All of a transaction or nothing of it.
fn transactions(transactional_id: &str, tuning: &ProducerTuning, out: &mut Vec<Property>) {
    let timeout = millis_between(tuning.transaction_timeout, 1_000, 1_000_000_000);
    set(out, "transactional.id", transactional_id);
    // Follows from the id; set so that nothing may take it back.
    set(out, "enable.idempotence", true);
    set(out, "acks", "all");
    // As many as keep their order through retries.
    set(out, "max.in.flight.requests.per.connection", 5);
    // A record is tried as long as its transaction may last: `message.timeout.ms` follows this by itself.
    set(out, "transaction.timeout.ms", timeout);
    // librdkafka wants a request to end before the transaction does.
    set(out, "socket.timeout.ms", (timeout - 100).min(30_000));
    // The default of 100 ms is the time of every small transaction with offsets (measured: 103 against 10 ms).
    set(out, "retry.backoff.ms", 5);
    // A topic that is not there is a fault of the plan.
    set(out, "allow.auto.create.topics", false);
}

/// How records become batches, and how much of them is held.
fn producing(tuning: &ProducerTuning, out: &mut Vec<Property>) {
    let record = tuning.record_bytes.clamp(1_000, 1_000_000_000);
    set(out, "message.max.bytes", record);
    // Bounded by our own count, which has keys and headers too; librdkafka counts values alone. So its bounds are set
    // where they are never met.
    set(out, "queue.buffering.max.messages", 0);
    set(out, "queue.buffering.max.kbytes", (tuning.queue_bytes / 1024 + record / 1024 + 1).min(2_147_483_647));
    set(out, "batch.size", tuning.batch_bytes.clamp(1, record));
    set(out, "batch.num.messages", 100_000);
    // Less than the transaction may last.
    let most = millis_between(tuning.transaction_timeout, 1_000, 120_000) / 2;
    set(out, "linger.ms", millis_between(tuning.linger, 0, most));
    // One thread per broker compresses, so the cheapest codec; and every broker since 0.8 takes it. What a topic stores
    // is its own `compression.type`.
    set(out, "compression.codec", "lz4");
    // Each report has the record's offset.
    set(out, "delivery.report.only.error", false);
}

fn millis_between(time: Duration, least: u64, most: u64) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).clamp(least, most)
}

fn set(properties: &mut Vec<Property>, name: &str, value: impl ToString) {
    properties.push((name.to_owned(), value.to_string()));
}

/// Who we are to the brokers.
fn identity(cluster: &Cluster, out: &mut Vec<Property>) {
    set(out, "bootstrap.servers", &cluster.bootstrap_servers);
    // In the brokers' request logs and quotas.
    set(out, "client.id", "strimzi-backup");
    // Assignment needs the property. The group is never joined and nothing is committed to it, so the name may be the
    // same everywhere and needs no permission; librdkafka's search for its coordinator may fail without harm.
    set(out, "group.id", "strimzi-backup");
    // Without members there is no protocol to speak; the classic one does the least.
    set(out, "group.protocol", "classic");
    // The broker would ask for numbers that nobody here collects.
    set(out, "enable.metrics.push", false);
}

/// What counts as a record, and what as an error.
fn reading(out: &mut Vec<Property>) {
    // Positions are in the manifests alone (P1).
    set(out, "enable.auto.commit", false);
    set(out, "enable.auto.offset.store", false);
    // Aborted records are never data; open ones are not yet.
    set(out, "isolation.level", "read_committed");
    // A position outside the log is our decision (a gap, a new lineage), never a silent jump.
    set(out, "auto.offset.reset", "error");
    // The end-of-partition event carries the last stable offset, past markers and aborted records.
    set(out, "enable.partition.eof", true);
    // Corrupt data is never stored as good (A49).
    set(out, "check.crcs", true);
    // Reading must not create topics.
    set(out, "allow.auto.create.topics", false);
    // The caller stops polling while its memory is spent. Only a member of a group is checked for this, and we are none;
    // set to the limit, so that it holds even if that changes.
    set(out, "max.poll.interval.ms", 86_400_000);
}

/// How much is fetched at once, and how far ahead.
fn fetching(tuning: &Tuning, out: &mut Vec<Property>) {
    let fetch = (tuning.queue_bytes / 8).clamp(FETCH_BYTES_MIN, FETCH_BYTES_MAX);
    set(out, "queued.max.messages.kbytes", (tuning.queue_bytes / 1024).clamp(1, 2_097_151));
    // Below this many records the byte limit alone decides. Each record costs librdkafka some hundred bytes beside its
    // own, so the number bounds those.
    set(out, "queued.min.messages", 100_000);
    // The default of 1 s leaves a bounded queue empty most of the time (measured: 78 against 112 MB/s).
    set(out, "fetch.queue.backoff.ms", 10);
    set(out, "fetch.max.bytes", fetch);
    set(out, "fetch.message.max.bytes", PARTITION_FETCH_BYTES.min(fetch));
    set(out, "receive.message.max.bytes", RECEIVE_BYTES);
    set(out, "fetch.wait.max.ms", tuning.fetch_wait.as_millis().min(10_000));
    set(out, "fetch.min.bytes", tuning.fetch_min_bytes.clamp(1, 100_000_000));
    // How long a partition waits after an error, such as a leader that moves.
    set(out, "fetch.error.backoff.ms", 200);
}

/// What is known of the cluster, and how fresh.
fn metadata(tuning: &Tuning, out: &mut Vec<Property>) {
    set(out, "topic.metadata.refresh.interval.ms", tuning.metadata_interval.as_millis().clamp(1_000, 3_600_000));
    // Ask for the assigned topics only: a cluster may have many more.
    set(out, "topic.metadata.refresh.sparse", true);
    // A topic that a broker does not know is reported after this long. The default of 30 s hides a deletion; 0 would
    // report topics that are new and not yet known to all brokers.
    set(out, "topic.metadata.propagation.max.ms", 3_000);
    // When no known broker answers, begin again at the bootstrap servers: all brokers' addresses may have changed.
    set(out, "metadata.recovery.strategy", "rebootstrap");
}

/// How connections are kept.
fn connection(out: &mut Vec<Property>) {
    // A broker that vanished without a word is noticed in half a minute, not in one.
    set(out, "socket.timeout.ms", 30_000);
    set(out, "socket.connection.setup.timeout.ms", 10_000);
    // Firewalls forget quiet connections.
    set(out, "socket.keepalive.enable", true);
    // Requests are small and waited for.
    set(out, "socket.nagle.disable", true);
    set(out, "reconnect.backoff.ms", 100);
    // The default of 10 s is the lag after a broker's restart.
    set(out, "reconnect.backoff.max.ms", 2_000);
    // Brokers close idle connections as a matter of course.
    set(out, "log.connection.close", false);
    // syslog's "info": the rest is for debugging librdkafka itself.
    set(out, "log_level", 6);
    // Nobody reads them; metrics are made from what is delivered.
    set(out, "statistics.interval.ms", 0);
}

fn security(cluster: &Cluster, credentials: &Credentials, out: &mut Vec<Property>) {
    let sasl = match &cluster.authentication {
        Some(Authentication::Scram { mechanism: ScramMechanism::Sha256, .. }) => Some("SCRAM-SHA-256"),
        Some(Authentication::Scram { mechanism: ScramMechanism::Sha512, .. }) => Some("SCRAM-SHA-512"),
        Some(Authentication::Plain { .. }) => Some("PLAIN"),
        Some(Authentication::OauthBearer { .. }) => Some("OAUTHBEARER"),
        Some(Authentication::Tls) | None => None,
    };
    let protocol = match (sasl.is_some(), cluster.tls.is_some()) {
        (false, false) => "plaintext",
        (false, true) => "ssl",
        (true, false) => "sasl_plaintext",
        (true, true) => "sasl_ssl",
    };
    set(out, "security.protocol", protocol);
    if let Some(mechanism) = sasl {
        set(out, "sasl.mechanisms", mechanism);
    }
    if let Some(tls) = &cluster.tls {
        // A certificate of the right CA and the wrong host is somebody else's.
        let algorithm = if tls.verify_hostname { "https" } else { "none" };
        set(out, "ssl.endpoint.identification.algorithm", algorithm);
        set(out, "enable.ssl.certificate.verification", true);
    }
    // Contents, not paths: a file that changes later must not be read half old, half new.
    let secrets = [
        ("ssl.ca.pem", &credentials.ca),
        ("ssl.certificate.pem", &credentials.certificate),
        ("ssl.key.pem", &credentials.key),
        ("ssl.key.password", &credentials.key_password),
        ("sasl.username", &credentials.username),
        ("sasl.password", &credentials.password),
    ];
    for (name, value) in secrets {
        if let Some(value) = value {
            set(out, name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::ffi::{Conf, PropertyFault};
    use std::collections::BTreeMap;
    use std::path::PathBuf;
    use strimzi_backup_format::job::{Tls, Username};

    fn cluster() -> Cluster {
        Cluster {
            bootstrap_servers: "localhost:1".to_owned(),
            tls: None,
            authentication: None,
            properties: BTreeMap::new(),
        }
    }

    fn value(properties: &[Property], name: &str) -> Option<String> {
        properties.iter().rev().find(|(found, _)| found == name).map(|(_, value)| value.clone())
    }

    fn tls() -> Tls {
        Tls {
            ca_files: Vec::new(),
            certificate_file: None,
            key_file: None,
            key_password_file: None,
            verify_hostname: true,
        }
    }

    #[test]
    fn librdkafka_takes_every_property_at_the_edges_of_tuning() {
        let small = Tuning {
            queue_bytes: 0,
            fetch_wait: Duration::ZERO,
            fetch_min_bytes: 0,
            metadata_interval: Duration::ZERO,
        };
        let large = Tuning {
            queue_bytes: u64::MAX,
            fetch_wait: Duration::MAX,
            fetch_min_bytes: u32::MAX,
            metadata_interval: Duration::MAX,
        };
        for tuning in [Tuning::default(), small, large] {
            let mut conf = Conf::new();
            for (name, value) in properties(&cluster(), &Credentials::default(), &tuning) {
                assert_eq!(conf.set(&name, &value), Ok(()), "{name}={value}");
            }
            assert!(conf.into_client(None).is_ok());
        }
    }

    #[test]
    fn security_follows_the_job() {
        let scram = Authentication::Scram {
            mechanism: ScramMechanism::Sha512,
            username: Username::Literal("u".to_owned()),
            password_file: PathBuf::new(),
        };
        for (tls, authentication, protocol) in [
            (None, None, "plaintext"),
            (Some(tls()), Some(Authentication::Tls), "ssl"),
            (None, Some(scram.clone()), "sasl_plaintext"),
            (Some(tls()), Some(scram), "sasl_ssl"),
        ] {
            let cluster = Cluster { tls, authentication, ..cluster() };
            let properties = properties(&cluster, &Credentials::default(), &Tuning::default());
            assert_eq!(value(&properties, "security.protocol").as_deref(), Some(protocol));
        }
    }

    #[test]
    fn hostnames_are_verified_unless_told_otherwise() {
        for (verify_hostname, algorithm) in [(true, "https"), (false, "none")] {
            let cluster = Cluster { tls: Some(Tls { verify_hostname, ..tls() }), ..cluster() };
            let properties = properties(&cluster, &Credentials::default(), &Tuning::default());
            assert_eq!(value(&properties, "ssl.endpoint.identification.algorithm").as_deref(), Some(algorithm));
            assert_eq!(value(&properties, "enable.ssl.certificate.verification").as_deref(), Some("true"));
        }
    }

    #[test]
    fn a_users_property_comes_last() {
        let properties_of_user = BTreeMap::from([("client.rack".to_owned(), "a".to_owned())]);
        let cluster = Cluster { properties: properties_of_user, ..cluster() };
        let properties = properties(&cluster, &Credentials::default(), &Tuning::default());
        assert_eq!(properties.last().map(|(name, _)| name.as_str()), Some("client.rack"));
    }

    #[test]
    fn a_bad_property_is_an_answer_and_not_its_value() {
        let mut conf = Conf::new();
        assert_eq!(conf.set("no.such.property", "secret"), Err(PropertyFault::Unknown));
        assert_eq!(conf.set("fetch.min.bytes", "secret"), Err(PropertyFault::Invalid));
    }
}
