//! `prices`: what the store charges.

use super::Faults;
use crate::job::Scalar;
use crate::job::prices::{Prices, parse_price};
use crate::job::raw::RawPrices;

pub(super) fn resolve(raw: &RawPrices, faults: &mut Faults) -> Prices {
    let mut price = |field: &str, value: Option<&Scalar>, default: f64| {
        let Some(value) = value else { return default };
        parse_price(value.as_str()).unwrap_or_else(|| {
            faults.push(&format!("prices.{field}"), format!("{value:?} is no price; write a number such as 0.005"));
            default
        })
    };
    let defaults = Prices::default();
    Prices {
        put: price("put", raw.put.as_ref(), defaults.put),
        get: price("get", raw.get.as_ref(), defaults.get),
        storage: price("storage", raw.storage.as_ref(), defaults.storage),
        received: price("received", raw.received.as_ref(), defaults.received),
    }
}
