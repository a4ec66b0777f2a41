//! The program becomes a push device (RSH2 to RSH8).

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use capably::{
    ClientOptions, DeviceFormFactor, DevicePlatform, Error, ErrorCode, Rest, Result, TokenDetails,
    http::{HttpErrorKind, HttpResponse},
    push::{MemoryPushStorage, PushOptions, PushRecipient, PushStorage},
    rest::WrapperSdkProxyOptions,
};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::{
    both_formats,
    support::scripted_http::{Answer, KEY, Request, ScriptedHttp, respond},
};

mod callbacks;
mod crashes;
mod requests;
mod storage;

const DEVICES: &str = "/push/deviceRegistrations";

fn push(storage: &MemoryPushStorage) -> PushOptions {
    push_with(storage, PushRecipient::fcm("t0"))
}

fn push_with(
    storage: &MemoryPushStorage,
    transport: impl capably::push::PushTransport,
) -> PushOptions {
    PushOptions::new(DevicePlatform::Android, storage.clone(), transport)
}

fn options(storage: &MemoryPushStorage) -> ClientOptions {
    ClientOptions::new(KEY).push(push(storage))
}

/// A service that registers every device.
fn service() -> ScriptedHttp {
    ScriptedHttp::new(|request, _| answer(request.method.as_str()))
}

/// What the service answers to a request of this method.
fn answer(method: &str) -> Answer {
    match method {
        "POST" => respond(201, json!({"id": "d", "deviceIdentityToken": {"token": "identity"}})),
        "DELETE" => Answer::Raw(HttpResponse::new(204, "")),
        _ => respond(200, json!({"id": "d"})),
    }
}

/// A service that answers requests of one method in this way.
fn service_with(method: &'static str, answer_of_it: Answer) -> ScriptedHttp {
    ScriptedHttp::new(move |request, _| match request.method.as_str() {
        own if own == method => answer_of_it.clone(),
        other => answer(other),
    })
}

fn methods(http: &ScriptedHttp) -> Vec<&'static str> {
    http.requests().iter().map(Request::method).collect()
}

fn refused(code: u32, status: u16) -> Answer {
    respond(status, json!({"error": {"code": code, "statusCode": status, "message": "no"}}))
}

/// Options whose updates are received.
fn with_updates(push: PushOptions) -> (PushOptions, mpsc::UnboundedReceiver<Result<()>>) {
    let (sender, updates) = mpsc::unbounded_channel();
    (push.updated_callback(move |result| sender.send(result).unwrap()), updates)
}

/// Waits for an event, but not for ever.
async fn soon<T>(event: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), event).await.expect("it takes too long")
}

/// What the storage has.
fn stored(storage: &MemoryPushStorage) -> Value {
    serde_json::from_slice(&storage.load().unwrap().unwrap()).unwrap()
}
