//! `capably presence`.

use capably::{Channel, PresenceMessage, Realtime};
use clap::Args;
use futures_util::future::try_join_all;

use crate::{
    failure::Failure,
    interrupt::until_interrupted,
    output::{Output, notice},
    payload,
    service::Service,
    visible::visible,
};

/// Show the members who are present on a channel, watch them, or enter as a member
#[derive(Debug, Args)]
#[command(after_help = "\
Without --watch and --enter, prints the members and ends. With --watch or --enter,
runs until Ctrl-C; members that --enter has entered leave then. With --json, each
member or event is an object with the field names of the protocol.

Examples:
  capably presence lobby
  capably presence lobby --watch --json
  capably presence lobby --enter ada --enter bob --data 'at my desk'")]
pub(crate) struct Presence {
    /// Channel whose members to show, or to enter
    channel: String,

    /// Print one JSON object per line, for other programs
    #[arg(long)]
    json: bool,

    /// Print the members, and then each member that enters, leaves or updates its data
    #[arg(long)]
    watch: bool,

    /// Enter as this client id; repeat the option to enter several
    #[arg(long, value_name = "CLIENT")]
    enter: Vec<String>,

    /// Data of the members that --enter enters
    #[arg(long, value_name = "TEXT", requires = "enter")]
    data: Option<String>,

    #[command(flatten)]
    service: Service,
}

impl Presence {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        until_interrupted(async |client, output| self.act(client, output).await).await
    }

    async fn act(&self, client: &mut Option<Realtime>, output: &mut Output) -> Result<(), Failure> {
        let client = client.insert(self.service.connect().await?);
        let channel = client.channels().get(self.channel.as_str());
        if !self.enter.is_empty() {
            self.enter(&channel).await?;
            notice(format_args!("Present on {}", visible(&self.channel)));
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
        notice(format_args!("Watching {}", visible(&self.channel)));
        while let Some(event) = events.next().await {
            self.print(&event, output)?;
            output.flush()?;
        }
        let ended = || Failure::failed("the subscription has ended");
        Err(events.end_reason().map_or_else(ended, |error| error.clone().into()))
    }

    fn print(&self, member: &PresenceMessage, output: &mut Output) -> Result<(), Failure> {
        if self.json {
            output.json(payload::member_json_line(&self.channel, member))
        } else {
            output.line(payload::member_human_line(member))
        }
    }
}
