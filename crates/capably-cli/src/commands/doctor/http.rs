//! The checks of the service over HTTP, and of the clock.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::report::{Outcome, Report};
use crate::{
    clock,
    dial::{self, Address},
    failure::{Exit, Failure},
    stats::short,
};

/// How long the service may take to answer.
const LIMIT: Duration = Duration::from_secs(10);

/// The service refuses a JSON Web Token whose times are further from its own, in ms.
const REFUSED: i64 = 120_000;

/// A clock that is further away gives a warning, in ms.
const UNUSUAL: i64 = 5_000;

/// Asks for the time, and compares it.
pub(super) async fn check(address: &Address, report: &mut Report) -> Result<(), Failure> {
    let before = clock::now();
    let answer = match timeout(LIMIT, time(address)).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("it does not answer in {} s", LIMIT.as_secs())),
    };
    let after = clock::now();
    match answer {
        Ok(time) => {
            report.ok("service", &format!("{} is an Ably service", address.authority()))?;
            let offset = time - (before + (after - before) / 2);
            clock_check(offset, report)
        }
        Err(why) => {
            let place = address.authority();
            let (message, remedy) = match dial::speaks_tls(address).await {
                true => (
                    format!("{place} speaks TLS, and the connection has no TLS"),
                    "leave out --no-tls; a local endpoint never uses TLS, so use another name of the machine there, \
                     or the port of a server without TLS",
                ),
                false => (
                    format!("GET /time of {place} fails: {why}"),
                    "check --endpoint and --port: another program may listen there, or a proxy may answer",
                ),
            };
            let remedy = remedy.to_owned();
            let outcome = Outcome::Failed { exit: Exit::Failed, code: None, remedy };
            report.add("service", &message, outcome)?;
            report.skipped("clock", "the time of the service is not known")
        }
    }
}

fn clock_check(offset: i64, report: &mut Report) -> Result<(), Failure> {
    let distance = offset.unsigned_abs();
    let shown = short(Duration::from_millis(distance));
    let side = if offset > 0 { "behind" } else { "ahead of" };
    let message = format!("the clock of this machine is {shown} {side} the service's");
    let remedy = "set the clock of this machine, for example with NTP; until then, tokens and JSON Web Tokens that it \
                  signs are refused or end too early. The option `query_time` of a client asks the service for the time";
    let remedy = remedy.to_owned();
    let outcome = match i64::try_from(distance).unwrap_or(i64::MAX) {
        REFUSED.. => Outcome::Failed { exit: Exit::Failed, code: None, remedy },
        UNUSUAL.. => Outcome::Warning { remedy },
        _ => Outcome::Ok,
    };
    report.add("clock", &message, outcome)
}

/// The time of the service, in ms since the epoch.
async fn time(address: &Address) -> Result<i64, String> {
    let stream = dial::connect(address).await.map_err(|error| error.to_string())?;
    let request = Request::get("/time")
        .header(header::HOST, address.host_header())
        .header(header::ACCEPT, "application/json")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
    let answered = async {
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = response.status();
        let body = Limited::new(response.into_body(), 64 * 1024).collect().await;
        let body = body.map_err(|error| error.to_string())?.to_bytes();
        match serde_json::from_slice::<Vec<i64>>(&body).as_deref() {
            Ok([time]) if status.is_success() => Ok(*time),
            _ if status.is_success() => Err("the answer is no time".to_owned()),
            _ => Err(format!("it answers with the status {status}")),
        }
    };
    tokio::pin!(answered);
    tokio::select! {
        answer = &mut answered => answer,
        // The connection has ended, but the sender may still have the response that it read before.
        _ = connection => answered.await,
    }
}
