//! A schedule as data: who takes part, what the users do, and what fails.

use std::time::Duration;

use capably_protocol::Format;

/// The names of users, by their index.
pub const USERS: [&str; 3] = ["ada", "bob", "cyd"];

/// The names of channels, by their index.
pub const CHANNELS: [&str; 2] = ["red", "blue"];

/// The client ids as which users enter presence, by their index.
pub const MEMBERS: [&str; 2] = ["x", "y"];

/// The keys of objects that users set, by their index. The counter has another.
pub const KEYS: [&str; 2] = ["hue", "tone"];

/// A schedule. The same script runs in the same way each time.
#[derive(Clone, Debug, PartialEq)]
pub struct Script {
    /// The seed of everything that is not in the script: delays of the network and of the engine, jitter of retries.
    pub seed: u64,
    /// The server.
    pub server: ServerSetup,
    /// The users.
    pub users: Vec<UserSetup>,
    /// The steps in the order of their times.
    pub steps: Vec<(Duration, Step)>,
}

/// The server of a schedule.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerSetup {
    /// Whether entries are ordered and stored by an engine, which outlasts the server.
    pub engine: bool,
    /// The most entries of a channel in memory.
    pub entries: usize,
    /// The most bytes that wait for a client.
    pub queue: usize,
    /// The size of a message, in bytes: large messages fill the queue of a slow reader.
    pub padding: usize,
    /// The longest delay of the network in one direction, in ms.
    pub delay: u64,
}

/// The client of a user.
#[derive(Clone, Debug, PartialEq)]
pub struct UserSetup {
    /// The encoding of its frames.
    pub format: Format,
    /// The lifetime of its tokens; none for a client with a key.
    pub token: Option<Duration>,
    /// Whether it receives its own messages.
    pub echo: bool,
    /// Whether its messages have ids, by which the service recognises repeated ones.
    pub ids: bool,
    /// Whether it has the modes for objects.
    pub objects: bool,
}

/// The index of a user.
pub type UserId = usize;

/// The index of a channel.
pub type ChannelIndex = usize;

/// Something that happens in a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A call of a user.
    Call(UserId, Call),
    /// A fault of a user's machine or network.
    Fault(UserId, Fault),
    /// A fault of the server or its engine.
    Server(ServerFault),
}

/// A call of a user's program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Connects.
    Connect,
    /// Closes the connection, as the drop of the last handle does.
    Close,
    /// Attaches a channel.
    Attach(ChannelIndex),
    /// Detaches a channel.
    Detach(ChannelIndex),
    /// Releases a channel. The next call opens it again.
    Release(ChannelIndex),
    /// Publishes so many messages in one frame.
    Publish(ChannelIndex, usize),
    /// Enters as a member, or updates it.
    Enter(ChannelIndex, usize),
    /// Leaves as a member.
    Leave(ChannelIndex, usize),
    /// Asks for the members.
    Members(ChannelIndex),
    /// Sets the parameter `rewind` to so many messages, or removes it.
    Rewind(ChannelIndex, usize),
    /// Asks the service to send again what follows the oldest known serial.
    Replay(ChannelIndex),
    /// Adds to the counter of the channel's objects.
    Add(ChannelIndex, u32),
    /// Sets a key of the channel's objects, by its index.
    Set(ChannelIndex, usize),
    /// The listener replies to so many further messages of others. It awaits each result before it takes the next message.
    Reply(ChannelIndex, usize),
    /// Pings.
    Ping,
    /// Authorizes anew.
    Authorize,
}

/// A fault of a user's machine or network. Times are in ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection is cut. Of the bytes on their way up and down, so many per mille arrive.
    Cut(u64, u64),
    /// Nothing arrives any more on the connection, in either direction, and nobody is told.
    Dead,
    /// There is no network, and the machine knows it.
    Offline(u64),
    /// Dials take so long.
    SlowDials(u64),
    /// Frames of the server arrive in steps of this time, for twenty steps.
    SlowReads(u64),
    /// The machine sleeps.
    Sleep(u64),
    /// The wall clock jumps.
    ClockJump(i64),
    /// There are no tokens.
    NoTokens(u64),
    /// Requests for tokens and for the state of the network are never answered: who would have done so was cancelled.
    NoAnswers(u64),
    /// An item of the next frame with messages or members cannot be read.
    Damage,
    /// The next frame cannot be read at all.
    Garbage,
    /// The process is killed.
    Kill,
    /// The process is killed, and starts again; with `true`, it recovers the connection.
    Restart(bool),
}

/// A fault of the server or its engine. Times are in ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerFault {
    /// The server crashes, and starts again after a time. So many entries on their way to the engine are stored.
    Crash(u64, usize),
    /// The engine answers nothing.
    Stall(u64),
    /// The engine refuses the next entries; with `true`, it has stored them.
    Refuse(usize, bool),
    /// The wall clock of the server jumps.
    ClockJump(i64),
}
