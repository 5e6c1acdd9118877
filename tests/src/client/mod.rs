//! Fills, reads and changes topics and groups, on rdkafka.

mod admin;
mod consume;
mod produce;
mod raw;

use rdkafka::ClientConfig;

pub use consume::{GroupMember, GroupProtocol, ReadRecord, read_all};
pub use produce::{Producer, Record};
pub use raw::set_topic_config;

/// A header: any bytes as its key, and a value that may be null.
pub type Header = (Vec<u8>, Option<Vec<u8>>);

/// Where a Kafka is and how to reach it. Each operation makes a client of its own, so that none sees another's
/// cached metadata.
#[derive(Debug, Clone)]
pub struct KafkaClient {
    properties: Vec<(String, String)>,
}

impl KafkaClient {
    /// A client of a plain listener.
    pub fn new(bootstrap: &str) -> KafkaClient {
        KafkaClient { properties: Vec::new() }.property("bootstrap.servers", bootstrap)
    }

    /// Adds or replaces a librdkafka property.
    #[must_use]
    pub fn property(mut self, key: &str, value: &str) -> KafkaClient {
        self.properties.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Kafka in librdkafka's terms.
    pub(crate) fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        // Tests stop brokers: librdkafka's complaints about that would fill the terminal.
        config.set("log_level", "0").set("reconnect.backoff.ms", "20").set("reconnect.backoff.max.ms", "200");
        for (key, value) in &self.properties {
            config.set(key, value);
        }
        config
    }
}
