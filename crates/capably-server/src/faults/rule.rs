//! What a rule says: when it applies, and what it then does.

use std::{fmt, time::Duration};

use capably_protocol::frame::Action;

use super::script::{Frame, Response};

/// One rule: what it waits for (`T`), and what it does to it.
///
/// A rule without a fault lets pass what it matches, and so keeps it from the rules after it.
///
/// ```
/// use capably_server::{faults::Rule, protocol::{ErrorInfo, ServerFrame, frame::Action}};
///
/// // The first CONNECTED never arrives.
/// Rule::to_client().action(Action::Connected).times(1).suppress();
/// // The second attempt to connect is refused.
/// Rule::opening().nth(2).refuse();
/// // The service asks every client to go, a second after it came.
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

    /// Applies to the `nth` occurrence only, counted from 1 since the rule was added, and whether or not
    /// another rule went before it.
    pub fn nth(mut self, nth: u64) -> Self {
        self.nth = Some(nth);
        self
    }

    /// Applies so often, and is removed then.
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }

    /// What the rule is for, to be shown where rules are listed.
    pub fn comment(mut self, comment: impl Into<String>) -> Self {
        self.comment = Some(comment.into());
        self
    }
}

impl Rule<Opening> {
    /// Applies when a client asks for a WebSocket.
    pub fn opening() -> Self {
        Self::new(Opening { which: Which::default(), delay: Duration::ZERO, answer: Opened::Pass })
    }

    /// Waits so long before it goes on, as a slow network would.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.trigger.delay = delay;
        self
    }

    /// Closes the connection without an answer.
    pub fn refuse(mut self) -> Self {
        self.trigger.answer = Opened::Refuse;
        self
    }

    /// Answers with this in place of a WebSocket.
    pub fn respond(mut self, response: Response) -> Self {
        self.trigger.answer = Opened::Respond(response);
        self
    }

    /// Opens a WebSocket and closes it with this code, unknown to the service.
    pub fn close(mut self, code: u16) -> Self {
        self.trigger.answer = Opened::End(End::Close(code));
        self
    }

    /// Opens a WebSocket and cuts the connection, unknown to the service.
    pub fn disconnect(mut self) -> Self {
        self.trigger.answer = Opened::End(End::Disconnect);
        self
    }
}

impl Rule<Moment> {
    /// Applies so long after a WebSocket was asked for.
    ///
    /// The rules that are there when a connection opens are those that apply to it.
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

    /// Only frames that name this channel.
    pub fn channel(mut self, channel: impl Into<String>) -> Self {
        self.trigger.channel = Some(channel.into());
        self
    }

    /// Holds the frame back for so long, and with it all that comes after it in the same direction.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.trigger.delay = delay;
        self
    }

    /// Drops the frame.
    pub fn suppress(mut self) -> Self {
        self.trigger.treatment = Treatment::Suppress;
        self
    }

    /// Drops the frame, and all that comes after it in the same direction on its connection, pings
    /// included: the connection stays open and silent.
    pub fn suppress_onwards(mut self) -> Self {
        self.trigger.treatment = Treatment::SuppressOnwards;
        self
    }

    /// Sends this in the frame's place.
    pub fn replace(mut self, frame: impl Into<Frame>) -> Self {
        self.trigger.treatment = Treatment::Replace(frame.into());
        self
    }
}

impl Rule<Requests> {
    /// Applies to HTTP requests, those for a WebSocket apart.
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

    /// Only requests in whose path this occurs.
    pub fn path_contains(mut self, part: impl Into<String>) -> Self {
        self.trigger.path = Some(part.into());
        self
    }

    /// Waits so long before it goes on.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.trigger.delay = delay;
        self
    }

    /// Closes the connection without an answer; the service gets no request.
    pub fn drop_request(mut self) -> Self {
        self.trigger.answer = Answer::Drop;
        self
    }

    /// Answers with this; the service gets no request.
    pub fn respond(mut self, response: Response) -> Self {
        self.trigger.answer = Answer::Respond(response);
        self
    }

    /// Answers with this in place of what the service has answered.
    pub fn replace_response(mut self, response: Response) -> Self {
        self.trigger.answer = Answer::Replace(response);
        self
    }
}

/// What concerns some connections and not others.
impl<T: sealed::OnConnections> Rule<T> {
    /// Only the connection of this number: connections are counted from 1, refused ones included.
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

/// What can be done to an open connection. Of one rule, all of it happens: frames go out first, in their
/// order, and after the frame that the rule is about.
impl<T: sealed::Strikes> Rule<T> {
    /// Sends this to the client, as if the service had.
    pub fn inject_to_client(mut self, frame: impl Into<Frame>) -> Self {
        self.trigger.strike().frames.push((Direction::ToClient, frame.into()));
        self
    }

    /// Sends this to the service, as if the client had.
    pub fn inject_to_server(mut self, frame: impl Into<Frame>) -> Self {
        self.trigger.strike().frames.push((Direction::ToServer, frame.into()));
        self
    }

    /// Closes the client's WebSocket with this code, after what is queued for it. The service sees the
    /// transport go without a CLOSE.
    pub fn close(mut self, code: u16) -> Self {
        self.trigger.strike().end = Some(End::Close(code));
        self
    }

    /// Cuts the client's connection at once, without a close of the WebSocket. The service sees the
    /// transport go without a CLOSE.
    pub fn disconnect(mut self) -> Self {
        self.trigger.strike().end = Some(End::Disconnect);
        self
    }
}

/// A client asks for a WebSocket: what [`Rule::opening`] waits for.
#[derive(Clone, Debug)]
pub struct Opening {
    pub(super) which: Which,
    pub(super) delay: Duration,
    pub(super) answer: Opened,
}

/// A time after a WebSocket was asked for: what [`Rule::after`] waits for.
#[derive(Clone, Debug)]
pub struct Moment {
    pub(super) which: Which,
    pub(super) delay: Duration,
    pub(super) strike: Strike,
}

/// Frames in one direction: what [`Rule::to_client`] and [`Rule::to_server`] wait for.
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

/// HTTP requests: what [`Rule::request`] waits for.
#[derive(Clone, Debug)]
pub struct Requests {
    pub(super) method: Option<String>,
    pub(super) path: Option<String>,
    pub(super) delay: Duration,
    pub(super) answer: Answer,
}

/// Any of the things a rule may wait for, as in a rule that was [read](Rule::from_json).
#[derive(Clone, Debug)]
pub struct Any(pub(super) Trigger);

#[derive(Clone, Debug)]
pub(super) enum Trigger {
    Opening(Opening),
    Moment(Moment),
    Frames(Frames),
    Requests(Requests),
}

/// Where a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the service to a client.
    ToClient,
    /// From a client to the service.
    ToServer,
}

/// What becomes of a request for a WebSocket.
#[derive(Clone, Debug)]
pub(super) enum Opened {
    Pass,
    Refuse,
    Respond(Response),
    End(End),
}

/// What becomes of a frame.
#[derive(Clone, Debug)]
pub(super) enum Treatment {
    Pass,
    Suppress,
    SuppressOnwards,
    Replace(Frame),
}

/// What becomes of an HTTP request.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Pass,
    Drop,
    Respond(Response),
    Replace(Response),
}

/// What is done to an open connection.
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

/// Which connections a rule is about.
#[derive(Clone, Default)]
pub struct Which {
    pub(super) number: Option<u64>,
    /// Parameters and, where it matters, their values.
    pub(super) params: Vec<(String, Option<String>)>,
}

/// Values of parameters may be credentials.
impl fmt::Debug for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.params.iter().map(|(name, _)| name).collect();
        f.debug_struct("Which").field("number", &self.number).field("params", &names).finish()
    }
}

/// What a rule may wait for.
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
    /// The same rule, whatever it waits for.
    pub fn any(self) -> Rule<Any> {
        let Self { trigger, nth, times, comment } = self;
        Rule { trigger: trigger.any(), nth, times, comment }
    }
}
