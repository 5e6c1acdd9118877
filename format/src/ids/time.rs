//! Instants as text.

use super::TimestampMs;

impl TimestampMs {
    /// RFC 3339 in UTC to the millisecond, or the bare number where no calendar date exists.
    pub fn to_rfc3339(self) -> String {
        chrono::DateTime::from_timestamp_millis(self.0)
            .map_or_else(|| format!("{} ms", self.0), |time| time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
    }

    /// Reads an RFC 3339 time with zone, to the millisecond: what [`TimestampMs::to_rfc3339`] writes, and the same
    /// instant in any other zone.
    ///
    /// # Errors
    /// [`NotATime`] with what is wrong: a missing or unknown zone, a day that does not exist, a leap second, a fraction
    /// finer than a millisecond, which is refused and not rounded.
    pub fn from_rfc3339(text: &str) -> Result<Self, NotATime> {
        let failed = |why: &str| NotATime { text: text.to_owned(), why: why.to_owned() };
        let time = chrono::DateTime::parse_from_rfc3339(text).map_err(|error| failed(&error.to_string()))?;
        if text.ends_with("-00:00") {
            return Err(failed("-00:00 says that the zone is not known; write Z for UTC"));
        }
        match time.timestamp_subsec_nanos() {
            1_000_000_000.. => Err(failed("a leap second is no instant of its own here; write the second after it")),
            nanos if nanos % 1_000_000 != 0 => Err(failed("record timestamps have milliseconds, and this is finer")),
            _ => Ok(Self(time.timestamp_millis())),
        }
    }

    /// This instant moved by `millis`, saturating.
    #[must_use]
    pub const fn plus_millis(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// Whole milliseconds from `earlier` to this instant; 0 where `earlier` is later.
    pub fn millis_since(self, earlier: Self) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }
}

/// A text is no instant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not an RFC 3339 time with a zone, such as 2026-02-13T07:00:00Z or 2026-02-13T08:00:00.250+01:00: {why}"
)]
pub struct NotATime {
    text: String,
    why: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a75_times_are_rfc_3339_with_a_zone_to_the_millisecond() {
        let read = TimestampMs::from_rfc3339;
        assert_eq!(read("2026-02-13T08:00:00.250+01:00"), Ok(TimestampMs::new(1_770_966_000_250)));
        assert_eq!(read("1969-12-31T23:59:59.999Z"), Ok(TimestampMs::new(-1)));
        for wrong in [
            "2026-02-13",
            "2026-02-13T08:00:00",
            "2026-02-30T08:00:00Z",
            "2026-02-13T08:00:00 CET",
            "2026-02-13T08:00:00-00:00",
            "2026-12-31T23:59:60Z",
            "2026-02-13T08:00:00.0001Z",
            "1770966000000",
            "now",
            "",
        ] {
            let error = read(wrong).expect_err(wrong).to_string();
            assert!(error.contains(&format!("{wrong:?}")) && error.contains("RFC 3339"), "{error}");
        }
    }

    #[test]
    fn timestamps_outside_the_calendar_still_print() {
        assert_eq!(TimestampMs::new(0).to_rfc3339(), "1970-01-01T00:00:00.000Z");
        assert_eq!(TimestampMs::new(i64::MAX).to_rfc3339(), "9223372036854775807 ms");
    }
}
