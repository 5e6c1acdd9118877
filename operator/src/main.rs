//! `strimzi-backup-operator`: the control plane's one binary.

fn main() {}
