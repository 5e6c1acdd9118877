//! Who may connect and with what: every kind of authentication, and every kind of bad input with its one clear message.

mod bad_input;
mod renewal;
mod security;
