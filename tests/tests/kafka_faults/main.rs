//! What Kafka does to a reader: retention, deleted and re-created topics, truncated logs, transactions, brokers that go.

mod brokers;
mod lives;
mod losses;
mod records;
mod truncation;
