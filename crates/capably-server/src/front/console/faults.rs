//! Faults: the rules and actions of [`FaultControl`](crate::faults::FaultControl), with a session.
//!
//! On a loopback address, clients go through the faults only when an operator has asked for some: until then, the faults
//! cost nothing.

use std::sync::atomic::{AtomicBool, Ordering};

use capably_protocol::{ErrorCode, ErrorInfo};
use hyper::Method;

use super::api::Call;
use crate::{
    faults::{self, Faults},
    front::http::reply::Reply,
};

/// The faults of a server, and whether its clients go through them.
#[derive(Debug)]
pub(crate) struct FaultAccess {
    faults: Faults,
    /// Whether new connections go through the faults.
    armed: AtomicBool,
    is_on_demand: bool,
}

impl FaultAccess {
    /// Faults that all clients go through.
    pub(crate) fn always(faults: Faults) -> Self {
        Self { faults, armed: AtomicBool::new(true), is_on_demand: false }
    }

    /// Faults that clients go through once there is a rule.
    pub(crate) fn on_demand(faults: Faults) -> Self {
        Self { faults, armed: AtomicBool::new(false), is_on_demand: true }
    }

    pub(super) fn is_armed(&self) -> bool {
        self.armed.load(Ordering::Relaxed)
    }
}

/// Answers a request whose path below `faults` has these segments.
pub(super) fn answer(
    call: &Call<'_>,
    method: &Method,
    segments: &[&str],
) -> Result<Reply, ErrorInfo> {
    call.session.require_server()?;
    let Some(access) = &call.console.faults else {
        return Err(ErrorInfo::new(
            ErrorCode(40400),
            404,
            "the server injects no faults: start it with `--control <PORT>`, or on a loopback address",
        ));
    };
    let reply = faults::answer(&access.faults, method, segments, &call.body)?;
    match (method, segments) {
        (&Method::POST, ["rules" | "actions"]) => arm(access, call),
        (&Method::DELETE, ["rules"]) if access.is_on_demand => {
            access.armed.store(false, Ordering::Relaxed);
        }
        _ => {}
    }
    Ok(reply)
}

/// Lets clients go through the faults from now on. Those that do not are cut: they resume through the faults.
fn arm(access: &FaultAccess, call: &Call<'_>) {
    if access.armed.swap(true, Ordering::Relaxed) {
        return;
    }
    let direct = call.shared.operating.transports.after(None);
    tracing::info!(connections = direct.len(), "clients resume through the fault injection");
    for (transport, app) in direct {
        let now = call.shared.now();
        app.with(|hub, outputs| hub.cut_transport(transport, now, outputs));
    }
}
