//! From `kubectl apply` to restored records on a real cluster: the operator is a pod of the product's image, and its
//! pods run, under Pod Security `restricted`, beside a real broker and a real S3 server.
//!
//! Takes root: the cluster is in namespaces of its own.

mod examples;
mod faults;
mod image;
mod install;
mod place;
mod sealed;
mod workflow;
mod writers;
