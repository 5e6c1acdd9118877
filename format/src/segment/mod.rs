//! Segments: immutable Parquet files of records.
//!
//! Owns: how records become a segment ([`batch`], [`encode`]) and come back ([`footer`], [`decode`]), how row groups move
//! to another one ([`copy`]), and how a segment is sealed ([`modular`]). Does not own: which records go into which segment, where it
//! is stored, which manifest names it, or the keys ([`crate::crypt`]).
//!
//! Invariants: what comes back is byte for byte what was put in (P6); the rows of a row group are sorted by topic, lineage,
//! partition and offset, and over row groups the offsets of each partition go up; the runs in the footer are those of the manifest; reading hostile bytes ends in an error, never in a panic
//! or in memory beyond [`footer::MAX_ROW_GROUP_BYTES`] (P9); a segment of an encrypted backup is never read in the clear, nor one in
//! the clear for one of an encrypted backup.

pub mod batch;
pub(crate) mod checksums;
pub(crate) mod columns;
pub mod copy;
pub mod decode;
pub mod encode;
pub mod footer;
pub(crate) mod headers;
pub(crate) mod modular;
pub(crate) mod options;
pub(crate) mod page_map;
pub(crate) mod pages;
pub(crate) mod pieces;
pub(crate) mod plain;
pub mod plain_file;
pub(crate) mod row_group;
pub(crate) mod rows;
pub(crate) mod run_lengths;
pub(crate) mod run_order;
pub(crate) mod sealed;
pub(crate) mod sealing;
pub mod slice;
#[cfg(test)]
mod tests;
pub mod wrapped_key;

use crate::ids::{Offset, PartitionKey};
use crate::offset_range::OffsetRange;

/// Why a segment could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The caller's runs do not follow each other: a fault of the program, nothing was written.
    #[error("run {range} of {partition} does not come after {previous_range} of {previous}")]
    Unsorted {
        /// The run before.
        previous: PartitionKey,
        /// Its offsets.
        previous_range: OffsetRange,
        /// The run that should come later.
        partition: PartitionKey,
        /// Its offsets.
        range: OffsetRange,
    },
    /// A record lies outside its run, or not after the record before it.
    #[error("offset {offset} of {partition} is outside {range} or not above the offset before it")]
    MisplacedOffset {
        /// The partition.
        partition: PartitionKey,
        /// The run.
        range: OffsetRange,
        /// The record.
        offset: Offset,
    },
    /// A run without a record: holes belong in the manifest.
    #[error("run {range} of {partition} has no record")]
    EmptyRun {
        /// The partition.
        partition: PartitionKey,
        /// The run.
        range: OffsetRange,
    },
    /// What was given, or what a file claims, is beyond what a reader accepts.
    #[error("{what} of {found} exceeds the limit of {limit}")]
    TooLarge {
        /// What.
        what: &'static str,
        /// How much.
        found: u64,
        /// The most.
        limit: u64,
    },
    /// The compression level does not exist.
    #[error("compression {0} does not exist")]
    IllegalCompression(encode::Codec),
    /// The Parquet writer failed.
    #[error("encode segment")]
    Encode(#[source] parquet::errors::ParquetError),
    /// More of the file's end is needed to read its footer.
    #[error("the last {needed} bytes are needed to read the footer")]
    TailTooShort {
        /// How many bytes from the end.
        needed: u64,
    },
    /// A newer release wrote it: upgrade, do not guess.
    #[error(
        "segment schema {found} is newer than the {} this release reads; use a newer release",
        crate::schema::SCHEMA_VERSION
    )]
    NewerSchema {
        /// The version in the footer.
        found: u32,
    },
    /// The bytes are not a segment: cut short, changed, or made by something else.
    #[error("damaged segment: {0}")]
    Damaged(String),
    /// It is in the clear, and its backup is encrypted: somebody put it there.
    #[error("it is not encrypted, and its backup is")]
    NotEncrypted,
    /// It is encrypted, and its backup is not, or was opened as if it were not.
    #[error("it is encrypted, and no key was given")]
    Encrypted,
    /// A part of an encrypted file is not what was sealed at its place.
    #[error("{0} does not open with the key of the file: it was changed, moved, or is of another file or backup")]
    NotAuthentic(String),
    /// The key of the file could not be made, or does not open.
    #[error(transparent)]
    Key(#[from] crate::crypt::Error),
    /// The Parquet reader refused the bytes.
    #[error("damaged segment")]
    Decode(#[source] parquet::errors::ParquetError),
}

impl Error {
    pub(crate) fn damaged(what: impl std::fmt::Display) -> Self {
        Self::Damaged(what.to_string())
    }
}
