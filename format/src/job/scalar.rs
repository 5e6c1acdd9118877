//! One value of the document as it stands there, kept as text until [`super::resolve()`] judges it, so that a bad size or
//! duration is one fault among the others and not the end of the reading.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A number, a truth value or a text.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Scalar(String);

impl Scalar {
    /// A scalar of that text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, without surrounding blanks.
    pub fn as_str(&self) -> &str {
        self.0.trim()
    }

    /// A number of bytes: plain, or with one of the suffixes `Ki Mi Gi Ti` (powers of 1024, also as `KiB MiB GiB TiB`) or
    /// `k M G T` (of 1000).
    pub(super) fn bytes(&self) -> Option<u64> {
        let text = self.as_str();
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, suffix) = text.split_at(digits);
        let factor: u64 = match suffix.trim_start() {
            "" => 1,
            "k" => 1_000,
            "M" => 1_000_000,
            "G" => 1_000_000_000,
            "T" => 1_000_000_000_000,
            "Ki" | "KiB" => 1 << 10,
            "Mi" | "MiB" => 1 << 20,
            "Gi" | "GiB" => 1 << 30,
            "Ti" | "TiB" => 1 << 40,
            _ => return None,
        };
        number.parse::<u64>().ok()?.checked_mul(factor)
    }

    /// A duration with its unit: `200ms`, `5s`, `1m 30s`.
    pub(super) fn duration(&self) -> Option<Duration> {
        humantime::parse_duration(self.as_str()).ok()
    }

    /// A whole number.
    pub(super) fn integer(&self) -> Option<i64> {
        self.as_str().parse().ok()
    }
}

impl fmt::Debug for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl serde::de::Visitor<'_> for Visitor {
            type Value = Scalar;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, a text, true or false")
            }

            fn visit_bool<E>(self, value: bool) -> Result<Scalar, E> {
                Ok(Scalar::new(value.to_string()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Scalar, E> {
                Ok(Scalar::new(value.to_string()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Scalar, E> {
                Ok(Scalar::new(value.to_string()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Scalar, E> {
                Ok(Scalar::new(value.to_string()))
            }

            fn visit_str<E>(self, value: &str) -> Result<Scalar, E> {
                Ok(Scalar::new(value))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}
