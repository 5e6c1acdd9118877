//! Sums of the digests of segments: two lists are the same where their sums are, whatever their length.

use strimzi_backup_format::checksum::Sha256;
use strimzi_backup_format::manifest::Segment;

/// A sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    /// How many segments it is of.
    pub(super) segments: u64,
    lanes: [u64; 4],
}

impl Sum {
    /// Adds one, whatever its place.
    pub(super) fn add(&mut self, segment: &Segment) {
        self.add_bytes(&encoded(segment));
    }

    /// Adds one with its place: order matters.
    pub(super) fn append(&mut self, segment: &Segment) {
        let mut bytes = encoded(segment);
        bytes.extend_from_slice(&self.segments.to_le_bytes());
        self.add_bytes(&bytes);
    }

    fn add_bytes(&mut self, bytes: &[u8]) {
        let digest = Sha256::of(bytes);
        let words = digest.as_bytes().chunks_exact(8).map(|word| word.try_into().map_or(0, u64::from_le_bytes));
        for (lane, word) in self.lanes.iter_mut().zip(words) {
            *lane = lane.wrapping_add(word);
        }
        self.segments += 1;
    }
}

/// A segment is text keys and finite numbers, which is all that serde_json asks for.
fn encoded(segment: &Segment) -> Vec<u8> {
    serde_json::to_vec(segment).unwrap_or_default()
}
