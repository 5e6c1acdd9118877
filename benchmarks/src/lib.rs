//! Timings of the streamer, each beside a limit that the same run measures on the same machine.
//!
//! No number here passes or fails: these machines are noisy, so numbers are read as ratios within one run.

pub mod backup;
pub mod counting;
pub mod history;
pub mod image;
pub mod limit;
pub mod measure;
pub mod mixed;
pub mod payload;
pub mod perf_test;
pub mod table;
pub mod trickle;
pub mod writer;
