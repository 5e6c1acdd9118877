//! Kafka's own encoding of a record's headers: how headers that a list of text cannot hold are kept.
//!
//! ```text
//! <count> ( <key length> <key> <value length, −1 for null> <value> )*       all numbers zig-zag varints
//! ```

use bytes::Bytes;

use super::Error;
use crate::record::{Header, HeaderRef};

/// Appends the encoding of `headers` to `out`.
pub(crate) fn encode(headers: &[HeaderRef<'_>], out: &mut Vec<u8>) {
    put_varint(out, length(headers.len()));
    for header in headers {
        put_varint(out, length(header.key.len()));
        out.extend_from_slice(header.key);
        put_varint(out, header.value.map_or(-1, |value| length(value.len())));
        out.extend_from_slice(header.value.unwrap_or_default());
    }
}

fn length(len: usize) -> i64 {
    i64::try_from(len).unwrap_or(i64::MAX)
}

/// Reads what [`encode`] wrote; the headers share its bytes.
pub(crate) fn decode(mut raw: Bytes) -> Result<Vec<Header>, Error> {
    let count = take_length(&mut raw)?.ok_or_else(|| Error::damaged("the number of raw headers is negative"))?;
    // A header takes two bytes at least, so a count beyond that is a lie that must not size an allocation.
    if count > raw.len() / 2 {
        return Err(Error::damaged("more raw headers are announced than there are bytes for"));
    }
    let mut headers = Vec::with_capacity(count);
    for _ in 0..count {
        let key = take_length(&mut raw)?.ok_or_else(|| Error::damaged("a raw header's key is null"))?;
        let key = take_bytes(&mut raw, key)?;
        let value = take_length(&mut raw)?.map(|len| take_bytes(&mut raw, len)).transpose()?;
        headers.push(Header { key, value });
    }
    if raw.is_empty() { Ok(headers) } else { Err(Error::damaged("bytes follow the last raw header")) }
}

fn take_bytes(raw: &mut Bytes, len: usize) -> Result<Bytes, Error> {
    if len > raw.len() {
        return Err(Error::damaged("a raw header is longer than what is left"));
    }
    Ok(raw.split_to(len))
}

/// A length; `None` for −1.
fn take_length(raw: &mut Bytes) -> Result<Option<usize>, Error> {
    let value = take_varint(raw)?;
    if value == -1 {
        return Ok(None);
    }
    usize::try_from(value).map(Some).map_err(|_| Error::damaged("a raw header's length is negative"))
}

#[expect(clippy::cast_sign_loss, reason = "zig-zag moves the sign into bit 0")]
fn put_varint(out: &mut Vec<u8>, value: i64) {
    put_unsigned(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// A number in groups of seven bits, lowest first.
#[expect(clippy::cast_possible_truncation, reason = "the low eight bits are meant")]
pub(crate) fn put_unsigned(out: &mut Vec<u8>, mut bits: u64) {
    while bits >= 0x80 {
        out.push((bits as u8) | 0x80);
        bits >>= 7;
    }
    out.push(bits as u8);
}

fn take_varint(raw: &mut Bytes) -> Result<i64, Error> {
    let mut bits = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = *raw.first().ok_or_else(|| Error::damaged("raw headers end inside a number"))?;
        let _ = raw.split_to(1);
        bits |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok((bits >> 1).cast_signed() ^ -((bits & 1).cast_signed()));
        }
    }
    Err(Error::damaged("a number in raw headers has no end"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_are_kafkas() {
        for (value, bytes) in [(0, vec![0]), (-1, vec![1]), (1, vec![2]), (64, vec![0x80, 1]), (300, vec![0xd8, 4])] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(out, bytes, "{value}");
            assert_eq!(take_varint(&mut out.into()).expect("number"), value);
        }
    }

    #[test]
    fn a60_hostile_headers_are_refused() {
        for raw in
            [&[][..], &[0x80], &[1], &[2], &[2, 1, 1], &[2, 4, b'a'], &[0, 0], &[0xfe, 0xff, 0xff, 0xff, 0xff, 3]]
        {
            assert!(decode(Bytes::copy_from_slice(raw)).is_err(), "{raw:?}");
        }
        assert!(decode(Bytes::from_static(&[0xff; 12])).is_err());
    }
}
