//! Gaps in a subscription: reporting and filling (RTL2f, RTL10b, RTL12).

use capably::{
    Message, Subscription,
    realtime::{Gap, SubscriptionEvent},
};
use capably_protocol::{Flags, ServerFrame, frame::Delivery};
use futures_util::FutureExt;

use crate::support::*;

mod filling;
mod notices;
mod overflow;
mod random;

/// A message with this name at this position of the channel `ch`.
fn message(position: u32, name: &str) -> ServerFrame {
    let mut message = Message::new(name, name);
    message.serial = Some(format!("{position:03}:0").into());
    let mut frame = Delivery::new("ch", vec![message]);
    frame.id = Some(format!("id-{position}").into());
    frame.channel_serial = Some(format!("{position:03}").into());
    ServerFrame::Message(frame)
}

/// An ATTACHED without continuity at this position.
fn anew(position: u32) -> ServerFrame {
    attached_with("ch", |frame| frame.channel_serial = Some(format!("{position:03}").into()))
}

/// An ATTACHED without continuity at this position, with a reason.
fn anew_because(position: u32, code: u32) -> ServerFrame {
    attached_with("ch", |frame| {
        frame.channel_serial = Some(format!("{position:03}").into());
        frame.error = Some(info(code, 500));
    })
}

/// An ATTACHED that continues at this position.
fn resumed(position: u32) -> ServerFrame {
    attached_with("ch", |frame| {
        frame.channel_serial = Some(format!("{position:03}").into());
        frame.flags = Flags::RESUMED;
    })
}

/// An event in short: the name of a message (in brackets from history), the number of dropped messages, or a gap with
/// its bounds, the code of its reason and the code of the error that left it unfilled.
fn short(event: SubscriptionEvent) -> String {
    match event {
        SubscriptionEvent::Message(message) => message.name.unwrap().to_string(),
        SubscriptionEvent::Filled(message) => format!("[{}]", message.name.unwrap()),
        SubscriptionEvent::Lagged(missed) => format!("dropped {missed}"),
        SubscriptionEvent::Gap(Gap { reason, after, until, unfilled, .. }) => {
            let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
            let serial = |serial: Option<capably::Str>| or_none(serial.map(|it| it.to_string()));
            let code =
                |error: Option<capably::ErrorInfo>| or_none(error.map(|it| it.code.0.to_string()));
            let (after, until) = (serial(after), serial(until));
            format!("gap {after}..{until} {} {}", code(reason), code(unfilled))
        }
        other => panic!("unexpected: {other:?}"),
    }
}

/// The events in the queue of a subscription.
fn said(subscription: &mut Subscription) -> Vec<String> {
    std::iter::from_fn(|| subscription.next_event().now_or_never().flatten()).map(short).collect()
}
