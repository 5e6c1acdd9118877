//! AES-256-GCM as everything here uses it: a nonce before, a tag behind.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand;

use super::Error;

const TAG_BYTES: usize = 16;

/// By how much sealed bytes are more than plain ones.
pub(super) const SEAL_BYTES: usize = NONCE_LEN + TAG_BYTES;

/// A key that seals and opens. Nonces are random: of one key, 2³² seals are the most that NIST SP 800-38D allows, one in each second for
/// 136 years.
#[derive(Debug)]
pub(super) struct Sealer(LessSafeKey);

impl Sealer {
    /// Takes a key.
    ///
    /// # Errors
    /// [`Error::Refused`], for want of memory.
    pub(super) fn new(key: &[u8; 32]) -> Result<Self, Error> {
        let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_| Error::Refused("take a key"))?;
        Ok(Self(LessSafeKey::new(key)))
    }

    /// Adds nonce, ciphertext and tag of `plain` to `out`.
    ///
    /// # Errors
    /// [`Error::NoRandomness`]; [`Error::Refused`] where there are more than 64 GiB.
    pub(super) fn seal(&self, aad: &[u8], plain: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).map_err(|_| Error::NoRandomness)?;
        out.extend_from_slice(&nonce);
        let text = out.len();
        out.extend_from_slice(plain);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let sealed = self.0.seal_in_place_separate_tag(nonce, Aad::from(aad), &mut out[text..]);
        out.extend_from_slice(sealed.map_err(|_| Error::Refused("seal so many bytes"))?.as_ref());
        Ok(())
    }

    /// Opens what [`Sealer::seal`] added, into as many bytes as it was; `None` where it was not sealed by this key with this `aad`, as
    /// it is.
    pub(super) fn open(&self, aad: &[u8], sealed: &[u8], plain: &mut [u8]) -> Option<()> {
        let (nonce, rest) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let (text, tag) = rest.split_last_chunk::<TAG_BYTES>()?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        self.0.open_separate_gather(nonce, Aad::from(aad), text, tag, plain).ok()
    }
}
