//! Subscriptions (RTL7, RTL8, RTL17).

mod ending;
mod filters;
mod listening;
mod messages;
mod overflow;
mod payloads;
mod replay_random;
mod strict;
