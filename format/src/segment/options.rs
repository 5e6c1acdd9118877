//! How each column of a segment is written.
//!
//! Owns: codecs, the Parquet settings that measured best, and how the Parquet crate is told to encrypt. Does not own: which rows
//! are written.

use std::fmt;
use std::io::Write;
use std::sync::Arc;

use parquet::basic::{Compression, CompressionCodec, Encoding, GzipLevel, ZstdLevel};
use parquet::encryption::encrypt::FileEncryptionProperties;
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesPtr};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;

use super::Error;
use super::columns::INDEXED_PAGE_ROWS;
use super::plain::page::{PAGE_BYTES, PAGE_ROWS};
use crate::crypt::FileSeal;
use crate::ids::BackupId;
use crate::schema::{STORED, column};

/// How pages are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// Not at all.
    None,
    /// Gzip, level 0 to 9.
    Gzip(u32),
    /// Snappy.
    Snappy,
    /// LZ4 blocks without a frame (`LZ4_RAW`).
    Lz4,
    /// Zstandard, level 1 to 22 (negative ones trade size for speed).
    Zstd(i32),
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Gzip(level) => write!(f, "gzip level {level}"),
            Self::Snappy => f.write_str("snappy"),
            Self::Lz4 => f.write_str("lz4"),
            Self::Zstd(level) => write!(f, "zstd level {level}"),
        }
    }
}

impl Codec {
    pub(crate) fn compression(self) -> Result<Compression, Error> {
        let illegal = |_| Error::IllegalCompression(self);
        Ok(match self {
            Self::None => Compression::UNCOMPRESSED,
            Self::Gzip(level) => Compression::GZIP(GzipLevel::try_new(level).map_err(illegal)?),
            Self::Snappy => Compression::SNAPPY,
            Self::Lz4 => Compression::LZ4_RAW,
            Self::Zstd(level) => Compression::ZSTD(ZstdLevel::try_new(level).map_err(illegal)?),
        })
    }
}

/// How segments of a backup are written. Cheap to clone.
#[derive(Clone, Debug)]
pub struct EncodeOptions {
    properties: WriterPropertiesPtr,
    pub(crate) codec: Codec,
    pub(crate) backup: BackupId,
}

impl EncodeOptions {
    /// The settings of every segment of `backup`, compressed by `codec`.
    ///
    /// # Errors
    /// [`Error::IllegalCompression`] where the codec does not have that level.
    pub fn new(backup: BackupId, codec: Codec) -> Result<Self, Error> {
        let path = |parts: &[&str]| ColumnPath::new(parts.iter().map(|&part| part.to_owned()).collect());
        let mut properties = WriterProperties::builder()
            .set_created_by(format!("strimzi-backup {}", env!("CARGO_PKG_VERSION")))
            .set_compression(codec.compression()?)
            .set_dictionary_enabled(false)
            .set_statistics_enabled(EnabledStatistics::None)
            // Bounds are exact: a truncated one would no longer tell long topic names apart.
            .set_statistics_truncate_length(None)
            .set_column_index_truncate_length(None)
            .set_data_page_size_limit(PAGE_BYTES)
            .set_data_page_row_count_limit(PAGE_ROWS)
            .set_sorting_columns(Some(sorting_columns()));
        for repeated in [path(&["topic"]), path(&["timestamp_type"]), path(&["headers", "list", "element", "key"])] {
            properties = properties.set_column_dictionary_enabled(repeated, true);
        }
        for bounded in ["topic", "partition", "offset", "timestamp"] {
            properties = properties.set_column_statistics_enabled(path(&[bounded]), EnabledStatistics::Page);
        }
        for packed in ["lineage", "partition", "offset", "timestamp"] {
            properties = properties.set_column_encoding(path(&[packed]), Encoding::DELTA_BINARY_PACKED);
        }
        for indexed in ["offset", "timestamp"] {
            properties = properties.set_column_data_page_row_count_limit(path(&[indexed]), INDEXED_PAGE_ROWS);
        }
        Ok(Self { properties: Arc::new(properties.build()), codec, backup })
    }

    /// What footers say of a segment's writer, and of how its pages are compressed.
    pub(crate) fn written_as(&self) -> (&str, CompressionCodec) {
        let compression = self.properties.compression(STORED.column(column::VALUE).path());
        (self.properties.created_by(), compression.into())
    }
}

/// Topic, lineage, partition and offset, which are the first four columns.
fn sorting_columns() -> Vec<SortingColumn> {
    (0..4).map(|column_idx| SortingColumn { column_idx, descending: false, nulls_first: false }).collect()
}

/// One key for footer and columns, and an encrypted footer. The AAD prefix is what a reader knows of itself: of a file that brought
/// its own, nobody could say whether it lies where it was put.
pub(crate) fn encryption(seal: &FileSeal) -> Result<Arc<FileEncryptionProperties>, Error> {
    FileEncryptionProperties::builder(seal.data_key.as_bytes().to_vec())
        .with_footer_key_metadata(seal.key_metadata.clone())
        .with_aad_prefix(seal.aad_prefix.clone())
        .with_aad_prefix_storage(false)
        .build()
        .map_err(Error::Encode)
}

/// A file writer of these settings. With a seal it encrypts what it writes itself: page indexes and footer, and no chunk that is
/// appended.
pub(crate) fn new_file<W: Write + Send>(
    sink: W,
    options: &EncodeOptions,
    seal: Option<&FileSeal>,
) -> Result<SerializedFileWriter<W>, Error> {
    let properties = match seal {
        Some(seal) => {
            let properties = WriterProperties::clone(&options.properties).into_builder();
            Arc::new(properties.with_file_encryption_properties(encryption(seal)?).build())
        }
        None => Arc::clone(&options.properties),
    };
    SerializedFileWriter::new(sink, STORED.root_schema_ptr(), properties).map_err(Error::Encode)
}
