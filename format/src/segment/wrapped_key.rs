//! The wrapped data key of an encrypted file: what stands before its footer, in the clear, for whoever is to open it.
//!
//! Owns: finding it in the end of a file. Does not own: unwrapping it ([`crate::crypt::KeyRing`]), or reading the file, which asks for the
//! key by itself ([`super::footer`]).

use super::Error;
use super::footer::{End, SEALED_MAGIC};
use super::sealed::CryptoMetadata;

/// The key metadata in the last bytes of an encrypted file, as [`crate::crypt::KeyRing::open_file`] takes it.
///
/// # Errors
/// [`Error::TailTooShort`] where `tail` does not reach back far enough; [`Error::NotEncrypted`]; [`Error::Damaged`] or
/// [`Error::TooLarge`].
pub fn key_metadata(tail: &[u8]) -> Result<Vec<u8>, Error> {
    let end = End::of(tail)?;
    if end.magic != SEALED_MAGIC {
        return Err(Error::NotEncrypted);
    }
    Ok(CryptoMetadata::read(end.footer()?)?.key_metadata.to_vec())
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
