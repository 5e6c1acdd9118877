//! What becomes of the streamer when its store is slow, full, gone, emptied, somebody else's, or lies.

mod broken;
mod identity;
mod outages;
mod ownership;
mod room;
mod stops;
