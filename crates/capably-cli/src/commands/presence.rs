//! `capably presence`.

use capably::{Channel, PresenceMessage, Realtime};
use clap::Args;
use futures_util::future::try_join_all;

use crate::{
    failure::Failure,
    interrupt::Interrupts,
    output::{Output, notice},
    payload,
    service::Service,
};

/// Show who is present on a channel, follow what members do, or be present
#[derive(Debug, Args)]
#[command(after_help = "\
Without --watch and --enter it prints the members and ends. With either it runs until
Ctrl-C; members entered by --enter then leave. With --json each member or event is an
object with the names of the wire.

Examples:
  capably presence lobby
  capably presence lobby --watch --json
  capably presence lobby --enter ada --enter bob --data 'at my desk'")]
pub(crate) struct Presence {
    /// Channel to look at, or to be present on
    channel: String,

    /// One JSON object a line, for other programs
    #[arg(long)]
    json: bool,

    /// Print who is there, then who enters, leaves or changes
    #[arg(long)]
    watch: bool,

    /// Enter as this client; may be given several times
    #[arg(long, value_name = "CLIENT")]
    enter: Vec<String>,

    /// What those who enter say of themselves
    #[arg(long, value_name = "TEXT", requires = "enter")]
    data: Option<String>,

    #[command(flatten)]
    service: Service,
}

impl Presence {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let mut interrupts = Interrupts::listen()?;
        let mut output = Output::stdout();
        let mut client = None;
        let result = tokio::select! {
            result = self.act(&mut client, &mut output) => result,
            () = interrupts.next() => Ok(()),
        };
        if let Some(client) = client {
            client.connection().close().await;
        }
        result.and(output.flush())
    }

    async fn act(&self, client: &mut Option<Realtime>, output: &mut Output) -> Result<(), Failure> {
        let client = client.insert(self.service.connect().await?);
        let channel = client.channels().get(self.channel.as_str());
        if !self.enter.is_empty() {
            self.enter(&channel).await?;
            notice(format_args!("Present on {}", self.channel));
        }
        if self.watch {
            return self.follow(&channel, output).await;
        }
        if self.enter.is_empty() {
            for member in channel.presence().get().await? {
                self.print(&member, output)?;
            }
            return Ok(());
        }
        std::future::pending().await
    }

    async fn enter(&self, channel: &Channel) -> Result<(), Failure> {
        let enters = self.enter.iter().map(|client| {
            let change = channel.presence().enter_client(client.as_str());
            match &self.data {
                Some(data) => change.data(data.as_str()).into_future(),
                None => change.into_future(),
            }
        });
        try_join_all(enters).await?;
        Ok(())
    }

    async fn follow(&self, channel: &Channel, output: &mut Output) -> Result<(), Failure> {
        let mut events = channel.presence().subscribe().await?;
        notice(format_args!("Watching {}", self.channel));
        while let Some(event) = events.next().await {
            self.print(&event, output)?;
            output.flush()?;
        }
        let ended = || Failure::failed("the subscription has ended");
        Err(events.end_reason().map_or_else(ended, |error| error.clone().into()))
    }

    fn print(&self, member: &PresenceMessage, output: &mut Output) -> Result<(), Failure> {
        if self.json {
            output.line(payload::member_json_line(&self.channel, member))
        } else {
            output.line(payload::member_human_line(member))
        }
    }
}
