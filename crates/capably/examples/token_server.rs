//! A token server, and a client that gets its tokens from the token server.
//!
//! Only the token server has the API key. It identifies the user and signs a token request for the user. The client
//! sends the token request to the service and receives a token. With the environment variable `ABLY_KEY`, the service
//! is Ably's. Without it, the example starts its own service.

#![allow(clippy::print_stdout, reason = "it is a program for people")]

use std::{convert::Infallible, time::Duration};

use capably::{Capability, ClientOptions, Operation, Rest, TokenParams};
use capably_server::Server;
use hyper::{
    Request, Response, StatusCode, body::Incoming, header::CONTENT_TYPE, server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (_service, key, elsewhere) = match std::env::var("ABLY_KEY") {
        Ok(key) => (None, key, ClientOptions::default()),
        Err(_) => {
            let service = Server::builder().start().await?;
            let options = ClientOptions::default()
                .endpoint(service.endpoint())
                .port(service.port())
                .tls(false);
            let key = service.key().to_owned();
            (Some(service), key, options)
        }
    };

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/token", listener.local_addr()?);
    let signer = Rest::new(elsewhere.clone().key(key))?;
    tokio::spawn(serve(listener, signer));

    let client = Rest::new(elsewhere.auth_url(url).auth_param("user", "ada"))?;
    let published = client.channels().get("chat:lobby").publish("greeting", "hello").await?;
    println!("published {:?} as {:?}", published.serials, client.auth().client_id());

    let refused = client.channels().get("secrets").publish("greeting", "hello").await;
    if let Err(error) = refused {
        println!("elsewhere: {error}");
    }
    Ok(())
}

/// Answers requests such as `GET /token?user=ada`.
async fn serve(listener: TcpListener, signer: Rest) {
    while let Ok((socket, _)) = listener.accept().await {
        let signer = signer.clone();
        let answer = service_fn(move |request| {
            let signer = signer.clone();
            async move { Ok::<_, Infallible>(token(&signer, &request).await) }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(socket), answer));
    }
}

/// Signs a token request for a user. A real server would identify the user by a session.
async fn token(signer: &Rest, request: &Request<Incoming>) -> Response<String> {
    let query = request.uri().query().unwrap_or_default();
    let Some(user) = query.split('&').find_map(|part| part.strip_prefix("user=")) else {
        return answer(StatusCode::FORBIDDEN, String::new());
    };
    let params = TokenParams::new()
        .client_id(user)
        .capability(Capability::new().allow("chat:*", [Operation::Publish, Operation::Subscribe]))
        .ttl(Duration::from_secs(600));
    match signer.auth().create_token_request().params(params).await {
        Ok(request) => answer(StatusCode::OK, request.to_json()),
        Err(error) => {
            println!("no token: {error}");
            answer(StatusCode::INTERNAL_SERVER_ERROR, String::new())
        }
    }
}

fn answer(status: StatusCode, body: String) -> Response<String> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let json = hyper::header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}
