//! Time buckets: which UTC hour a record is filed under.
//!
//! A partition's bucket is that of the highest timestamp seen so far in it, never beyond the present plus a small tolerance, and
//! never before the one that it had. A record without a timestamp counts as one of the present: Kafka keeps it by the age of its
//! file, too. So buckets never go back as offsets go up, and a late or an absurd timestamp cuts no file. The exact minimum and maximum timestamps of every run say what is really in it; the bucket is only where it is filed.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::TimestampMs;

/// Milliseconds in a bucket: one hour.
pub const BUCKET_MILLIS: i64 = 3_600_000;

/// How far ahead of the writer's clock a timestamp may file its record: clocks of producers differ a little.
pub const FUTURE_TOLERANCE_MILLIS: i64 = 60_000;

/// The last bucket a calendar date exists for: the end of the year 9999.
const LAST: i64 = 253_402_300_799_999 / BUCKET_MILLIS;

/// The instant by which a record is filed that arrives at `now`: its timestamp, or the present where that is negative, which is
/// none.
pub fn filed_by(timestamp: TimestampMs, now: TimestampMs) -> TimestampMs {
    if timestamp < TimestampMs::new(0) { now } else { timestamp }
}

/// One UTC hour, counted from 1970-01-01T00. Never before 1970, never after the year 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct Bucket(i64);

/// A number is no bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no bucket: it must be 0 to {LAST}, in hours since 1970-01-01T00, and none is after the year 9999")]
pub struct NotABucket(i64);

impl TryFrom<i64> for Bucket {
    type Error = NotABucket;

    fn try_from(hours: i64) -> Result<Self, NotABucket> {
        if (0..=LAST).contains(&hours) { Ok(Self(hours)) } else { Err(NotABucket(hours)) }
    }
}

impl From<Bucket> for i64 {
    fn from(bucket: Bucket) -> Self {
        bucket.0
    }
}

impl Bucket {
    /// The bucket that `instant` falls in, clamped to the years 1970 to 9999.
    pub fn of(instant: TimestampMs) -> Self {
        Self(instant.get().div_euclid(BUCKET_MILLIS).clamp(0, LAST))
    }

    /// The bucket of a partition whose highest timestamp so far is `highest`, written at `now`.
    pub fn for_partition(highest: TimestampMs, now: TimestampMs) -> Self {
        Self::of(highest.min(now.plus_millis(FUTURE_TOLERANCE_MILLIS)))
    }

    /// The bucket of a partition that is gone on with at `now`, after records up to `highest`, the last of which were filed under
    /// `filed` where that is not the bucket of the highest: never before the one that they were filed under, whatever the clocks.
    pub fn going_on(highest: TimestampMs, filed: Option<Self>, now: TimestampMs) -> Self {
        filed.map_or(Self::of(highest), |filed| Self::for_partition(highest, now).max(filed))
    }

    /// This one, where it is not what `highest` says, the highest timestamp of its partition: then only who is told goes on with
    /// it.
    pub fn told_beside(self, highest: Option<TimestampMs>) -> Option<Self> {
        Some(self).filter(|filed| Self::of(highest.unwrap_or(TimestampMs::new(0))) != *filed)
    }

    /// The first instant after the bucket.
    pub const fn end(self) -> TimestampMs {
        TimestampMs::new((self.0 + 1) * BUCKET_MILLIS)
    }

    /// `2026-02-13`.
    pub fn date(self) -> String {
        self.time().map_or_else(|| "1970-01-01".to_owned(), |time| time.format("%Y-%m-%d").to_string())
    }

    /// `07`.
    pub fn hour(self) -> String {
        format!("{:02}", self.0.rem_euclid(24))
    }

    /// The bucket of a date and an hour as [`Bucket::date`] and [`Bucket::hour`] write them.
    pub fn parse(date: &str, hour: &str) -> Option<Self> {
        let date = chrono::NaiveDate::parse_from_str(date, "%Y-%m-%d").ok()?;
        let hour: u32 = hour.parse().ok()?;
        let millis = date.and_hms_opt(hour, 0, 0)?.and_utc().timestamp_millis();
        let bucket = Self::of(TimestampMs::new(millis));
        (bucket.0 == millis.div_euclid(BUCKET_MILLIS)).then_some(bucket)
    }

    fn time(self) -> Option<chrono::DateTime<chrono::Utc>> {
        chrono::DateTime::from_timestamp_millis(self.0 * BUCKET_MILLIS)
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}T{}", self.date(), self.hour())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_a_utc_hour_and_round_trips() {
        let bucket = Bucket::of(TimestampMs::new(1_770_966_000_123));
        assert_eq!(bucket.to_string(), "2026-02-13T07");
        assert_eq!(Bucket::parse("2026-02-13", "07"), Some(bucket));
        assert_eq!(Bucket::of(bucket.end()), Bucket::parse("2026-02-13", "08").expect("bucket"));
        assert_eq!(Bucket::parse("2026-02-13", "24"), None);
    }

    #[test]
    fn a52_absurd_timestamps_file_nowhere_absurd() {
        let now = TimestampMs::new(1_770_966_000_000);
        assert_eq!(Bucket::for_partition(TimestampMs::new(i64::MAX), now), Bucket::of(now.plus_millis(60_000)));
        assert_eq!(Bucket::for_partition(TimestampMs::new(-1), now).to_string(), "1970-01-01T00");
        assert_eq!(Bucket::of(TimestampMs::new(i64::MIN)).date(), "1970-01-01");
        assert_eq!(Bucket::of(TimestampMs::new(i64::MAX)).date(), "9999-12-31");
    }

    #[test]
    fn a60_hours_that_no_calendar_has_are_refused() {
        let read = |hours: i64| serde_json::from_str::<Bucket>(&hours.to_string());
        for (hours, date) in [(0, "1970-01-01"), (491_935, "2026-02-13"), (LAST, "9999-12-31")] {
            let bucket = read(hours).expect("an hour");
            assert_eq!(
                (bucket.date().as_str(), serde_json::to_string(&bucket).expect("json")),
                (date, hours.to_string())
            );
            assert!(Bucket::of(bucket.end()) >= bucket);
        }
        for hours in [i64::MIN, -1, LAST + 1, i64::MAX] {
            let error = read(hours).expect_err("no hour").to_string();
            assert!(error.contains(&format!("{hours} is no bucket")), "{error}");
        }
    }

    #[test]
    fn a52_who_goes_on_files_nothing_before_who_came_before_whatever_their_clocks() {
        let full_hour = TimestampMs::new(1_770_966_000_000);
        for behind in [0, 1, 60_000, 86_400_000] {
            for highest in [full_hour, full_hour.plus_millis(59_999), TimestampMs::new(i64::MAX), TimestampMs::new(-1)]
            {
                let before = Bucket::for_partition(highest, full_hour);
                let told = before.told_beside(Some(highest));
                let after = Bucket::going_on(highest, told, full_hour.plus_millis(-behind));
                assert_eq!(before, after, "{behind} ms");
            }
        }
        let ahead = TimestampMs::new(i64::MAX);
        let told = Bucket::for_partition(ahead, full_hour).told_beside(Some(ahead));
        let later = full_hour.plus_millis(3 * BUCKET_MILLIS);
        assert_eq!(Bucket::going_on(ahead, told, later), Bucket::of(later), "the present moves on");
    }

    #[test]
    fn a52_a_record_without_a_timestamp_is_filed_by_the_present_and_so_is_what_follows_it() {
        let now = TimestampMs::new(1_770_966_000_000);
        let by = [-1, i64::MIN, 0, 1].map(|millis| filed_by(TimestampMs::new(millis), now).get());
        assert_eq!(by, [now.get(), now.get(), 0, 1]);
        let (old, filed) = (TimestampMs::new(1_700_000_000_000), Bucket::of(now));
        assert_eq!(
            [old, now, now.plus_millis(BUCKET_MILLIS)].map(|highest| filed.told_beside(Some(highest))),
            [Some(filed), None, Some(filed)],
            "also where the highest is dated ahead"
        );
        assert_eq!((filed.told_beside(None), Bucket::of(TimestampMs::new(0)).told_beside(None)), (Some(filed), None));
        let later = now.plus_millis(2 * BUCKET_MILLIS);
        assert_eq!(Bucket::going_on(old, Some(filed), later), filed);
        assert_eq!(
            Bucket::going_on(later, Some(filed), later),
            Bucket::of(later),
            "the highest timestamp has gone by it"
        );
    }
}
