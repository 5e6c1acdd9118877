//! Documents that must be read for ever, and laws of the fold that hold whatever a log says.

mod golden;
mod property;
