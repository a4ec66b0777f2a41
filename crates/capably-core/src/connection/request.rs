//! The query parameters of a connection (RTN2).

use std::fmt;

use capably_protocol::{Format, PROTOCOL_VERSION, Str};

use super::auth::Proof;
use crate::Config;

/// The address of a WebSocket and its query parameters.
///
/// `Debug` redacts credentials and connection keys, so they do not end up in logs.
#[derive(Clone, PartialEq, Eq)]
pub struct ConnectRequest {
    /// The domain to dial, without scheme or port.
    pub host: Str,
    /// The query parameters, each once, not yet percent-encoded.
    pub params: Vec<(Str, Str)>,
}

/// The connection that a transport continues, by its connection key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Continuation<'a> {
    /// The connection is a new one.
    None,
    /// This client's connection (RTN15b1).
    Resume(&'a Str),
    /// An earlier client's connection (RTN16k).
    Recover(&'a Str),
}

impl ConnectRequest {
    /// The request of a new transport.
    pub(crate) fn new(
        config: &Config,
        host: Str,
        proof: Proof<'_>,
        continuation: Continuation<'_>,
    ) -> Self {
        let mut params: Vec<(Str, Str)> = Vec::with_capacity(10);
        let mut push =
            |name: &'static str, value: Str| params.push((Str::from_static(name), value));
        match proof {
            Proof::Key(key) => push("key", key.expose().into()),
            Proof::Token(token) => push("accessToken", token.into()),
        }
        push("v", PROTOCOL_VERSION.to_string().into());
        push("format", Str::from_static(config.format.name()));
        push("echo", Str::from_static(if config.echo_messages { "true" } else { "false" }));
        // The driver reports WebSocket pings, so the service need not send HEARTBEAT frames as well (RTN23b).
        push("heartbeats", Str::from_static("false"));
        push("agent", config.agent.clone());
        if let Some(client_id) = &config.client_id {
            push("clientId", client_id.clone());
        }
        match continuation {
            Continuation::None => {}
            Continuation::Resume(key) => push("resume", key.clone()),
            Continuation::Recover(key) => push("recover", key.clone()),
        }
        for (name, value) in &config.transport_params {
            params.retain(|(own, _)| **own != **name);
            params.push((name.as_str().into(), value.as_str().into()));
        }
        Self { host, params }
    }

    /// A parameter's value.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(own, _)| **own == *name).map(|(_, value)| &**value)
    }

    /// The encoding that the frames of this transport have.
    pub fn format(&self) -> Format {
        if self.param("format") == Some("json") { Format::Json } else { Format::MsgPack }
    }
}

impl fmt::Debug for ConnectRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SECRET: [&str; 5] = ["key", "accessToken", "access_token", "resume", "recover"];
        let params = self.params.iter().map(|(name, value)| {
            let secret = SECRET.contains(&&**name);
            (&**name, if secret { "[redacted]" } else { &**value })
        });
        f.debug_struct("ConnectRequest")
            .field("host", &self.host)
            .field("params", &params.collect::<Vec<_>>())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Credentials;

    fn config() -> Config {
        Config::new(Credentials::Key("aBcDeF.keyId:s3cret".parse().unwrap()))
    }

    fn request(config: &Config, continuation: Continuation<'_>) -> ConnectRequest {
        let Credentials::Key(key) = &config.credentials else { panic!("it is a key") };
        ConnectRequest::new(config, config.host.clone(), Proof::Key(key), continuation)
    }

    #[test]
    fn holds_what_rtn2_asks_for() {
        let mut config = config();
        config.client_id = Some("me".into());
        config.echo_messages = false;
        config.format = Format::Json;
        let request = request(&config, Continuation::Resume(&"conn!key".into()));
        assert_eq!(request.param("key"), Some("aBcDeF.keyId:s3cret"));
        assert_eq!(request.param("v"), Some("6"));
        assert_eq!(request.param("format"), Some("json"));
        assert_eq!(request.format(), Format::Json);
        assert_eq!(request.param("echo"), Some("false"));
        assert_eq!(request.param("clientId"), Some("me"));
        assert_eq!(request.param("resume"), Some("conn!key"));
        assert_eq!(request.param("heartbeats"), Some("false"));
        assert!(request.param("agent").is_some_and(|agent| agent.starts_with("capably/")));
    }

    #[test]
    fn transport_params_win() {
        let mut config = config();
        config.transport_params.insert("heartbeats".into(), "true".into());
        config.transport_params.insert("remainPresentFor".into(), "1000".into());
        let request = request(&config, Continuation::None);
        assert_eq!(request.params.iter().filter(|(name, _)| name == "heartbeats").count(), 1);
        assert_eq!(request.param("heartbeats"), Some("true"));
        assert_eq!(request.param("remainPresentFor"), Some("1000"));
        assert_eq!(request.param("resume"), None);
        assert_eq!(request.param("clientId"), None);
    }

    #[test]
    fn debug_hides_secrets() {
        let config = config();
        let text = format!("{:?}", request(&config, Continuation::Resume(&"conn!key".into())));
        assert!(!text.contains("s3cret") && !text.contains("conn!key"), "{text}");
        assert!(text.contains("main.realtime.ably.net"), "{text}");
        let host = config.host.clone();
        let token = Proof::Token("s3cret");
        let text = format!("{:?}", ConnectRequest::new(&config, host, token, Continuation::None));
        assert!(!text.contains("s3cret"), "{text}");
    }
}
