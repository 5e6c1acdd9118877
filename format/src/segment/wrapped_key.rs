//! The wrapped data key of an encrypted file: what stands before its footer, in the clear, for whoever is to open it.
//!
//! Owns: finding it in the end of a file. Does not own: unwrapping it ([`crate::crypt::KeyRing`]), or reading the file, which asks for the
//! key by itself ([`super::footer`]).

use super::Error;
use super::footer::{MAX_FOOTER_BYTES, SEALED_MAGIC, TAIL_BYTES, check_limit};
use super::sealed::CryptoMetadata;

/// The key metadata in the last bytes of an encrypted file, as [`crate::crypt::KeyRing::open_file`] takes it.
///
/// # Errors
/// [`Error::TailTooShort`] where `tail` does not reach back far enough; [`Error::NotEncrypted`]; [`Error::Damaged`] or
/// [`Error::TooLarge`].
pub fn key_metadata(tail: &[u8]) -> Result<Vec<u8>, Error> {
    let Some((rest, end)) = tail.split_last_chunk::<TAIL_BYTES>() else {
        return Err(Error::TailTooShort { needed: TAIL_BYTES as u64 });
    };
    let [a, b, c, d, magic @ ..] = end;
    if magic != SEALED_MAGIC {
        return Err(Error::NotEncrypted);
    }
    let len = u32::from_le_bytes([*a, *b, *c, *d]);
    check_limit("footer bytes", u64::from(len), MAX_FOOTER_BYTES)?;
    let Some(at) = rest.len().checked_sub(len as usize) else {
        return Err(Error::TailTooShort { needed: u64::from(len) + TAIL_BYTES as u64 });
    };
    Ok(CryptoMetadata::read(&rest[at..])?.key_metadata.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_that_is_too_short_or_of_no_encrypted_file_is_told() {
        assert!(matches!(key_metadata(b"PARE"), Err(Error::TailTooShort { needed: 8 })));
        assert!(matches!(key_metadata(b"\x01\0\0\0PAR1"), Err(Error::NotEncrypted)));
        assert!(matches!(key_metadata(b"\x40\x01\0\0PARE"), Err(Error::TailTooShort { needed: 328 })));
        assert!(matches!(key_metadata(b"\xff\xff\xff\xffPARE"), Err(Error::TooLarge { .. })));
        assert!(key_metadata(b"\0\x01\0\0\0PARE").is_err(), "no key in it");
    }
}
