//! Keys and values, the bulk of every segment, from the client to the compressor in one copy.
//!
//! ```text
//!  poll thread                     encoder
//!  record ─▶ PlainColumn ─▶ pages ─▶ PlainWriter ─▶ compressed column chunk
//!            (the one copy)          joins small pages, takes all others as they are
//! ```
//!
//! Owns: PLAIN pages of a nullable column of bytes, filled as records arrive ([`page`]), compressed there or later ([`packed`]),
//! and written under any codec ([`writer`]). Does not own: any other column, which the Parquet crate's own writer encodes.
//!
//! That writer takes arrays: a value would be copied into an array, from there into a page, and the page's memory would be
//! fresh each time, which cost a sixth of the whole encode. Invariants: no dictionary, no statistics, an offset index.

pub(crate) mod compress;
pub(crate) mod packed;
pub(crate) mod page;
pub(crate) mod writer;
