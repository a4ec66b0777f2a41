//! Rules: a trigger, conditions, and faults.

use std::{fmt, time::Duration};

use capably_protocol::frame::Action;

use super::script::{Frame, Response};

/// A rule: its trigger `T` with conditions, and its faults.
///
/// A rule without a fault lets the frames and requests that it matches pass unchanged: the rules after it do not apply to
/// them.
///
/// ```
/// use capably_server::{faults::Rule, protocol::{ErrorInfo, ServerFrame, frame::Action}};
///
/// // The first CONNECTED never arrives.
/// Rule::to_client().action(Action::Connected).times(1).suppress();
/// // The second attempt to connect is refused.
/// Rule::opening().nth(2).refuse();
/// // Every client is disconnected by the service, a second after it has connected.
/// let error = Some(ErrorInfo::new(80003.into(), 503, "going away"));
/// Rule::after(std::time::Duration::from_secs(1))
///     .inject_to_client(ServerFrame::Disconnected { error })
///     .close(1000);
/// ```
#[derive(Clone, Debug)]
#[must_use = "a rule does nothing until it is added"]
pub struct Rule<T> {
    pub(super) trigger: T,
    pub(super) nth: Option<u64>,
    pub(super) times: Option<u64>,
    pub(super) comment: Option<String>,
}

impl<T> Rule<T> {
    pub(super) fn new(trigger: T) -> Self {
        Self { trigger, nth: None, times: None, comment: None }
    }

    /// Applies only to the `nth` match, counted from 1 since the rule was added. Matches to which a rule before it applies
    /// count, too.
    pub fn nth(mut self, nth: u64) -> Self {
        self.nth = Some(nth);
        self
    }

    /// Applies at most so often. Then the rule is removed.
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }

    /// A comment, which is shown in lists of rules.
    pub fn comment(mut self, comment: impl Into<String>) -> Self {
        self.comment = Some(comment.into());
        self
    }
}

impl Rule<Opening> {
    /// Applies when a client requests a WebSocket.
    pub fn opening() -> Self {
        Self::new(Opening { which: Which::default(), delay: Duration::ZERO, answer: Opened::Pass })
    }

    /// Delays the response, as a slow network would.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.trigger.delay = delay;
        self
    }

    /// Closes the connection without a response.
    pub fn refuse(mut self) -> Self {
        self.trigger.answer = Opened::Refuse;
        self
    }

    /// Sends this response, and opens no WebSocket.
    pub fn respond(mut self, response: Response) -> Self {
        self.trigger.answer = Opened::Respond(response);
        self
    }

    /// Opens a WebSocket and closes it with this code. The service does not see the request.
    pub fn close(mut self, code: u16) -> Self {
        self.trigger.answer = Opened::End(End::Close(code));
        self
    }

    /// Opens a WebSocket and cuts the connection. The service does not see the request.
    pub fn disconnect(mut self) -> Self {
        self.trigger.answer = Opened::End(End::Disconnect);
        self
    }
}

impl Rule<Moment> {
    /// Applies at this time after a client has requested a WebSocket.
    ///
    /// A rule that is added later does not apply to a connection that is open already.
    pub fn after(delay: Duration) -> Self {
        Self::new(Moment { which: Which::default(), delay, strike: Strike::default() })
    }
}

impl Rule<Frames> {
    /// Applies to frames from the service to a client.
    pub fn to_client() -> Self {
        Self::frames(Direction::ToClient)
    }

    /// Applies to frames from a client to the service.
    pub fn to_server() -> Self {
        Self::frames(Direction::ToServer)
    }

    pub(super) fn frames(direction: Direction) -> Self {
        Self::new(Frames {
            which: Which::default(),
            direction,
            action: None,
            channel: None,
            delay: Duration::ZERO,
            treatment: Treatment::Pass,
            strike: Strike::default(),
        })
    }

    /// Only frames of this action (TR2).
    pub fn action(mut self, action: Action) -> Self {
        self.trigger.action = Some(action.number());
        self
    }

    /// Only frames of this channel.
    pub fn channel(mut self, channel: impl Into<String>) -> Self {
        self.trigger.channel = Some(channel.into());
        self
    }

    /// Delays the frame, and all frames after it in the same direction.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.trigger.delay = delay;
        self
    }

    /// Drops the frame.
    pub fn suppress(mut self) -> Self {
        self.trigger.treatment = Treatment::Suppress;
        self
    }

    /// Drops the frame, and all frames after it in the same direction on its connection, pings included. The connection
    /// stays open, but is silent.
    pub fn suppress_onwards(mut self) -> Self {
        self.trigger.treatment = Treatment::SuppressOnwards;
        self
    }

    /// Sends this frame instead.
    pub fn replace(mut self, frame: impl Into<Frame>) -> Self {
        self.trigger.treatment = Treatment::Replace(frame.into());
        self
    }
}

impl Rule<Requests> {
    /// Applies to HTTP requests, except those for a WebSocket.
    pub fn request() -> Self {
        Self::new(Requests {
            method: None,
            path: None,
            delay: Duration::ZERO,
            answer: Answer::Pass,
        })
    }

    /// Only requests with this method.
    pub fn method(mut self, method: impl Into<String>) -> Self {
        self.trigger.method = Some(method.into());
        self
    }

    /// Only requests whose path contains this text.
    pub fn path_contains(mut self, part: impl Into<String>) -> Self {
        self.trigger.path = Some(part.into());
        self
    }

    /// Delays the request.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.trigger.delay = delay;
        self
    }

    /// Closes the connection without a response. The service does not see the request.
    pub fn drop_request(mut self) -> Self {
        self.trigger.answer = Answer::Drop;
        self
    }

    /// Sends this response. The service does not see the request.
    pub fn respond(mut self, response: Response) -> Self {
        self.trigger.answer = Answer::Respond(response);
        self
    }

    /// Forwards the request, and sends this response in place of the service's.
    pub fn replace_response(mut self, response: Response) -> Self {
        self.trigger.answer = Answer::Replace(response);
        self
    }
}

/// Conditions on the connection, for rules about WebSockets.
impl<T: sealed::OnConnections> Rule<T> {
    /// Only the connection of this number. Connections are counted from 1, refused ones included.
    pub fn connection(mut self, number: u64) -> Self {
        self.trigger.which().number = Some(number);
        self
    }

    /// Only connections whose query has this parameter with this value.
    pub fn param(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.trigger.which().params.push((name.into(), Some(value.into())));
        self
    }

    /// Only connections whose query has this parameter, such as `resume`.
    pub fn has_param(mut self, name: impl Into<String>) -> Self {
        self.trigger.which().params.push((name.into(), None));
        self
    }
}

/// Faults for an open connection. A rule may have several: its frames are sent in order, after the frame that the rule
/// matches, and then the connection ends.
impl<T: sealed::Strikes> Rule<T> {
    /// Sends this frame to the client, as if it came from the service.
    pub fn inject_to_client(mut self, frame: impl Into<Frame>) -> Self {
        self.trigger.strike().frames.push((Direction::ToClient, frame.into()));
        self
    }

    /// Sends this frame to the service, as if it came from the client.
    pub fn inject_to_server(mut self, frame: impl Into<Frame>) -> Self {
        self.trigger.strike().frames.push((Direction::ToServer, frame.into()));
        self
    }

    /// Closes the client's WebSocket with this code, after the frames that are queued for it. For the service, the
    /// connection drops.
    pub fn close(mut self, code: u16) -> Self {
        self.trigger.strike().end = Some(End::Close(code));
        self
    }

    /// Cuts the client's connection at once, without a close frame. For the service, the connection drops.
    pub fn disconnect(mut self) -> Self {
        self.trigger.strike().end = Some(End::Disconnect);
        self
    }
}

/// The trigger of [`Rule::opening`]: a client requests a WebSocket.
#[derive(Clone, Debug)]
pub struct Opening {
    pub(super) which: Which,
    pub(super) delay: Duration,
    pub(super) answer: Opened,
}

/// The trigger of [`Rule::after`]: a time after a client has requested a WebSocket.
#[derive(Clone, Debug)]
pub struct Moment {
    pub(super) which: Which,
    pub(super) delay: Duration,
    pub(super) strike: Strike,
}

/// The trigger of [`Rule::to_client`] and [`Rule::to_server`]: a frame in one direction.
#[derive(Clone, Debug)]
pub struct Frames {
    pub(super) which: Which,
    pub(super) direction: Direction,
    pub(super) action: Option<u32>,
    pub(super) channel: Option<String>,
    pub(super) delay: Duration,
    pub(super) treatment: Treatment,
    pub(super) strike: Strike,
}

/// The trigger of [`Rule::request`]: an HTTP request.
#[derive(Clone, Debug)]
pub struct Requests {
    pub(super) method: Option<String>,
    pub(super) path: Option<String>,
    pub(super) delay: Duration,
    pub(super) answer: Answer,
}

/// Any trigger. A rule that was [read from JSON](Rule::from_json) has it.
#[derive(Clone, Debug)]
pub struct Any(pub(super) Trigger);

#[derive(Clone, Debug)]
pub(super) enum Trigger {
    Opening(Opening),
    Moment(Moment),
    Frames(Frames),
    Requests(Requests),
}

/// The direction of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the service to a client.
    ToClient,
    /// From a client to the service.
    ToServer,
}

/// The response to a request for a WebSocket.
#[derive(Clone, Debug)]
pub(super) enum Opened {
    Pass,
    Refuse,
    Respond(Response),
    End(End),
}

/// The way in which a rule treats a frame.
#[derive(Clone, Debug)]
pub(super) enum Treatment {
    Pass,
    Suppress,
    SuppressOnwards,
    Replace(Frame),
}

/// The response to an HTTP request.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Pass,
    Drop,
    Respond(Response),
    Replace(Response),
}

/// The faults for an open connection.
#[derive(Clone, Debug, Default)]
pub struct Strike {
    pub(super) frames: Vec<(Direction, Frame)>,
    pub(super) end: Option<End>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// With this code.
    Close(u16),
    Disconnect,
}

/// Conditions on the connection.
#[derive(Clone, Default)]
pub struct Which {
    pub(super) number: Option<u64>,
    /// Parameters of the query, and their values; none for any value.
    pub(super) params: Vec<(String, Option<String>)>,
}

// Values of parameters may be credentials, so they are not shown.
impl fmt::Debug for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.params.iter().map(|(name, _)| name).collect();
        f.debug_struct("Which").field("number", &self.number).field("params", &names).finish()
    }
}

/// The triggers.
pub trait Waits: sealed::Waits {}

impl<T: sealed::Waits> Waits for T {}

pub(super) mod sealed {
    use super::*;

    pub trait Waits {
        fn any(self) -> Any;
    }

    pub trait OnConnections {
        fn which(&mut self) -> &mut Which;
    }

    pub trait Strikes {
        fn strike(&mut self) -> &mut Strike;
    }
}

macro_rules! triggers {
    ($($name:ident $(: $field:ident)?),*) => {$(
        impl sealed::Waits for $name {
            fn any(self) -> Any {
                Any(Trigger::$name(self))
            }
        }

        $(impl sealed::OnConnections for $name {
            fn which(&mut self) -> &mut Which {
                &mut self.$field
            }
        })?
    )*};
}

triggers!(Opening: which, Moment: which, Frames: which, Requests);

impl sealed::Waits for Any {
    fn any(self) -> Any {
        self
    }
}

impl sealed::Strikes for Moment {
    fn strike(&mut self) -> &mut Strike {
        &mut self.strike
    }
}

impl sealed::Strikes for Frames {
    fn strike(&mut self) -> &mut Strike {
        &mut self.strike
    }
}

impl<T: Waits> Rule<T> {
    /// The same rule, with its trigger as [`Any`].
    pub fn any(self) -> Rule<Any> {
        let Self { trigger, nth, times, comment } = self;
        Rule { trigger: trigger.any(), nth, times, comment }
    }
}
