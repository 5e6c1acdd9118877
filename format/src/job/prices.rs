//! What a store charges.

use serde::Serialize;

/// A price list, in the currency of whoever writes it. The default is the list price of S3 Standard in us-east-1, in dollars. Nothing
/// but what is told of costs goes by it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Prices {
    /// For 1,000 requests that write or list. Default 0.005.
    pub put: f64,
    /// For 1,000 GET or HEAD requests. Default 0.0004.
    pub get: f64,
    /// For a GB stored over a month. Default 0.023.
    pub storage: f64,
    /// For a GB read from the store. Default 0, as within one region; what comes in costs nothing anywhere.
    pub received: f64,
}

impl Default for Prices {
    fn default() -> Self {
        Self { put: 0.005, get: 0.0004, storage: 0.023, received: 0.0 }
    }
}

/// Reads one price: a number that is not negative.
pub fn parse_price(text: &str) -> Option<f64> {
    text.trim().parse::<f64>().ok().filter(|price| price.is_finite() && *price >= 0.0)
}
