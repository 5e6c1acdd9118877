//! The data plane of a backup: streaming a Kafka cluster into object storage, and looking at what is there.
//!
//! ```text
//! main.rs, cli/  ─▶ app.rs (composition root) ─▶ stream/   the loop: cut, encode, upload, commit
//!                                                ├─ source/    what is fetched, which life of a topic, positions
//!                                                ├─ pipeline/  cut policy, encoding, uploading
//!                                                └─ kafka/     the only user of librdkafka
//!                ├▶ restore/   from the store back into a Kafka cluster
//!                ├▶ report.rs  how it stands, into the status of a resource in Kubernetes
//!                ├▶ keys/      what opens the store of an encrypted backup, before any of them
//!                └▶ inspect.rs, segments.rs, snapshot.rs, export/, verify/   the store alone
//! ```

pub mod app;
pub mod base;
pub mod budget;
pub mod claim;
pub mod cli;
pub mod clock;
pub mod cost;
pub mod destroy;
pub mod error;
pub mod export;
pub mod groups;
pub mod http;
pub mod inspect;
pub mod kafka;
pub mod keys;
pub mod metrics;
pub mod pipeline;
pub mod prune;
pub mod refine;
pub mod rekey;
pub mod report;
pub mod restore;
pub mod retire;
pub mod salvage;
pub mod segments;
pub mod snapshot;
pub mod source;
pub mod status;
pub mod stream;
pub mod telemetry;
pub mod thread;
pub mod verify;
