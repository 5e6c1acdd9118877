//! The test harness: real servers, the clients that fill and read them, and the program under test.
//!
//! Every server is a value. Making it starts the process on free loopback ports with its data in a temporary
//! directory; dropping it kills the process and removes the data, also when a test panics. Should the test
//! process itself be killed, the kernel kills the servers ([`process`]). Nothing here prints to the terminal.
//!
//! | module | owns |
//! | --- | --- |
//! | [`parts`] | where the installed servers are (`tests/parts/install.sh`) |
//! | [`process`], [`ports`], [`run_dir`], [`wait`] | processes, ports, files and deadlines |
//! | [`network`] | a network of the tests' own |
//! | [`kafka`] | one broker, or a cluster of three |
//! | [`kubernetes`] | a control plane, a node that runs pods, images, and the operator under test |
//! | [`chart`] | the Helm chart, and what is made of it |
//! | [`s3`], [`azure`] | object stores |
//! | [`far_store`] | an S3 server that can be cut off |
//! | [`pod_identity`] | who gives keys for an S3 server for the token of a pod |
//! | [`vault`] | a key service |
//! | [`toxiproxy`], [`front`] | network faults between any two of them, refused requests before an S3 server |
//! | [`certs`] | a CA, broker and client certificates |
//! | [`client`] | fills, reads and changes topics and groups |
//! | [`duckdb`], [`python`], [`trino`], [`spark`] | second readers of what was written |
//! | [`scenario`] | steps that many tests share, one broker for a test binary |
//! | [`streamer`], [`backup`] | the streamer under test, and what it left in the store |
//! | [`sealing`] | whether that is encrypted |
//! | [`binary`] | the program under test |
//! | [`http`], [`metrics`] | a minimal HTTP client for control and metrics endpoints, and which metrics moved |
//! | [`demo`] | `make demo` |

pub mod azure;
pub mod backup;
pub mod binary;
pub mod certs;
pub mod chart;
pub mod client;
pub mod demo;
pub mod duckdb;
pub mod far_store;
pub mod front;
pub mod http;
pub mod kafka;
pub mod kubernetes;
pub mod metrics;
pub mod network;
pub mod parts;
pub mod past;
pub mod pod_identity;
pub mod ports;
pub mod process;
pub mod python;
pub mod restore;
pub mod run_dir;
pub mod s3;
pub mod scenario;
pub mod sealing;
pub mod spark;
pub mod streamer;
pub mod toxiproxy;
pub mod trino;
pub mod vault;
pub mod wait;
