//! `capably serve` and its clients over TLS.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
};

use serde_json::Value;

use crate::support::{capably, finish, hang_up, interrupt, stderr, succeeded};

const CERTIFICATES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/certificates");

/// Starts a server with these options, and returns the line that it prints.
fn serve(options: &[&str]) -> (std::process::Child, Value) {
    let arguments = [&["serve", "--json", "--port", "0"], options].concat();
    let mut child = capably(arguments).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let said = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"));
    (child, said)
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn clients_trust_the_certificate_that_a_server_has_made() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("certificate.pem");
    let (child, said) = serve(&["--tls-self-signed", path(&file)]);
    assert_eq!(said["ca"], path(&file));
    assert!(!fs::read_to_string(&file).unwrap().contains("PRIVATE"));
    assert!(said["console"].as_str().unwrap().starts_with("https://"), "{said}");
    let (port, key) = (said["port"].to_string(), said["key"].as_str().unwrap().to_owned());
    let place = ["--endpoint", "localhost", "--port", &port, "--key", &key];
    let run = |command: &[&str], more: &[&str]| {
        finish(capably([command, &place, more].concat()).spawn().unwrap())
    };
    let ca = ["--ca", path(&file)];
    for format in ["json", "msgpack"] {
        succeeded(run(&["publish", "a", "n", "over TLS", "--format", format], &ca));
        let found = succeeded(run(&["history", "a", "--format", format], &ca));
        assert!(found.contains("over TLS"), "{found}");
    }
    let checked = run(&["doctor", "--json"], &ca);
    assert_eq!(checked.status.code(), Some(0), "{}", String::from_utf8_lossy(&checked.stdout));
    let mut with_variable = capably([&["time"][..], &place].concat());
    with_variable.env("CAPABLY_CA", &file);
    succeeded(finish(with_variable.spawn().unwrap()));
    let plain = run(&["history", "a"], &[]);
    assert_ne!(plain.status.code(), Some(0));
    assert!(stderr(&plain).contains("TLS"), "{}", stderr(&plain));
    let missing = run(&["history", "a"], &["--ca", "no-such-file.pem"]);
    assert_eq!(missing.status.code(), Some(2), "{}", stderr(&missing));
    interrupt(&child);
    assert_eq!(finish(child).status.code(), Some(0));
}

#[cfg(unix)]
#[test]
fn a_certificate_is_read_again_and_a_bad_one_is_not_taken() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("certificate.pem");
    fs::copy(format!("{CERTIFICATES}/good.pem"), &file).unwrap();
    let key = format!("{CERTIFICATES}/key.pem");
    let (mut child, said) = serve(&["--tls-cert", path(&file), "--tls-key", &key]);
    assert_eq!(said["ca"], Value::Null);
    let mut notices = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut next = || notices.next().unwrap().unwrap();
    fs::write(&file, "nonsense").unwrap();
    hang_up(&child);
    let notice = next();
    assert!(
        notice.starts_with("The server goes on with the certificate that it has: "),
        "{notice}"
    );
    assert!(next().starts_with("  remedy: "));
    fs::copy(format!("{CERTIFICATES}/other-name.pem"), &file).unwrap();
    hang_up(&child);
    assert_eq!(next(), "The certificate was read again. New connections get it.");
    interrupt(&child);
    assert_eq!(finish(child).status.code(), Some(0));

    let refused = finish(
        capably(["serve", "--port", "0", "--tls-cert", path(&file), "--tls-key", path(&file)])
            .spawn()
            .unwrap(),
    );
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("the key is not a private key"), "{}", stderr(&refused));
}
