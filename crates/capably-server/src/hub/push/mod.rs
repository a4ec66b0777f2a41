//! Push: devices, their subscriptions to channels, and deliveries to them (RSH1).

mod activity;
mod caller;
mod change;
mod delivery;
mod device;
mod filter;
mod registry;
mod subscriptions;

pub(crate) use self::{
    activity::ActivityStep,
    caller::{DeviceProof, PushCaller},
    change::{Changed, PushChange},
    delivery::{Delivery, Payload},
    filter::PushFilter,
    registry::Push,
};
