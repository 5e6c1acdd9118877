//! The control plane: custom resources, and the Deployments, CronJobs and Jobs that carry them out. It moves no record.
//!
//! ```text
//! main.rs, cli.rs ─▶ run.rs (composition root) ─▶ leader.rs   one of several acts
//!                                              ├▶ http.rs     health and metrics
//!                                              └▶ controller/ ─▶ strimzi/   what a cluster tells of itself
//!                                                             ─▶ build/     typed objects, pure
//! KafkaBackup, KafkaRestore: api/
//! ```

pub mod api;
pub mod build;
pub mod cli;
pub mod controller;
pub mod http;
pub mod leader;
pub mod manifests;
pub mod metrics;
pub mod run;
pub mod strimzi;
pub mod telemetry;
