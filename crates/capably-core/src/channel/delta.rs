//! Payloads that come as what changed since the message before (RTL18 to RTL20).

use std::{error, fmt};

use capably_protocol::{CipherParams, Data, ErrorCode, ErrorInfo, Message, Str, encoding};

use crate::{ChannelId, Client, Instant, errors};

/// Applies deltas (VD1).
pub trait VcdiffDecoder: fmt::Debug + Send + Sync {
    /// The payload of a message (VD2a): what the delta makes of the base, the payload of the message before
    /// it as bytes (PC3a).
    ///
    /// # Errors
    /// Why the delta cannot be applied. The client then discards the message and has the service send it
    /// again, in full (RTL18).
    fn decode(&self, delta: &[u8], base: &[u8]) -> Result<Vec<u8>, DeltaError>;
}

/// Why a [`VcdiffDecoder`] cannot apply a delta.
pub type DeltaError = Box<dyn error::Error + Send + Sync>;

/// What a channel keeps to apply the next delta.
#[derive(Debug, Default)]
pub(super) struct Deltas {
    /// The last message, if its payload is known.
    base: Option<Base>,
    recovery: Recovery,
}

/// The last message: from it the next may be made (RTL19, RTL20).
#[derive(Debug)]
struct Base {
    id: Option<Str>,
    /// As it was sent, without the steps that the way to here has added (RTL19a).
    payload: Data,
}

/// Where the channel is on its way out of a delta that could not be applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Recovery {
    /// There is none.
    #[default]
    None,
    /// The channel is to be attached again where it was.
    Attaching,
    /// It is attached again; no message has been decoded since.
    Attached,
}

impl Deltas {
    /// Decodes a message, and keeps its payload.
    ///
    /// # Errors
    /// 40018 when the delta cannot be applied, with whatever comes before it (RTL18); otherwise as
    /// [`encoding::decode`].
    pub(super) fn decode(
        &mut self,
        message: &mut Message,
        cipher: Option<&CipherParams>,
        decoder: &dyn VcdiffDecoder,
    ) -> Result<(), ErrorInfo> {
        let steps = message.encoding.as_deref();
        if steps.is_some_and(|steps| steps.split('/').any(|step| step == "vcdiff")) {
            return self.apply(message, cipher, decoder);
        }
        let Message { id, data, encoding, .. } = message;
        self.base = None;
        encoding::strip_base64(data, encoding)?;
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
        let base = base.ok_or_else(|| {
            errors::delta_failed("it was made from another message than the one before it")
        })?;
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
                self.base = Some(Base { id: id.clone(), payload });
                decoded
            }
            (None, Err(error)) if error.code != ErrorCode::DELTA_DECODING_FAILED => {
                Err(errors::delta_failed(&error.message).with_cause(error))
            }
            (None, decoded) => decoded,
        }
    }

    /// The channel stays where it was until it is attached again (RTL18c).
    pub(super) fn is_recovering(&self) -> bool {
        self.recovery == Recovery::Attaching
    }

    /// A frame has been decoded.
    pub(super) fn progressed(&mut self) {
        self.recovery = Recovery::None;
    }

    /// The channel is attached.
    pub(super) fn attached(&mut self) {
        if self.recovery == Recovery::Attaching {
            self.recovery = Recovery::Attached;
        }
    }

    /// The channel is not attached, and not about to be: it has no place to go back to.
    pub(super) fn detached(&mut self) {
        *self = Self::default();
    }
}

impl Client {
    /// A delta could not be applied, so none of those that follow can: the service is asked to begin anew
    /// after what was decoded last (RTL18).
    ///
    /// What arrives meanwhile is discarded, as the channel is not attached (RTL17), so there is one recovery
    /// at a time. One that leads to the same failure is no reason to hurry: the channel is suspended for a
    /// while.
    pub(super) fn recover_delta(&mut self, id: ChannelId, error: ErrorInfo, now: Instant) {
        let Some(channel) = self.channels.get_mut(id) else { return };
        tracing::error!(
            channel = &*channel.name, code = error.code.0, %error, "a delta could not be applied",
        );
        let before = std::mem::replace(&mut channel.deltas.recovery, Recovery::Attaching);
        match before {
            Recovery::None => self.begin_attach(id, Some(error), now),
            Recovery::Attaching | Recovery::Attached => self.suspend_channel(id, error, now),
        }
    }
}
