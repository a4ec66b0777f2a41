//! Several authorize calls at once, and a request of the service (RTC8).

use std::time::Duration;

use capably::{Message, realtime::ConnectionState};
use capably_protocol::{ServerFrame, frame::Delivery};
use futures_util::future::join_all;

use crate::{in_both_formats, support::*, tokens::*};

/// A token with this number, after as many seconds.
fn slow(number: usize) -> Outcome {
    Box::pin(async move {
        tokio::time::sleep(Duration::from_secs(number as u64)).await;
        Ok(format!("token-{number}").into())
    })
}

// Spec: RTC8a3
in_both_formats! {
    async fn each_authorize_call_has_its_own_token_and_answer(format) {
        let tokens = Tokens::default();
        let (client, _service, mut peer) = connected_as(format, tokens.scripted(slow)).await;
        let calls = join_all((0..3).map(|_| client.auth().authorize().into_future()));
        let answers = async {
            let mut sent = Vec::new();
            for key in ["key-2", "key-3", "key-4"] {
                sent.push(peer.expect_auth().await);
                peer.send(connected_frame("connection-1", key));
            }
            sent
        };
        let (outcomes, sent) = tokio::join!(calls, answers);
        let own = outcomes.into_iter().map(|outcome| outcome.unwrap().token.to_string());
        assert_eq!(own.collect::<Vec<_>>(), sent);
        assert_eq!(sent, ["token-2", "token-3", "token-4"]);
        assert_eq!(client.auth().token_details().unwrap().token, "token-4");
        quiet(&client, &mut peer).await;
        assert_eq!(tokens.asked(), 4);
    }
}

in_both_formats! {
    async fn a_failed_authorize_call_leaves_the_others(format) {
        let tokens = Tokens::default();
        let options = tokens.scripted(|number| match number {
            2 => refuse(50000, 500),
            _ => give(format!("token-{number}")),
        });
        let (client, _service, mut peer) = connected_as(format, options).await;
        let calls = join_all((0..2).map(|_| client.auth().authorize().into_future()));
        let answer = async {
            assert_eq!(peer.expect_auth().await, "token-3");
            peer.send(connected_frame("connection-1", "key-2"));
        };
        let (outcomes, ()) = tokio::join!(calls, answer);
        let outcomes: Vec<_> = outcomes
            .into_iter()
            .map(|outcome| outcome.map(|details| details.token).map_err(|error| error.code().0))
            .collect();
        assert_eq!(outcomes, [Err(50000), Ok("token-3".into())]);
        assert_eq!(client.connection().state(), ConnectionState::Connected);
    }
}

// Spec: RTC8b
in_both_formats! {
    async fn authorize_calls_while_connecting_end_with_the_connection(format) {
        let tokens = Tokens::default();
        let (client, mut service) = client_of(format, tokens.scripted(slow));
        let calls = join_all((0..3).map(|_| client.auth().authorize().into_future()));
        let service = async {
            // The client abandons an attempt with an older token.
            loop {
                let attempt = service.attempt().await;
                if attempt.param("accessToken").as_deref() == Some("token-3") {
                    let mut peer = attempt.accept();
                    peer.send(connected_frame("connection-1", "key-1"));
                    return peer;
                }
            }
        };
        let (outcomes, _peer) = tokio::join!(calls, service);
        let own = outcomes.into_iter().map(|outcome| outcome.unwrap().token.to_string());
        assert_eq!(own.collect::<Vec<_>>(), ["token-1", "token-2", "token-3"]);
        assert_eq!(client.connection().state(), ConnectionState::Connected);
    }
}

// Spec: RTC8b1
in_both_formats! {
    async fn authorizing_survives_a_transport_lost_before_the_answer(format) {
        let tokens = Tokens::default();
        let (client, mut service, mut peer) = connected_as(format, tokens.options()).await;
        let service_side = async {
            assert_eq!(peer.expect_auth().await, "token-2");
            drop(peer);
            let attempt = service.attempt().await;
            assert_eq!(attempt.param("accessToken").as_deref(), Some("token-2"));
            let mut peer = attempt.accept();
            peer.send(connected_frame("connection-1", "key-2"));
            peer
        };
        let (token, _peer) = tokio::join!(client.auth().authorize(), service_side);
        assert_eq!(token.unwrap().token, "token-2");
    }
}

// Spec: RTN22
in_both_formats! {
    async fn repeated_requests_of_the_service_get_one_token(format) {
        let tokens = Tokens::default();
        let (client, _service, mut peer) = connected_as(format, tokens.scripted(slow)).await;
        for _ in 0..5 {
            peer.send(ServerFrame::Auth);
        }
        assert_eq!(peer.expect_auth().await, "token-2");
        peer.send(ServerFrame::Auth);
        quiet(&client, &mut peer).await;
        peer.send(connected_frame("connection-1", "key-2"));
        quiet(&client, &mut peer).await;
        assert_eq!(tokens.asked(), 2);
        // After it has received a token, the service may request the next.
        peer.send(ServerFrame::Auth);
        assert_eq!(peer.expect_auth().await, "token-3");
    }
}

// Spec: RTN22, RTC8a
in_both_formats! {
    async fn messages_are_delivered_while_a_token_is_requested(format) {
        let tokens = Tokens::default();
        let options = tokens.scripted(|number| match number {
            1 => give("token-1"),
            _ => hang(),
        });
        let (client, _service, mut peer) = connected_as(format, options).await;
        let channel = client.channels().get("ch");
        attach(&channel, &mut peer).await;
        let mut messages = subscribed(&channel).await;
        peer.send(ServerFrame::Auth);
        for number in 0..100 {
            let item = Message::new(format!("{number}"), number.to_string());
            peer.send(ServerFrame::Message(Delivery::new("ch", vec![item])));
            let message = messages.next().await.unwrap();
            assert_eq!(message.name.as_deref(), Some(&*number.to_string()));
            let receipt = channel.publish("n", "d").submit().await.unwrap();
            assert_eq!(peer.message().await.0, number);
            peer.send(ack(number, 1));
            receipt.await.unwrap();
        }
        assert_eq!(tokens.asked(), 2);
        assert_eq!(client.connection().state(), ConnectionState::Connected);
    }
}
