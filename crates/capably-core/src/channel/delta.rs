//! Deltas: payloads that are sent as the difference from the message before (RTL18 to RTL20).

use std::{error, fmt, mem};

use capably_protocol::{CipherParams, Data, ErrorCode, ErrorInfo, Message, Str, encoding};

use super::Channel;
use crate::{context::Cx, errors};

/// Applies deltas (VD1).
pub trait VcdiffDecoder: fmt::Debug + Send + Sync {
    /// Applies a delta to its base, and returns the payload of the message (VD2a). The base is the payload of
    /// the message before, as bytes (PC3a).
    ///
    /// # Errors
    /// The reason why the delta cannot be applied. The client then drops the message, and asks the service to
    /// send it again in full (RTL18).
    fn decode(&self, delta: &[u8], base: &[u8]) -> Result<Vec<u8>, DeltaError>;
}

/// Why a [`VcdiffDecoder`] cannot apply a delta.
pub type DeltaError = Box<dyn error::Error + Send + Sync>;

/// The state that a channel needs to apply the next delta.
#[derive(Debug, Default)]
pub(super) struct Deltas {
    /// The last message, if its payload is known.
    base: Option<Base>,
    recovery: Recovery,
}

/// The last message, which the next delta may refer to (RTL19, RTL20).
#[derive(Debug)]
struct Base {
    id: Option<Str>,
    /// As it was published, without base64, which only the transport needs (RTL19a).
    payload: Data,
}

/// How far the recovery from a delta that could not be applied has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Recovery {
    /// No recovery is under way.
    #[default]
    None,
    /// The channel is to be attached again, at the position before the delta.
    Attaching,
    /// The channel is attached again, and no message has been decoded since.
    Attached,
}

impl Deltas {
    /// Decodes a message, and stores its payload as the base of the next delta.
    ///
    /// # Errors
    /// 40018 if the delta, or a step before it, cannot be applied (RTL18); otherwise as
    /// [`encoding::decode`].
    pub(super) fn decode(
        &mut self,
        message: &mut Message,
        cipher: Option<&CipherParams>,
        decoder: &dyn VcdiffDecoder,
    ) -> Result<(), ErrorInfo> {
        if is_delta(message) {
            return self.apply(message, cipher, decoder);
        }
        let Message { id, data, encoding, .. } = message;
        // If base64 is broken, no base is left: a delta to this message must start a recovery.
        self.base = None;
        encoding::strip_base64(data, encoding)?;
        // Before the other steps: the service computes deltas over the payload as it stores it (RTL19b).
        self.base = Some(Base { id: id.clone(), payload: data.clone() });
        encoding::decode(data, encoding, cipher)
    }

    fn apply(
        &mut self,
        message: &mut Message,
        cipher: Option<&CipherParams>,
        decoder: &dyn VcdiffDecoder,
    ) -> Result<(), ErrorInfo> {
        let from = message.delta().map(|delta| delta.from);
        let base = self.base.as_ref().filter(|base| base.id.is_some() && base.id == from);
        let base =
            base.ok_or_else(|| errors::delta_failed("its base is not the message before it"))?;
        let base = match &base.payload {
            Data::Text(text) => text.as_bytes(),
            Data::Binary(bytes) => bytes,
            Data::Json(_) | Data::None => &[],
        };
        let mut payload = None;
        let Message { id, data, encoding, .. } = message;
        let decoded = encoding::decode_with(data, encoding, cipher, &mut |delta| {
            let applied = decoder.decode(delta, base).map_err(errors::delta_failed)?;
            Ok(payload.insert(Data::from(applied)).clone())
        });
        match (payload, decoded) {
            (Some(payload), decoded) => {
                // Even if a later step fails: the next delta refers to the result of this one (RTL19c).
                self.base = Some(Base { id: id.clone(), payload });
                decoded
            }
            (None, Err(error)) if error.code != ErrorCode::DELTA_DECODING_FAILED => {
                Err(errors::delta_failed(&error.message).with_cause(error))
            }
            (None, decoded) => decoded,
        }
    }

    /// Whether the channel must keep its position until it is attached again (RTL18c).
    pub(super) fn is_recovering(&self) -> bool {
        self.recovery == Recovery::Attaching
    }

    /// A frame has been decoded, so the recovery succeeded.
    pub(super) fn progressed(&mut self) {
        self.recovery = Recovery::None;
    }

    /// The channel is attached.
    pub(super) fn attached(&mut self) {
        if self.recovery == Recovery::Attaching {
            self.recovery = Recovery::Attached;
        }
    }

    /// The channel is not attached, and not about to be: it has no position to recover at.
    pub(super) fn detached(&mut self) {
        *self = Self::default();
    }
}

impl Channel {
    /// A delta could not be applied, so no later delta can. The client asks the service to send the messages after the
    /// last decoded one again, the first of them in full (RTL18).
    ///
    /// Frames that arrive meanwhile are dropped, as the channel is not attached (RTL17), so there is one recovery
    /// at a time.
    pub(super) fn recover_delta(&mut self, error: ErrorInfo, cx: &mut Cx<'_>) {
        tracing::error!(
            channel = &*self.name, code = error.code.0, %error, "a delta could not be applied",
        );
        match mem::replace(&mut self.deltas.recovery, Recovery::Attaching) {
            Recovery::None => self.begin_attach(Some(error), cx),
            // The same failure again: without a pause, client and service would repeat this in a loop.
            Recovery::Attaching | Recovery::Attached => self.suspend(error, cx),
        }
    }
}

/// Whether the payload of a message is a delta: the difference from another message.
pub(crate) fn is_delta(message: &Message) -> bool {
    message.encoding.as_deref().is_some_and(|steps| steps.split('/').any(|step| step == "vcdiff"))
}
