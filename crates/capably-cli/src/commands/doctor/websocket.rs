//! The check of WebSockets.

use std::time::Duration;

use capably::ErrorCode;
use capably_server::protocol::{PROTOCOL_VERSION, frame::Action};
use futures_util::StreamExt;
use hyper::Request;
use serde_json::Value;
use tokio::time::timeout;
use tokio_tungstenite::{
    client_async_with_config,
    tungstenite::{Error as WsError, Message, handshake::client::generate_key},
};

use super::report::{Outcome, Report};
use crate::{
    dial::{self, Address},
    failure::{Exit, Failure},
    local::websocket_config,
    service::Format,
    trace::{self, FrameFormat},
};

/// How long the WebSocket and its first frame may take.
const LIMIT: Duration = Duration::from_secs(10);

const PROXY_REMEDY: &str = "a proxy, a load balancer or a firewall between here and the service must let WebSockets pass: \
                            it must forward the headers Upgrade and Connection";

/// Opens a WebSocket, and waits for the first frame. A refused key is no fault of the WebSocket.
pub(super) async fn check(
    address: &Address,
    key: Option<&str>,
    format: Format,
    report: &mut Report,
) -> Result<bool, Failure> {
    let first = match timeout(LIMIT, first_frame(address, key, format)).await {
        Ok(first) => first,
        Err(_) => Err(format!("no frame arrives in {} s", LIMIT.as_secs())),
    };
    let frame = match first {
        Ok(frame) => frame,
        Err(why) => {
            let remedy = PROXY_REMEDY.to_owned();
            let outcome = Outcome::Failed {
                exit: Exit::Unreachable,
                code: Some(ErrorCode::CONNECTION_FAILED),
                remedy,
            };
            report.add("websocket", &format!("a WebSocket does not open: {why}"), outcome)?;
            return Ok(false);
        }
    };
    if frame["action"].as_u64() == Some(Action::Connected.number().into()) {
        report.ok("websocket", "a WebSocket opens, and the service answers CONNECTED")?;
        return Ok(true);
    }
    let message = frame["error"]["message"].as_str().unwrap_or("another frame than CONNECTED");
    report.ok("websocket", &format!("a WebSocket opens; the service answers: {message}"))?;
    Ok(false)
}

async fn first_frame(
    address: &Address,
    key: Option<&str>,
    format: Format,
) -> Result<Value, String> {
    let stream = dial::connect(address).await.map_err(|error| error.to_string())?;
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("v", &PROTOCOL_VERSION.to_string()).append_pair("format", format.name());
    if let Some(key) = key {
        let name = if key.contains(':') { "key" } else { "access_token" };
        query.append_pair(name, key);
    }
    let request = Request::get(format!("ws://{}/?{}", address.authority(), query.finish()))
        .header("Host", address.host_header())
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", generate_key())
        .body(())
        .map_err(|error| error.to_string())?;
    let opened = client_async_with_config(request, stream, Some(websocket_config())).await;
    let (mut socket, _) = opened.map_err(|error| match error {
        WsError::Http(answer) => {
            format!("the answer to the upgrade has the status {}", answer.status())
        }
        other => other.to_string(),
    })?;
    let frame = loop {
        let (format, bytes) = match socket.next().await {
            Some(Ok(Message::Text(text))) => (FrameFormat::Json, text.into()),
            Some(Ok(Message::Binary(bytes))) => (FrameFormat::Msgpack, bytes),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
            Some(Ok(Message::Close(_))) | None => return Err("it is closed at once".to_owned()),
            Some(Err(error)) => return Err(error.to_string()),
        };
        break trace::decode(format, &bytes).ok_or("the first frame is no frame of Ably")?;
    };
    let _ = timeout(Duration::from_secs(1), socket.close(None)).await;
    Ok(frame)
}
