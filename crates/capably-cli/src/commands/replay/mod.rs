//! `capably replay`.

mod compare;
mod play;
mod script;
mod show;

use std::{path::PathBuf, sync::Arc};

use clap::Args;
use serde_json::json;

use self::script::Script;
use crate::{
    failure::Failure,
    interrupt::Interrupts,
    local,
    output::{Output, notice},
    trace::Recording,
};

/// Answer a client as the service did in a recording, or show the recording
#[derive(Debug, Args)]
#[command(after_help = "\
Starts a server on this machine for the client that shows the bug. The first WebSocket
of the client gets the frames of the first WebSocket in the recording, and so on. Frames
of the service are sent in the recorded order and pace. Before each recorded frame of the
client, the server waits until the client sends a frame with the same action for the same
channel. A request gets the next recorded response for its method and path. The server
accepts any key or token. Ctrl-C stops it.

Lines on stderr say where the client does something else than in the recording: other
ids, names, numbers or order of messages, frames that are missing, and frames that are
not recorded. Payloads are not compared. The last line counts the frames.

With --show, the recording is printed, and no server is started.

Examples:
  capably replay trace.jsonl
  capably replay trace.jsonl --speed 10
  capably replay trace.jsonl --show")]
pub(crate) struct Replay {
    /// File that `capably record` has written
    file: PathBuf,

    /// Print the recording instead of starting a server
    #[arg(long, conflicts_with_all = ["port", "speed"])]
    show: bool,

    /// Port to listen on; 0 takes a free port
    #[arg(long, default_value_t = 0)]
    port: u16,

    /// Send frames so many times as fast as they were recorded; 0 sends them at once
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = speed)]
    speed: f64,

    /// Print endpoint and port as one line of JSON; with --show, one JSON object per event
    #[arg(long)]
    json: bool,
}

impl Replay {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let mut recording = Recording::read(&self.file)?;
        let damage = recording.damage.take();
        let mut output = Output::stdout();
        if self.show {
            show::print(&recording, self.json, &mut output)?;
            output.flush()?;
            return match damage {
                None => Ok(()),
                Some(damage) => Err(Failure::failed(format!("{}: {damage}", self.file.display()))
                    .remedy("what comes before the damage is shown")),
            };
        }
        if let Some(damage) = damage {
            notice(format_args!("warning: {damage}; what comes before is replayed"));
        }
        let mut interrupts = Interrupts::listen()?;
        let script = Arc::new(Script::new(recording, self.speed));
        let (connections, requests) = script.counts();
        let (listener, address) = local::listen(self.port).await?;
        let (host, port) = (address.ip(), address.port());
        if self.json {
            output.json_now(json!({
                "endpoint": host.to_string(), "port": port,
                "connections": connections, "requests": requests,
            }))?;
        } else {
            output.line_now(format_args!(
                "\
Replaying {}; Ctrl-C stops.

  recorded  connections: {connections}, requests: {requests}
  endpoint  {host}
  port      {port}
",
                self.file.display(),
            ))?;
        }
        tokio::select! {
            () = local::serve(listener, Arc::clone(&script)) => {}
            _ = interrupts.next() => {}
        }
        match self.json {
            true => output.json_now(script.tally().to_json()),
            false => output.line_now(script.tally().to_line()),
        }
    }
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(speed) if speed.is_finite() && speed >= 0.0 => Ok(speed),
        _ => Err("not a factor such as 1, 0.5 or 10".to_owned()),
    }
}
