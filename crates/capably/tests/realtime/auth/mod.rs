//! Tokens on a connection (RSA4, RTC8).

mod authorize;
mod calling_back;
mod client_id;
mod concurrent;
mod connecting;
mod failures;
mod forms;
mod non_renewable;
mod renewal;
