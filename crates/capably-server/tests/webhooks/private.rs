//! Addresses that webhooks may not call.

use std::net::{IpAddr, Ipv4Addr};

use super::{endpoint::Reaction, support::refusal, *};

fn rule_for(url: &str) -> Value {
    json!({
        "ruleType": "http", "requestMode": "single", "source": {"type": "channel.message"},
        "target": {"url": url, "format": "json"},
    })
}

async fn everywhere() -> Builder {
    hasty().bind(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
}

/// Creates a rule, and returns its id.
async fn create(server: &Server, url: &str) -> String {
    let path = rule_path(server, "");
    let created = ask(server, server.key(), Format::Json, "POST", &path, &rule_for(url)).await;
    assert_eq!(created.0.status, 201, "{:?}", created.1);
    created.1["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_url_with_a_private_address_is_refused() {
    let server = everywhere().await.start().await.unwrap();
    for url in [
        "http://127.0.0.1/",
        "http://10.0.0.1:80/",
        "http://169.254.169.254/latest/meta-data",
        "http://192.168.1.1/",
        "http://[::1]/",
        "http://[fd00::1]/",
        "http://[fe80::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:10.0.0.1]/",
    ] {
        for format in FORMATS {
            let path = rule_path(&server, "");
            let refused = ask(&server, server.key(), format, "POST", &path, &rule_for(url)).await;
            assert_eq!(refusal(&refused), (400, 40000), "{url}");
            let message = refused.1["error"]["message"].as_str().unwrap();
            assert!(message.contains("--allow-private-webhooks"), "{message}");
        }
    }
}

#[tokio::test]
async fn a_name_that_leads_to_a_private_address_is_not_called() {
    let endpoint = Endpoint::new().await;
    let server = everywhere().await.start().await.unwrap();
    let port = endpoint.address().port();
    // The second is an address to the system, and not to a parser of URLs.
    for host in ["localhost", "2130706433"] {
        let id = create(&server, &format!("http://{host}:{port}/")).await;
        publish(&server, "a", ["secret".to_owned()]).await;
        let letters = dead_letters(&server, &id, 1).await;
        let letter = &letters["items"][0];
        assert_eq!(letter["error"]["code"], 70001);
        let path = rule_path(&server, &format!("/{id}"));
        ask(&server, server.key(), Format::Json, "DELETE", &path, &Value::Null).await;
    }
    assert_eq!(endpoint.connections(), 0);
}

#[tokio::test]
async fn private_addresses_are_called_when_the_operator_allows_it() {
    let mut endpoint = Endpoint::new().await;
    let server = everywhere().await.allow_private_webhooks(true).start().await.unwrap();
    create(&server, &endpoint.url()).await;
    publish(&server, "a", ["x".to_owned()]).await;
    assert_eq!(endpoint.next().await.data(), ["x"]);
}

#[tokio::test]
async fn a_server_on_a_loopback_address_calls_loopback_and_nothing_else_that_is_private() {
    let server = hasty().start().await.unwrap();
    create(&server, "http://127.0.0.1:1/").await;
    let path = rule_path(&server, "");
    let rule = rule_for("http://10.0.0.1/");
    let refused = ask(&server, server.key(), Format::Json, "POST", &path, &rule).await;
    assert_eq!(refusal(&refused), (400, 40000));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let inner = Endpoint::new().await;
    let url = inner.url();
    let outer = Endpoint::with(move |_, _| Reaction::Redirect(url.clone())).await;
    let server = start([messages(&outer)]).await;
    publish(&server, "a", ["x".to_owned()]).await;
    let letters = dead_letters(&server, "rule", 1).await;
    let error = &letters["items"][0]["error"];
    assert_eq!((&error["code"], &error["statusCode"]), (&json!(70002), &json!(307)));
    assert_eq!((inner.connections(), outer.count()), (0, 1));
}
