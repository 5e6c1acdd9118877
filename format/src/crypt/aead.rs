//! AES-256-GCM as everything here uses it: a nonce before, a tag behind.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand;

use super::Error;

/// Bytes of a nonce.
pub(crate) const NONCE_BYTES: usize = NONCE_LEN;

const TAG_BYTES: usize = 16;

/// By how much sealed bytes are more than plain ones.
pub(crate) const SEAL_BYTES: usize = NONCE_BYTES + TAG_BYTES;

/// A key that seals and opens.
#[derive(Debug)]
pub(crate) struct Cipher(LessSafeKey);

impl Cipher {
    /// Takes a key.
    ///
    /// # Errors
    /// [`Error::Refused`], for want of memory.
    pub(crate) fn new(key: &[u8; 32]) -> Result<Self, Error> {
        let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_| Error::Refused("take a key"))?;
        Ok(Self(LessSafeKey::new(key)))
    }

    /// Adds nonce, ciphertext and tag of `plain` to `out`. The nonce is random: of one key, 2³² seals are the most that NIST SP 800-38D
    /// allows, one in each second for 136 years.
    ///
    /// # Errors
    /// [`Error::NoRandomness`]; [`Error::Refused`] where there are more than 64 GiB.
    pub(crate) fn seal(&self, aad: &[u8], plain: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        self.seal_under(random()?, aad, plain, out)
    }

    /// The same under a nonce of the caller's, under which this key seals nothing else.
    ///
    /// # Errors
    /// [`Error::Refused`] where there are more than 64 GiB.
    pub(crate) fn seal_under(
        &self,
        nonce: [u8; NONCE_BYTES],
        aad: &[u8],
        plain: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        out.extend_from_slice(&nonce);
        let text = out.len();
        out.extend_from_slice(plain);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let sealed = self.0.seal_in_place_separate_tag(nonce, Aad::from(aad), &mut out[text..]);
        out.extend_from_slice(sealed.map_err(|_| Error::Refused("seal so many bytes"))?.as_ref());
        Ok(())
    }

    /// Opens what [`Cipher::seal`] added, into as many bytes as it was; `None` where it was not sealed by this key with this `aad`, as
    /// it is.
    pub(crate) fn open(&self, aad: &[u8], sealed: &[u8], plain: &mut [u8]) -> Option<()> {
        let (nonce, rest) = sealed.split_first_chunk::<NONCE_BYTES>()?;
        let (text, tag) = rest.split_last_chunk::<TAG_BYTES>()?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        self.0.open_separate_gather(nonce, Aad::from(aad), text, tag, plain).ok()
    }
}

/// Random bytes of the operating system.
///
/// # Errors
/// [`Error::NoRandomness`].
pub(crate) fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| Error::NoRandomness)?;
    Ok(bytes)
}
