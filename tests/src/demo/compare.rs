//! Both sides of the demo, record by record: the segments through the format's reader, Kafka through another consumer.

use std::path::Path;

use anyhow::{Result, ensure};
use sha2::{Digest as _, Sha256};

use super::number;
use super::shop::{Sold, TOPICS, Topics};
use crate::backup::{Backup, same};
use crate::client::{KafkaClient, ReadRecord};

/// Compares every topic, prints a line for each, and gives the number of records.
pub(super) fn all(backup: &Path, client: &KafkaClient, topics: &Topics, sold: &Sold) -> Result<usize> {
    let backup = Backup::open(backup)?;
    println!("\n{:<14} {:>9} {:>9}  SHA-256 over every field of every record", "topic", "Kafka", "backup");
    let mut compared = 0;
    for topic in TOPICS.map(|topic| topic.name) {
        let name = topics.name(topic);
        let held = backup.records(&name, 0)?;
        let read = client.read_all(&name)?;
        let (left, right) = (digest(&read), digest(&held));
        let sign = if left == right { "=" } else { "≠" };
        let counts = format!("{:>9} {:>9}", number(read.len()), number(held.len()));
        println!("{topic:<14} {counts}  {left} {sign} {right}{}", oddities(&held));
        let confirmed = sold.records.get(topic).copied().unwrap_or_default();
        ensure!(read.len() == confirmed, "{name}: Kafka confirmed {confirmed} records and gives {}", read.len());
        compared += same(&held, &read, &name)?;
        ensure!(left == right, "{name}: equal records with different digests");
    }
    Ok(compared)
}

/// The first digits of a digest over every field; null and empty differ.
fn digest(records: &[ReadRecord]) -> String {
    let mut digest = Sha256::new();
    let mut bytes = |value: Option<&[u8]>| {
        digest.update(value.map_or(-1, |value| value.len() as i64).to_le_bytes());
        digest.update(value.unwrap_or_default());
    };
    for record in records {
        bytes(Some(&record.partition.to_le_bytes()));
        bytes(Some(&record.offset.to_le_bytes()));
        bytes(Some(&record.timestamp.to_le_bytes()));
        bytes(Some(record.timestamp_type.as_bytes()));
        bytes(record.key.as_deref());
        bytes(record.value.as_deref());
        bytes(Some(&record.headers.len().to_le_bytes()));
        for (key, value) in &record.headers {
            bytes(Some(key));
            bytes(value.as_deref());
        }
    }
    digest.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

/// What is not plain about the records of a topic.
fn oddities(records: &[ReadRecord]) -> String {
    let count = |is: fn(&ReadRecord) -> bool| records.iter().filter(|record| is(record)).count();
    let kinds = [
        ("tombstones", count(|record| record.value.is_none())),
        ("null keys", count(|record| record.key.is_none())),
        ("empty keys", count(|record| record.key.as_deref() == Some(b""))),
        ("empty values", count(|record| record.value.as_deref() == Some(b""))),
        ("null header values", count(|record| record.headers.iter().any(|(_, value)| value.is_none()))),
        ("raw header keys", count(|record| record.headers.iter().any(|(key, _)| str::from_utf8(key).is_err()))),
    ];
    let named = kinds.iter().filter(|(_, count)| *count > 0);
    named.map(|(name, count)| format!("  {} {name}", number(*count))).collect()
}
