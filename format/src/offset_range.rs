//! Half-open offset ranges `[base, next)` and their arithmetic; the only place that adds one to an offset's end.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::Offset;

/// The offsets from `base` up to, but without, `next`. Never inside out: `base ≤ next`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "RawRange")]
pub struct OffsetRange {
    #[serde(rename = "baseOffset")]
    base: Offset,
    #[serde(rename = "nextOffset")]
    next: Offset,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawRange {
    base_offset: Offset,
    next_offset: Offset,
}

/// A range that would end before it begins, or begin below zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("offset range [{base}, {next}) is inside out or negative")]
pub struct InvalidRange {
    base: Offset,
    next: Offset,
}

impl OffsetRange {
    /// `[base, next)`.
    ///
    /// # Errors
    /// [`InvalidRange`] where `next < base` or `base < 0`.
    pub fn new(base: Offset, next: Offset) -> Result<Self, InvalidRange> {
        if next < base || base.get() < 0 {
            return Err(InvalidRange { base, next });
        }
        Ok(Self { base, next })
    }

    /// The first offset of the range.
    pub const fn base(self) -> Offset {
        self.base
    }

    /// The first offset after the range.
    pub const fn next_offset(self) -> Offset {
        self.next
    }

    /// How many offsets the range spans (records may be fewer: compaction and markers leave holes).
    pub fn span(self) -> u64 {
        u64::try_from(self.next.get() - self.base.get()).unwrap_or(0)
    }

    /// Whether it holds no offset.
    pub fn is_empty(self) -> bool {
        self.base == self.next
    }

    /// Whether `offset` lies in it.
    pub fn contains(self, offset: Offset) -> bool {
        self.base <= offset && offset < self.next
    }
}

impl TryFrom<RawRange> for OffsetRange {
    type Error = InvalidRange;
    fn try_from(raw: RawRange) -> Result<Self, InvalidRange> {
        Self::new(raw.base_offset, raw.next_offset)
    }
}

impl fmt::Display for OffsetRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {})", self.base, self.next)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(base: i64, next: i64) -> OffsetRange {
        OffsetRange::new(Offset::new(base), Offset::new(next)).expect("legal range")
    }

    #[test]
    fn refuses_inside_out_and_negative() {
        assert!(OffsetRange::new(Offset::new(2), Offset::new(1)).is_err());
        assert!(OffsetRange::new(Offset::new(-1), Offset::new(1)).is_err());
        assert!(serde_json::from_str::<OffsetRange>(r#"{"baseOffset":5,"nextOffset":4}"#).is_err());
    }

    proptest! {
        #[test]
        fn a_range_spans_the_offsets_that_it_contains(a in 0..50i64, b in 0..50i64) {
            let x = range(a.min(b), a.max(b));
            prop_assert_eq!(x.span(), (0..50).filter(|o| x.contains(Offset::new(*o))).count() as u64);
        }
    }
}
