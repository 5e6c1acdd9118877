//! The loop that makes the world as the resources say.
