//! Compression of whole pages, as Parquet defines each codec.
//!
//! The Parquet crate has the same behind a private interface; it decides what a reader accepts, and the tests read every
//! codec back through it.

use std::io::Write as _;

use flate2::write::GzEncoder;

use crate::segment::encode::Codec;

/// Compresses page after page, in one context where the codec has one.
pub(crate) enum Compressor {
    None,
    Gzip(flate2::Compression),
    Snappy(Box<snap::raw::Encoder>),
    Lz4,
    Zstd(zstd::bulk::Compressor<'static>),
}

impl Compressor {
    pub(crate) fn new(codec: Codec) -> std::io::Result<Self> {
        Ok(match codec {
            Codec::None => Self::None,
            Codec::Gzip(level) => Self::Gzip(flate2::Compression::new(level)),
            Codec::Snappy => Self::Snappy(Box::new(snap::raw::Encoder::new())),
            Codec::Lz4 => Self::Lz4,
            Codec::Zstd(level) => Self::Zstd(zstd::bulk::Compressor::new(level)?),
        })
    }

    /// The page, compressed, in no more memory than it takes.
    pub(crate) fn compress(&mut self, plain: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut packed = match self {
            Self::None => plain.to_vec(),
            Self::Gzip(level) => {
                let mut encoder = GzEncoder::new(Vec::new(), *level);
                encoder.write_all(plain)?;
                encoder.finish()?
            }
            Self::Snappy(encoder) => encoder.compress_vec(plain).map_err(std::io::Error::other)?,
            // LZ4_RAW: a block without a frame.
            Self::Lz4 => lz4_flex::block::compress(plain),
            Self::Zstd(compressor) => compressor.compress(plain)?,
        };
        packed.shrink_to_fit();
        Ok(packed)
    }
}
