//! Which partition a record goes to where a topic is spread over another number of partitions. Pure.
//!
//! As the Java client's default partitioner does for keys (`org.apache.kafka.common.utils.Utils.murmur2`), so that producers
//! and the restore agree about where a key lives.

use strimzi_backup_format::ids::PartitionId;

/// The partition of `partitions` for a record with `key` that comes from partition `source`. Records without a key stay
/// together by their source.
pub fn partition(key: Option<&[u8]>, source: PartitionId, partitions: u32) -> PartitionId {
    let hash = key.map_or(source.get().unsigned_abs(), |key| murmur2(key) & 0x7fff_ffff);
    PartitionId::new(i32::try_from(hash % partitions.max(1)).unwrap_or(0))
}

fn murmur2(bytes: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let (words, rest) = bytes.as_chunks::<4>();
    let mixed = words.iter().fold(SEED ^ length, |hash, word| {
        let word = u32::from_le_bytes(*word).wrapping_mul(M);
        hash.wrapping_mul(M) ^ (word ^ (word >> 24)).wrapping_mul(M)
    });
    let tail = rest.iter().rev().fold(0, |tail, byte| (tail << 8) | u32::from(*byte));
    let hash = if rest.is_empty() { mixed } else { (mixed ^ tail).wrapping_mul(M) };
    let hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the tests of the Java client, `UtilsTest.testMurmur2`.
    #[test]
    fn hashes_as_the_java_client_does() {
        let cases: [(&[u8], i32); 6] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            (b"abc", 479_470_107),
        ];
        for (key, hash) in cases {
            assert_eq!(murmur2(key).cast_signed(), hash, "{}", String::from_utf8_lossy(key));
        }
    }

    #[test]
    fn records_without_a_key_stay_together() {
        let of = |source| partition(None, PartitionId::new(source), 3).get();
        assert_eq!([of(0), of(1), of(2), of(3)], [0, 1, 2, 0]);
    }
}
