//! The control plane: custom resources, and the Deployments, CronJobs and Jobs that carry them out. It moves no record.
//!
//! ```text
//! KafkaBackup, KafkaRestore (api/) ─▶ controller/ ─▶ dereference: strimzi/, Secrets
//!                                                 ─▶ build/: typed objects, pure
//!                                                 ─▶ apply, status
//! ```

pub mod api;
pub mod build;
pub mod cli;
pub mod controller;
pub mod strimzi;
