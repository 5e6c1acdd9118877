//! Pages that are compressed, by whoever comes to them first.
//!
//! An encoder compresses what it is given. Where encoders are behind, the thread that fills pages would only wait for them; it
//! compresses each page then as soon as it is full, while its bytes are in that core's cache. Either way the bytes are the same.

use std::fmt;
use std::io;

use bytes::Bytes;
use parquet::errors::ParquetError;

use super::compress::Compressor;
use super::page::PlainPage;
use crate::segment::Error;
use crate::segment::encode::{Codec, EncodeOptions};

/// A compressed page, without its header.
#[derive(Clone, Debug)]
pub(crate) struct PackedPage {
    pub(crate) bytes: Bytes,
    pub(crate) codec: Codec,
    pub(crate) rows: usize,
    /// Bytes before compression.
    pub(crate) unpacked: usize,
    /// Bytes of the values without their lengths.
    pub(crate) value_bytes: usize,
}

/// A page of a batch.
#[derive(Clone, Debug)]
pub(crate) enum FilledPage {
    Plain(PlainPage),
    /// Which was full.
    Packed(PackedPage),
}

impl FilledPage {
    /// Bytes allocated.
    pub(crate) fn memory(&self) -> usize {
        match self {
            Self::Plain(page) => page.memory(),
            Self::Packed(page) => page.bytes.len(),
        }
    }
}

/// Compresses pages for segments of one codec, one after the other.
pub struct Packer {
    codec: Codec,
    compressor: Compressor,
}

impl fmt::Debug for Packer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Packer({})", self.codec)
    }
}

impl Packer {
    /// For segments of these options, and no others.
    ///
    /// # Errors
    /// [`Error::Encode`] where the codec refuses its settings.
    pub fn new(options: &EncodeOptions) -> Result<Self, Error> {
        Self::of(options.codec).map_err(|error| Error::Encode(error.into()))
    }

    pub(crate) fn of(codec: Codec) -> io::Result<Self> {
        Ok(Self { codec, compressor: Compressor::new(codec)? })
    }

    /// Compresses a page, which stays as it is.
    pub(crate) fn pack(&mut self, page: &mut PlainPage) -> io::Result<PackedPage> {
        let (codec, rows, value_bytes) = (self.codec, page.rows(), page.value_bytes());
        let plain = page.with_levels();
        let bytes = self.compressor.compress(plain)?.into();
        Ok(PackedPage { bytes, codec, rows, unpacked: plain.len(), value_bytes })
    }

    /// Fails for a page of another codec.
    pub(crate) fn check(&self, page: &PackedPage) -> Result<(), ParquetError> {
        if page.codec == self.codec {
            return Ok(());
        }
        let text = format!("a page for a segment with {} was compressed with {}", self.codec, page.codec);
        Err(ParquetError::General(text))
    }
}
