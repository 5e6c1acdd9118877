//! What Kafka does to a reader: retention, deleted and re-created topics, truncated logs, transactions, brokers that go.

mod brokers;
mod losses;
mod lives;
mod records;
mod truncation;
