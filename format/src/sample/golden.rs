//! The golden files, which releases wrote: read for ever, added to, never changed.

#![allow(clippy::panic, reason = "for tests alone")]

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::PathBuf;

use bytes::Bytes;

fn path(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/golden", name].iter().collect()
}

/// The bytes of the one of that name.
pub fn read(name: &str) -> Bytes {
    let whence = "it belongs to the repository, where the ignored tests write_golden_… write those that are new";
    fs::read(path(name)).unwrap_or_else(|error| panic!("the golden file {name}: {error}; {whence}")).into()
}

/// Writes one that is new. What exists stays as it is.
pub fn create(name: &str, bytes: &[u8]) {
    match File::create_new(path(name)) {
        Ok(mut file) => file.write_all(bytes).expect("written"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{name}: {error}"),
    }
}
