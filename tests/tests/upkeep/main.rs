//! A backup that lives for years: refined, sealed, retired, pruned.

mod base;
mod destroy;
mod prune;
mod refine;
mod retention;
mod salvage;
