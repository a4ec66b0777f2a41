//! Batches: one request for many channels (BAR, BSP, BPR, BPF, BGR, BGF).

use serde::{Deserialize, Deserializer, Serialize, de::Error};

use crate::{ErrorInfo, Message, PresenceMessage, Str, lenient};

/// Messages, and the channels that each of them is to be published to (BSP1).
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

/// What became of a batch, channel by channel (BAR1).
///
/// A batch may do well on one channel and fail on another: a result that arrives says nothing yet of
/// success.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchResult<T> {
    /// On how many channels it was done (BAR2a).
    pub success_count: usize,
    /// On how many it was not (BAR2b).
    pub failure_count: usize,
    /// The outcome for each channel (BAR2c).
    pub results: Vec<Result<T, BatchFailure>>,
}

impl<T> FromIterator<Result<T, BatchFailure>> for BatchResult<T> {
    /// Counts the outcomes.
    fn from_iter<I: IntoIterator<Item = Result<T, BatchFailure>>>(outcomes: I) -> Self {
        let results: Vec<_> = outcomes.into_iter().collect();
        let success_count = results.iter().filter(|outcome| outcome.is_ok()).count();
        Self { success_count, failure_count: results.len() - success_count, results }
    }
}

/// Messages were published to a channel (BPR1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchPublished {
    /// The channel (BPR2a).
    pub channel: Str,
    /// What the ids of the messages begin with (BPR2b).
    pub message_id: Option<Str>,
    /// The serial of each message, in order; `None` for one discarded by conflation (BPR2c).
    pub serials: Vec<Option<Str>>,
}

/// Who is present on a channel (BGR1).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BatchPresence {
    /// The channel (BGR2a).
    pub channel: Str,
    /// Its members (BGR2b).
    pub presence: Vec<PresenceMessage>,
}

/// A channel on which the batch was not done (BPF1, BGF1).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BatchFailure {
    /// The channel (BPF2a, BGF2a).
    pub channel: Str,
    /// Why (BPF2b, BGF2b).
    pub error: ErrorInfo,
}

/// The outcome for one channel, as it stands in a body.
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

/// What a batch may find on a channel.
pub trait BatchOutcome: sealed::Sealed {}

mod sealed {
    pub trait Sealed: Sized {
        /// The outcome; `None` when it is neither a success of this kind nor a failure.
        #[expect(private_interfaces, reason = "the trait is sealed")]
        fn found(outcome: super::Outcome) -> Option<Self>;
    }
}

impl BatchOutcome for BatchPublished {}

#[expect(private_interfaces, reason = "the trait is sealed")]
impl sealed::Sealed for BatchPublished {
    fn found(outcome: Outcome) -> Option<Self> {
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
    fn found(outcome: Outcome) -> Option<Self> {
        let Outcome { channel, presence, .. } = outcome;
        presence.map(|presence| Self { channel, presence })
    }
}

fn judge<T: BatchOutcome, E: Error>(mut outcome: Outcome) -> Result<Result<T, BatchFailure>, E> {
    if let Some(error) = outcome.error.take() {
        return Ok(Err(BatchFailure { channel: outcome.channel, error }));
    }
    T::found(outcome).map(Ok).ok_or_else(|| E::custom("neither a success nor a failure"))
}

impl<'de, T: BatchOutcome> Deserialize<'de> for BatchResult<T> {
    /// Reads the result of a batch, or the outcome for a single channel in its place.
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Body {
            #[serde(default, deserialize_with = "lenient::integer")]
            success_count: Option<u64>,
            #[serde(default, deserialize_with = "lenient::integer")]
            failure_count: Option<u64>,
            results: Option<Vec<Outcome>>,
            #[serde(flatten)]
            single: Outcome,
        }

        let body = lenient::FromMap::<Body>::deserialize(d)?.0;
        let outcomes = body.results.unwrap_or_else(|| vec![body.single]);
        let results = outcomes.into_iter().map(judge).collect::<Result<Vec<_>, _>>()?;
        let counted: Self = results.into_iter().collect();
        let stated = |count: Option<u64>, counted| {
            count.and_then(|count| usize::try_from(count).ok()).unwrap_or(counted)
        };
        Ok(Self {
            success_count: stated(body.success_count, counted.success_count),
            failure_count: stated(body.failure_count, counted.failure_count),
            results: counted.results,
        })
    }
}
