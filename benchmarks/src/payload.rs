//! Records as services write them: JSON of known words and random ids, which zstd-1 makes about three times smaller.

use std::time::Duration;

use anyhow::Result;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};

const WORDS: [&str; 32] = [
    "order",
    "created",
    "shipped",
    "customer",
    "warehouse",
    "express",
    "standard",
    "pending",
    "invoice",
    "payment",
    "credit",
    "berlin",
    "paris",
    "london",
    "madrid",
    "quantity",
    "discount",
    "priority",
    "gift",
    "return",
    "address",
    "street",
    "carrier",
    "tracking",
    "delivered",
    "failed",
    "retry",
    "region",
    "europe",
    "currency",
    "total",
    "status",
];

/// Makes values of about one size.
#[derive(Debug)]
pub struct Payload {
    rng: SmallRng,
    size: usize,
    text: String,
}

impl Payload {
    /// Values of about `size` bytes, the same for the same seed.
    pub fn new(size: usize, seed: u64) -> Self {
        Self { rng: SmallRng::seed_from_u64(seed), size, text: String::new() }
    }

    /// The next value.
    pub fn value(&mut self) -> &str {
        self.text.clear();
        self.text.push_str(&format!("{{\"id\":\"{:016x}\"", self.rng.random::<u64>()));
        let mut field = 0;
        while self.text.len() + 2 < self.size {
            field += 1;
            let word = WORDS[self.rng.random_range(0..WORDS.len())];
            self.text += &match field % 3 {
                0 => format!(",\"{word}\":{}", self.rng.random_range(0..100_000)),
                1 => format!(",\"{word}\":\"{}\"", WORDS[self.rng.random_range(0..WORDS.len())]),
                _ => format!(",\"{word}Id\":\"{:08x}\"", self.rng.random::<u32>()),
            };
        }
        self.text.truncate(self.size.saturating_sub(1));
        self.text.push('}');
        &self.text
    }
}

/// Fills a topic with `count` records of about `size` bytes, and gives the bytes of keys and values.
///
/// # Errors
/// Where the broker does not take them.
pub fn fill(bootstrap: &str, topic: &str, count: usize, size: usize) -> Result<u64> {
    let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("linger.ms", "50")
        .set("batch.size", "1000000")
        .set("message.max.bytes", "5000000")
        .set("queue.buffering.max.messages", "200000")
        .set("queue.buffering.max.kbytes", "200000")
        .create()?;
    let mut payload = Payload::new(size, 7);
    let mut bytes = 0;
    for number in 0..count {
        let key = format!("key-{number:09}");
        let value = payload.value();
        bytes += (key.len() + value.len()) as u64;
        let mut record = BaseRecord::to(topic).key(&key).payload(value);
        while let Err((error, back)) = producer.send(record) {
            let full = error.rdkafka_error_code() == Some(rdkafka::types::RDKafkaErrorCode::QueueFull);
            anyhow::ensure!(full, "produce: {error}");
            producer.poll(Duration::from_millis(20));
            record = back;
        }
    }
    producer.flush(Duration::from_secs(120))?;
    Ok(bytes)
}
