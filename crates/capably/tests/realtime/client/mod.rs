//! The client itself (RTC).

mod attributes;
mod options;
mod proxies;
mod timeouts;
