//! Batches: one request for many channels (BAR, BSP, BPR, BPF, BGR, BGF).

use serde::{Deserialize, Deserializer, Serialize, de::Error};

use crate::{ErrorInfo, Message, PresenceMessage, Str, lenient};

/// Messages, and the channels to publish each of them to (BSP1).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BatchPublishSpec {
    /// The names of the channels (BSP2a).
    #[serde(default, deserialize_with = "lenient::items")]
    pub channels: Vec<Str>,
    /// The messages (BSP2b).
    #[serde(default, deserialize_with = "lenient::maps")]
    pub messages: Vec<Message>,
}

impl BatchPublishSpec {
    /// These messages on each of these channels.
    pub fn new<C: Into<Str>>(
        channels: impl IntoIterator<Item = C>,
        messages: impl Into<Vec<Message>>,
    ) -> Self {
        Self { channels: channels.into_iter().map(Into::into).collect(), messages: messages.into() }
    }
}

/// The result of a batch, with an outcome for each part (BAR1).
///
/// Some parts may succeed while others fail. A request that returns a result has therefore not succeeded yet: check
/// the outcomes.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct BatchResult<T> {
    /// How many parts succeeded (BAR2a).
    pub success_count: u32,
    /// How many parts failed (BAR2b).
    pub failure_count: u32,
    /// The outcome of each part, in order (BAR2c).
    pub results: Vec<T>,
}

/// The outcome of publishing a batch to one channel.
pub type BatchPublishResult = Result<BatchPublished, BatchFailure>;

/// The members of one channel, or the reason why the service does not list them.
pub type BatchPresenceResult = Result<BatchPresence, BatchFailure>;

impl<T, E> FromIterator<Result<T, E>> for BatchResult<Result<T, E>> {
    /// Counts the outcomes.
    fn from_iter<I: IntoIterator<Item = Result<T, E>>>(outcomes: I) -> Self {
        let mut batch = Self { success_count: 0, failure_count: 0, results: Vec::new() };
        for outcome in outcomes {
            match outcome {
                Ok(_) => batch.success_count += 1,
                Err(_) => batch.failure_count += 1,
            }
            batch.results.push(outcome);
        }
        batch
    }
}

/// Messages were published to a channel (BPR1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchPublished {
    /// The channel (BPR2a).
    pub channel: Str,
    /// The prefix of the ids of the messages (BPR2b).
    pub message_id: Option<Str>,
    /// The serial of each message, in order; `None` for one discarded by conflation (BPR2c).
    pub serials: Vec<Option<Str>>,
}

/// The members of a channel (BGR1).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BatchPresence {
    /// The channel (BGR2a).
    pub channel: Str,
    /// Its members (BGR2b).
    pub presence: Vec<PresenceMessage>,
}

/// A channel on which the batch failed (BPF1, BGF1).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BatchFailure {
    /// The channel (BPF2a, BGF2a).
    pub channel: Str,
    /// Why (BPF2b, BGF2b).
    pub error: ErrorInfo,
}

/// The outcome for one channel in a body: a success or a failure.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    #[serde(default, deserialize_with = "lenient::or_default")]
    channel: Str,
    message_id: Option<Str>,
    #[serde(default, deserialize_with = "lenient::items")]
    serials: Vec<Option<Str>>,
    presence: Option<Vec<PresenceMessage>>,
    error: Option<ErrorInfo>,
}

/// A success of a batch on one channel.
pub trait BatchOutcome: sealed::Sealed {}

mod sealed {
    pub trait Sealed: Sized {
        /// The outcome; `None` when it is neither a success of this kind nor a failure.
        #[expect(private_interfaces, reason = "the trait is sealed")]
        fn from_outcome(outcome: super::Outcome) -> Option<Self>;
    }
}

impl BatchOutcome for BatchPublished {}

#[expect(private_interfaces, reason = "the trait is sealed")]
impl sealed::Sealed for BatchPublished {
    fn from_outcome(outcome: Outcome) -> Option<Self> {
        let Outcome { channel, message_id, serials, .. } = outcome;
        (message_id.is_some() || !serials.is_empty()).then_some(Self {
            channel,
            message_id,
            serials,
        })
    }
}

impl BatchOutcome for BatchPresence {}

#[expect(private_interfaces, reason = "the trait is sealed")]
impl sealed::Sealed for BatchPresence {
    fn from_outcome(outcome: Outcome) -> Option<Self> {
        let Outcome { channel, presence, .. } = outcome;
        presence.map(|presence| Self { channel, presence })
    }
}

fn success_or_failure<T: BatchOutcome, E: Error>(
    mut outcome: Outcome,
) -> Result<Result<T, BatchFailure>, E> {
    if let Some(error) = outcome.error.take() {
        return Ok(Err(BatchFailure { channel: outcome.channel, error }));
    }
    T::from_outcome(outcome).map(Ok).ok_or_else(|| E::custom("neither a success nor a failure"))
}

impl<'de, T: BatchOutcome> Deserialize<'de> for BatchResult<Result<T, BatchFailure>> {
    /// Reads the result of a batch, or the outcome for a single channel in its place.
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Body {
            #[serde(default, deserialize_with = "lenient::integer")]
            success_count: Option<u32>,
            #[serde(default, deserialize_with = "lenient::integer")]
            failure_count: Option<u32>,
            results: Option<Vec<Outcome>>,
            #[serde(flatten)]
            single: Outcome,
        }

        let body = lenient::FromMap::<Body>::deserialize(d)?.0;
        let outcomes = body.results.unwrap_or_else(|| vec![body.single]);
        let results =
            outcomes.into_iter().map(success_or_failure).collect::<Result<Vec<_>, _>>()?;
        let counted: Self = results.into_iter().collect();
        Ok(Self {
            success_count: body.success_count.unwrap_or(counted.success_count),
            failure_count: body.failure_count.unwrap_or(counted.failure_count),
            results: counted.results,
        })
    }
}
