//! The Dockerfile of the repository, without Docker: its command serves, and its health check asks for a path that exists.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
};

use crate::support::{Server, capably};

/// The JSON array of an instruction, as in `CMD ["serve"]`.
fn words(dockerfile: &str, instruction: &str) -> Vec<String> {
    let joined = dockerfile.replace("\\\n", " ");
    let line = joined.lines().find(|line| line.starts_with(instruction)).unwrap();
    let (_, array) = line.split_once('[').unwrap();
    serde_json::from_str(&format!("[{array}")).unwrap()
}

#[test]
fn the_command_of_the_image_serves_and_answers_its_health_check() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Dockerfile");
    let dockerfile = fs::read_to_string(path).unwrap();
    assert_eq!(words(&dockerfile, "ENTRYPOINT"), ["capably"]);
    assert!(dockerfile.contains("\nUSER capably\n"), "{dockerfile}");

    // The directory and the port are those of this test.
    let data = tempfile::tempdir().unwrap();
    let command = words(&dockerfile, "CMD");
    assert!(command.iter().any(|word| word == "/data"), "{command:?}");
    let here = |word: &String| match &**word {
        "/data" => data.path().to_str().unwrap().to_owned(),
        _ => word.clone(),
    };
    let arguments: Vec<String> = command.iter().map(here).collect();
    let options = ["--json", "--port", "0"];
    let server = Server::start_as(capably(arguments.iter().map(String::as_str).chain(options)));

    let check = words(&dockerfile, "HEALTHCHECK");
    let (_, path) = check.last().unwrap().split_once(":8080").unwrap();
    let mut stream =
        TcpStream::connect(("127.0.0.1", u16::try_from(server.port).unwrap())).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("{\"status\":\"live\"}"),
        "{answer}"
    );
    assert!(data.path().read_dir().unwrap().next().is_some(), "the data is in the directory");
}
