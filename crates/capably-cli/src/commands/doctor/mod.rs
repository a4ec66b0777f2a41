//! `capably doctor`.

mod credentials;
mod http;
mod network;
mod report;
mod websocket;

use std::time::Duration;

use capably::{Capability, ClientOptions, Message, Operation, Realtime, Rest};
use clap::Args;
use futures_util::FutureExt;
use tokio::time::timeout;

use self::credentials::Credentials;
use self::report::{Outcome, Report};
use crate::{
    failure::{Exit, Failure},
    service::Service,
};

/// The channel of the test message, unless the user asks for another one.
const TEST_CHANNEL: &str = "capably-doctor";

/// How long a call of the SDK may take.
const CALL_LIMIT: Duration = Duration::from_secs(20);

/// How long the test message may take.
const MESSAGE_LIMIT: Duration = Duration::from_secs(10);

/// Operations that are named in the check of the capability.
const OPERATIONS: [Operation; 5] = [
    Operation::Publish,
    Operation::Subscribe,
    Operation::Presence,
    Operation::History,
    Operation::ChannelMetadata,
];

/// Check the key, the network and the service, and explain what is wrong
#[derive(Debug, Args)]
#[command(after_help = "\
The checks are, in this order:
  key         the API key or the token has the right form
  proxy       which proxy of the environment is used
  name        the name of the service has an address
  tcp         the port accepts a connection, or the proxy opens a tunnel
  tls         the handshake succeeds, and the certificate is valid
  service     the service answers over HTTP
  clock       the clock of this machine is right
  access      the service accepts the key
  capability  what the key may do on --channel
  websocket   a WebSocket opens: a proxy in between may prevent it
  message     a message that is published arrives

The test message goes to the channel capably-doctor. With --publish, it goes to
--channel, where others see it. The exit code is that of the first check that failed.

Examples:
  capably doctor
  capably doctor --channel greetings
  capably doctor --json | jq 'select(.result == \"failed\")'")]
pub(crate) struct Doctor {
    /// Channel on which the key must be allowed to publish or to subscribe
    #[arg(long)]
    channel: Option<String>,

    /// Publish the test message to --channel
    #[arg(long, requires = "channel")]
    publish: bool,

    /// Print one JSON object per check
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    service: Service,
}

impl Doctor {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let address = self.service.address()?;
        let mut report = Report::new(self.json);
        let given = self.key(&mut report)?;
        let reached = network::check(&address, &mut report).await?;
        if !reached {
            for check in ["service", "clock", "access", "capability", "websocket", "message"] {
                report.skipped(check, "the service cannot be reached")?;
            }
            return report.finish();
        }
        http::check(&address, &mut report).await?;
        let capability = self.access(given.as_ref(), &mut report).await?;
        self.capability(capability.as_ref(), &mut report)?;
        let key = self.service.key_text();
        let opens =
            websocket::check(&address, key.as_deref(), self.service.format(), &mut report).await?;
        let options = given.map(|(options, _)| options);
        self.message(options, capability.as_ref(), opens, &mut report).await?;
        report.finish()
    }

    fn key(&self, report: &mut Report) -> Result<Option<(ClientOptions, Credentials)>, Failure> {
        match (self.service.options(), self.service.key_text()) {
            (Ok(options), Some(key)) => {
                let credentials = credentials::check(&key, report)?;
                Ok(credentials.map(|credentials| (options, credentials)))
            }
            (Ok(_), None) => Ok(None),
            (Err(failure), _) => {
                report.failed("key", failure)?;
                Ok(None)
            }
        }
    }

    /// Uses the key or the token, and returns its capability.
    async fn access(
        &self,
        given: Option<&(ClientOptions, Credentials)>,
        report: &mut Report,
    ) -> Result<Option<Capability>, Failure> {
        let Some((options, credentials)) = given else {
            report.skipped("access", "there is no key of the right form")?;
            return Ok(None);
        };
        let (asked, name) = match credentials {
            // Every valid key may ask for a token, whose capability is that of the key. The service's time is used,
            // because a wrong clock has a check of its own.
            Credentials::Key => {
                let options = options.clone().query_time(true);
                let asked = async {
                    let token = Rest::new(options)?.auth().request_token().await?;
                    Ok(token.capability.and_then(|capability| capability.parse().ok()))
                };
                (asked.boxed(), "key")
            }
            Credentials::Token(capability) => {
                let asked = async {
                    Realtime::connect(options.clone()).await?.close().await;
                    Ok::<_, capably::Error>(capability.clone())
                };
                (asked.boxed(), "token")
            }
        };
        match timeout(CALL_LIMIT, asked).await {
            Ok(Ok(capability)) => {
                report.ok("access", &format!("the service accepts the {name}"))?;
                Ok(capability)
            }
            Ok(Err(error)) => {
                report.failed("access", error.into())?;
                Ok(None)
            }
            Err(_) => {
                let failure = Failure::timed_out("the service does not answer");
                report.failed("access", failure.remedy("try again later"))?;
                Ok(None)
            }
        }
    }

    fn capability(
        &self,
        capability: Option<&Capability>,
        report: &mut Report,
    ) -> Result<(), Failure> {
        let Some(capability) = capability else {
            return report.skipped("capability", "the capability of the key is not known");
        };
        let Some(channel) = &self.channel else {
            return report.ok("capability", &format!("the key has the capability {capability}"));
        };
        let may = |operation: &Operation| capability.allows(channel, operation);
        let allowed: Vec<String> =
            OPERATIONS.iter().filter(|op| may(op)).map(|op| op.as_str().to_owned()).collect();
        let missing: Vec<String> = [Operation::Publish, Operation::Subscribe]
            .iter()
            .filter(|operation| !may(operation))
            .map(|op| op.as_str().to_owned())
            .collect();
        let message = match allowed.is_empty() {
            true => format!("the key may do nothing on {channel}; its capability is {capability}"),
            false => format!("the key may {} on {channel}", allowed.join(", ")),
        };
        let remedy = format!(
            "to {} there, use another key, or add the operation to the capability of this one",
            missing.join(" or ")
        );
        let outcome = match missing.len() {
            0 => Outcome::Ok,
            1 => Outcome::Warning { remedy },
            _ => Outcome::Failed { exit: Exit::Refused, code: None, remedy },
        };
        report.add("capability", &message, outcome)
    }

    /// Publishes a message, and waits for it.
    async fn message(
        &self,
        options: Option<ClientOptions>,
        capability: Option<&Capability>,
        opens: bool,
        report: &mut Report,
    ) -> Result<(), Failure> {
        let channel = match &self.channel {
            Some(channel) if self.publish => channel.as_str(),
            _ => TEST_CHANNEL,
        };
        let (Some(options), Some(capability), true) = (options, capability, opens) else {
            return report.skipped("message", "an earlier check failed");
        };
        let may = |operation: Operation| capability.allows(channel, &operation);
        if !may(Operation::Publish) || !may(Operation::Subscribe) {
            let why = format!("the key may not publish and subscribe on {channel}");
            return report.skipped("message", &why);
        }
        match exchange(options, channel).await {
            Ok(Exchange { acknowledged: true, delivered: true }) => {
                report.ok("message", &format!("a message to {channel} arrived"))
            }
            Ok(Exchange { acknowledged, delivered }) => {
                let seconds = MESSAGE_LIMIT.as_secs();
                let what = match (acknowledged, delivered) {
                    (false, true) => format!("arrived, but was not acknowledged in {seconds} s"),
                    (true, _) => format!("was acknowledged, but did not arrive in {seconds} s"),
                    (false, false) => {
                        format!("neither arrived nor was acknowledged in {seconds} s")
                    }
                };
                let failure = Failure::timed_out(format!("a message to {channel} {what}"));
                let remedy = "something between here and the service drops frames: a proxy, or a rule of a server's fault \
                              injection; `capably record` shows which frames arrive";
                report.failed("message", failure.remedy(remedy))
            }
            Err(failure) => report.failed("message", failure),
        }
    }
}

/// Whether the service acknowledged the message that the doctor published, and whether it delivered it.
struct Exchange {
    acknowledged: bool,
    delivered: bool,
}

/// Publishes a message, and waits for its acknowledgement and its delivery.
async fn exchange(options: ClientOptions, channel: &str) -> Result<Exchange, Failure> {
    let attached = async {
        let client = Realtime::connect(options).await?;
        let channel = client.channels().get(channel);
        let messages = channel.subscribe().await?;
        Ok::<_, capably::Error>((client, channel, messages))
    };
    let attached = timeout(CALL_LIMIT, attached).await;
    let (client, channel, mut messages) = attached.map_err(|_| {
        Failure::timed_out("the service does not answer the test client").remedy("try again later")
    })??;
    let message = Message::new("doctor", "A test message of capably doctor");
    let receipt = channel.publish_message(message).submit().await?;
    let connection = client.connection().id();
    let delivery = async {
        while let Some(message) = messages.next().await {
            if message.connection_id == connection {
                break;
            }
        }
    };
    let (acknowledged, delivered) =
        tokio::join!(timeout(MESSAGE_LIMIT, receipt), timeout(MESSAGE_LIMIT, delivery));
    client.close().await;
    let acknowledged = acknowledged.map_or(Ok(false), |receipt| receipt.map(|_| true))?;
    Ok(Exchange { acknowledged, delivered: delivered.is_ok() })
}
