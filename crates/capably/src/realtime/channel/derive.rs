//! Derived channels: the messages of a channel that match a filter, which the service applies (RTS5).

use base64::{Engine, engine::general_purpose::STANDARD};
use capably_protocol::{Str, frame::Params};

use crate::{
    realtime::{Channel, Channels, RealtimeChannelOptions},
    rest::escape,
};

/// How a channel is derived from another (DO1).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct DeriveOptions {
    /// Selects messages: a JMESPath expression over `name`, `headers` and other members of a message, such as
    /// ``headers.region == `"eu"` `` (DO2a).
    pub filter: String,
}

impl DeriveOptions {
    /// Selects messages that match this JMESPath expression (DO2a).
    pub fn filter(filter: impl Into<String>) -> Self {
        Self { filter: filter.into() }
    }

    /// The name of the derived channel (RTS5a1). It contains the parameters of the channel's options (RTS5a2) and
    /// those of the base name, as in `[?rewind=1]name`.
    fn name(&self, base: &str, params: &Params) -> Str {
        let own = base.strip_prefix("[?").and_then(|rest| rest.split_once(']'));
        let (named, base) = own.unwrap_or(("", base));
        let mut all: Vec<_> =
            named.split('&').filter(|own| !own.is_empty()).map(Into::into).collect();
        all.extend(
            params.iter().map(|(name, value)| format!("{}={}", escape(name), escape(value))),
        );
        let mark = if all.is_empty() { "" } else { "?" };
        let filter = STANDARD.encode(&self.filter);
        format!("[filter={filter}{mark}{}]{base}", all.join("&")).into()
    }
}

impl Channels {
    /// The channel of the messages of another channel that match a filter; it is created if it does not exist
    /// (RTS5). It is attached and subscribed to like any other channel. The service applies the filter.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use capably::{ClientOptions, Realtime, realtime::DeriveOptions};
    ///
    /// let options = ClientOptions::new("appId.keyId:keySecret").auto_connect(false);
    /// let client = Realtime::new(options)?;
    /// let news = DeriveOptions::filter("name == 'headline'");
    /// let headlines = client.channels().get_derived("news", news);
    /// assert_eq!(headlines.name(), "[filter=bmFtZSA9PSAnaGVhZGxpbmUn]news");
    /// # Ok(())
    /// # }
    /// ```
    pub fn get_derived(&self, name: impl AsRef<str>, derive: DeriveOptions) -> Channel {
        self.get_derived_with(name, derive, RealtimeChannelOptions::new())
    }

    /// As [`get_derived`](Self::get_derived), but the channel is created with these options. Their parameters are part
    /// of its name (RTS5a2).
    pub fn get_derived_with(
        &self,
        name: impl AsRef<str>,
        derive: DeriveOptions,
        options: RealtimeChannelOptions,
    ) -> Channel {
        self.get_with(derive.name(name.as_ref(), &options.params), options)
    }
}
