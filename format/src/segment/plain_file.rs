//! Row groups as a Parquet file that nobody keeps as a segment: a copy, in the clear, for other tools.
//!
//! Owns: the file, written as row groups come, so that no more than one of them is in memory. Does not own: which rows are in it.
//!
//! Invariants: it has the columns of a segment ([`crate::schema`]), and says in its footer neither runs nor a backup, so that nothing
//! here takes it for one.

use std::fmt;
use std::io::Write;

use parquet::file::writer::SerializedFileWriter;

use super::Error;
use super::encode::{EncodeOptions, EncodedRowGroup};
use super::options::new_file;

/// A file under way.
pub struct PlainFile<W: Write + Send> {
    file: SerializedFileWriter<W>,
}

impl<W: Write + Send> fmt::Debug for PlainFile<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PlainFile({} bytes)", self.file.bytes_written())
    }
}

impl<W: Write + Send> PlainFile<W> {
    /// An empty file.
    ///
    /// # Errors
    /// [`Error::Encode`] where it cannot be begun.
    pub fn new(sink: W, options: &EncodeOptions) -> Result<Self, Error> {
        Ok(Self { file: new_file(sink, options, None)? })
    }

    /// Adds a row group.
    ///
    /// # Errors
    /// [`Error::Encode`]; of the file nothing can be made then.
    pub fn append(&mut self, group: EncodedRowGroup) -> Result<(), Error> {
        let mut writer = self.file.next_row_group().map_err(Error::Encode)?;
        for chunk in group.into_chunks() {
            chunk.append_to(&mut writer).map_err(Error::Encode)?;
        }
        writer.close().map_err(Error::Encode)?;
        Ok(())
    }

    /// Writes the footer, and gives the sink back.
    ///
    /// # Errors
    /// [`Error::Encode`].
    pub fn finish(self) -> Result<W, Error> {
        self.file.into_inner().map_err(Error::Encode)
    }
}
