//! A look at Thrift-encoded page headers and indexes before the Parquet reader may believe them.
//!
//! Owns: the walk over their structures and the limits on what a page announces; how many bytes a header says that follow it; the
//! containment of panics. Does not own: what is inside the pages.
//!
//! The Parquet reader allocates what a page header announces before it looks at the page, so a few bytes could ask for
//! gigabytes for each page. Only three numbers per page matter here; everything else is skipped by its structure.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::Error;
use super::footer::{MAX_ROW_GROUP_BYTES, MAX_ROW_GROUP_VALUES, check_limit};
use super::headers::put_unsigned;

/// How deep the structures of a page header may nest; real ones nest three deep.
pub(crate) const MAX_DEPTH: u8 = 8;

/// Runs `read`, and turns a panic of the Parquet reader into an error. The checks before it leave no way to a panic that
/// we know of, but its decoders index and unwrap on bytes from the file, and a restore must name the damaged segment
/// rather than end the process. Nothing it may have left half done is used again.
pub(crate) fn contain<T>(read: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|_| Err(Error::damaged("the Parquet reader cannot make sense of it")))
}

/// What a page announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Announced {
    pub(crate) dictionary: bool,
    /// Values, those that are null as well.
    pub(crate) values: u64,
    /// Bytes after decompression.
    pub(crate) unpacked: u64,
}

/// Reads the header of a page that is `page` from its first to its last byte.
pub(crate) fn check_page(page: &[u8]) -> Result<Announced, Error> {
    let (header, body) = Header::of(page)?;
    let (Ok(packed), Ok(unpacked)) = (usize::try_from(header.packed), u64::try_from(header.unpacked)) else {
        return Err(Error::damaged("a page announces a negative size"));
    };
    let values = u64::try_from(header.values).map_err(|_| Error::damaged("a page announces a negative count"))?;
    if packed != body.len() {
        return Err(Error::damaged("a page has another size than the page index says"));
    }
    check_limit("page values", values, MAX_ROW_GROUP_VALUES)?;
    check_limit("page bytes", unpacked, MAX_ROW_GROUP_BYTES)?;
    Ok(Announced { dictionary: header.dictionary, values, unpacked })
}

/// Cuts a page into its header and what follows it.
pub(crate) fn split(page: &[u8]) -> Result<(&[u8], &[u8]), Error> {
    let (_, body) = Header::of(page)?;
    Ok(page.split_at(page.len() - body.len()))
}

/// A header that says that `packed` bytes follow it, and else what `header` says.
pub(crate) fn announcing(header: &[u8], packed: usize) -> Result<Vec<u8>, Error> {
    let Range { start, end } = Header::of(header)?.0.packed_at;
    if start == end {
        return Err(Error::damaged("a page does not announce how many bytes it has"));
    }
    let mut changed = Vec::with_capacity(header.len() + 4);
    changed.extend_from_slice(&header[..start]);
    put_unsigned(&mut changed, zig_zag(packed)?);
    changed.extend_from_slice(&header[end..]);
    Ok(changed)
}

/// Has a whole header that says that `found` bytes follow it say that `packed` do, and take up as many bytes as it did.
pub(crate) fn announce_within(header: &mut [u8], found: usize, packed: usize) -> Result<(), Error> {
    let other = || Error::damaged("a page has another size than the page index says");
    let (read, body) = Header::of(header)?;
    if !body.is_empty() || usize::try_from(read.packed) != Ok(found) {
        return Err(other());
    }
    let mut left = zig_zag(packed)?;
    let number = header.get_mut(read.packed_at).ok_or_else(other)?;
    // Seven bits to a byte; one that is not the last says so, and so a number may take more bytes than it needs.
    let last = number.len().saturating_sub(1);
    for (at, byte) in number.iter_mut().enumerate() {
        let [low, ..] = left.to_le_bytes();
        *byte = (low & 0x7f) | if at < last { 0x80 } else { 0 };
        left >>= 7;
    }
    if left == 0 { Ok(()) } else { Err(other()) }
}

/// A length as Thrift has signed numbers.
fn zig_zag(length: usize) -> Result<u64, Error> {
    let limit = u64::from(i32::MAX.unsigned_abs());
    check_limit("page bytes", length as u64, limit)?;
    Ok((length as u64) << 1)
}

/// Fails unless `bytes` begin with a structure that is all there. The Parquet reader allocates as many entries of a page
/// index as its list announces, before it looks for the first.
pub(crate) fn check_structure(mut bytes: &[u8]) -> Result<(), Error> {
    Thrift::new(&mut bytes).skip(Thrift::STRUCT, MAX_DEPTH)
}

/// The fields of a Parquet `PageHeader` that size allocations.
#[derive(Default)]
struct Header {
    unpacked: i64,
    packed: i64,
    /// Where that number stands; nowhere in a header without it.
    packed_at: Range<usize>,
    /// Of whichever kind of page it is.
    values: i64,
    dictionary: bool,
}

impl Header {
    /// The header that a page begins with, and what follows it.
    fn of(page: &[u8]) -> Result<(Self, &[u8]), Error> {
        let (mut header, mut body) = (Self::default(), page);
        header.read(&mut Thrift::new(&mut body), page.len())?;
        Ok((header, body))
    }

    /// Reads one of which it and what follows have `whole` bytes.
    fn read(&mut self, thrift: &mut Thrift<'_, '_>, whole: usize) -> Result<(), Error> {
        let mut id = 0;
        while let Some(kind) = thrift.field(&mut id)? {
            match (id, kind) {
                (2, Thrift::I32) => self.unpacked = thrift.number()?,
                (3, Thrift::I32) => {
                    let start = whole - thrift.left();
                    self.packed = thrift.number()?;
                    self.packed_at = start..whole - thrift.left();
                }
                // The header of a data page, a dictionary page or a second-version data page: values come first.
                (5 | 7 | 8, Thrift::STRUCT) => {
                    self.dictionary = id == 7;
                    self.read_page(thrift)?;
                }
                _ => thrift.skip(kind, MAX_DEPTH)?,
            }
        }
        Ok(())
    }

    fn read_page(&mut self, thrift: &mut Thrift<'_, '_>) -> Result<(), Error> {
        let mut id = 0;
        while let Some(kind) = thrift.field(&mut id)? {
            match (id, kind) {
                (1, Thrift::I32) => self.values = thrift.number()?,
                _ => thrift.skip(kind, MAX_DEPTH)?,
            }
        }
        Ok(())
    }
}

/// Thrift's compact protocol, as far as it takes to skip, and to read bytes.
pub(crate) struct Thrift<'a, 'b> {
    bytes: &'b mut &'a [u8],
}

impl<'a, 'b> Thrift<'a, 'b> {
    const I32: u8 = 5;
    pub(crate) const BINARY: u8 = 8;
    pub(crate) const STRUCT: u8 = 12;

    /// To take from the front of `bytes`.
    pub(crate) fn new(bytes: &'b mut &'a [u8]) -> Self {
        Self { bytes }
    }

    /// How many bytes were not taken yet.
    pub(crate) fn left(&self) -> usize {
        self.bytes.len()
    }

    /// The kind of the next field, whose id replaces `id`; `None` at the end of the structure.
    pub(crate) fn field(&mut self, id: &mut i64) -> Result<Option<u8>, Error> {
        let head = self.byte()?;
        if head == 0 {
            return Ok(None);
        }
        let delta = i64::from(head >> 4);
        *id = if delta == 0 { self.number()? } else { id.saturating_add(delta) };
        Ok(Some(head & 0x0f))
    }

    pub(crate) fn skip(&mut self, kind: u8, depth: u8) -> Result<(), Error> {
        let depth = depth.checked_sub(1).ok_or_else(|| Error::damaged("a page header or index nests too deep"))?;
        match kind {
            1 | 2 => Ok(()), // a boolean, whose value is its kind
            3 => self.byte().map(drop),
            4..=6 => self.varint().map(drop),
            7 => self.take(8).map(drop),
            Self::BINARY => self.binary().map(drop),
            9 | 10 => self.skip_list(depth),
            Self::STRUCT => {
                let mut id = 0;
                while let Some(kind) = self.field(&mut id)? {
                    self.skip(kind, depth)?;
                }
                Ok(())
            }
            // Maps (11) occur nowhere in page headers.
            _ => Err(Error::damaged("a page header or index holds a field of no known kind")),
        }
    }

    fn skip_list(&mut self, depth: u8) -> Result<(), Error> {
        let head = self.byte()?;
        let (kind, short) = (head & 0x0f, u64::from(head >> 4));
        let len = if short == 15 { self.varint()? } else { short };
        for _ in 0..len {
            match kind {
                1 | 2 => self.take(1).map(drop)?, // in a list a boolean is a byte of its own
                kind => self.skip(kind, depth)?,
            }
        }
        Ok(())
    }

    fn byte(&mut self) -> Result<u8, Error> {
        let (first, rest) =
            self.bytes.split_first().ok_or_else(|| Error::damaged("a page header or index is cut short"))?;
        *self.bytes = rest;
        Ok(*first)
    }

    /// Bytes behind their length.
    pub(crate) fn binary(&mut self) -> Result<&'a [u8], Error> {
        let len = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
        self.take(len)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Error> {
        let bytes = *self.bytes;
        let cut = bytes.split_at_checked(len).ok_or_else(|| Error::damaged("a page header or index is cut short"));
        let (taken, rest) = cut?;
        *self.bytes = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, Error> {
        let mut bits = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            bits |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(bits);
            }
        }
        Err(Error::damaged("a number in a page header or index has no end"))
    }

    /// A signed number, zig-zag.
    fn number(&mut self) -> Result<i64, Error> {
        let bits = self.varint()?;
        Ok((bits >> 1).cast_signed() ^ -((bits & 1).cast_signed()))
    }
}
