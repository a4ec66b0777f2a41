use serde_json::{Map, Value};

use crate::support::{ClosedPort, Server, capably, finish, run, stderr, succeeded};

const SMALL: [&str; 6] = ["bench", "--samples", "20", "--count", "200", "--json"];

fn lines(output: &str) -> Vec<Map<String, Value>> {
    output.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn keys(object: &Map<String, Value>) -> Vec<&str> {
    let mut keys: Vec<&str> = object.keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

/// The two result lines of a format, with these sizes.
fn check(lines: &[Map<String, Value>], format: &str, size: u64, in_flight: u64) {
    let [latency, throughput] = lines else { panic!("not two lines: {lines:?}") };
    assert_eq!(
        keys(latency),
        ["acknowledgedMicros", "format", "measure", "receivedMicros", "samples", "size"]
    );
    assert_eq!(latency["measure"], "latency");
    assert_eq!(latency["format"], format);
    assert_eq!(latency["size"], size);
    assert_eq!(latency["samples"], 20);
    for what in ["acknowledgedMicros", "receivedMicros"] {
        let times = latency[what].as_object().unwrap();
        assert_eq!(keys(times), ["max", "p50", "p99"]);
        let [p50, p99, max] = ["p50", "p99", "max"].map(|key| times[key].as_f64().unwrap());
        assert!(0.0 < p50 && p50 <= p99 && p99 <= max && max < 60e6, "{what}: {times:?}");
    }
    assert_eq!(
        keys(throughput),
        [
            "acknowledgedPerSecond",
            "count",
            "format",
            "inFlight",
            "measure",
            "receivedPerSecond",
            "size"
        ]
    );
    assert_eq!(throughput["measure"], "throughput");
    assert_eq!(throughput["format"], format);
    assert_eq!(throughput["size"], size);
    assert_eq!(throughput["count"], 200);
    assert_eq!(throughput["inFlight"], in_flight);
    for what in ["acknowledgedPerSecond", "receivedPerSecond"] {
        assert!(throughput[what].as_u64().unwrap() > 0, "{what}: {throughput:?}");
    }
}

#[test]
fn both_formats_are_measured_through_a_server_of_its_own() {
    let output = succeeded(run(SMALL));
    let lines = lines(&output);
    assert_eq!(lines.len(), 4, "{output}");
    check(&lines[..2], "json", 300, 1024);
    check(&lines[2..], "msgpack", 300, 1024);
}

#[test]
fn sizes_and_windows_are_options() {
    for (format, size, in_flight) in [("json", 10, 1), ("msgpack", 65_536, 7)] {
        let (size_option, window) = (size.to_string(), in_flight.to_string());
        let options = ["--format", format, "--size", &size_option, "--in-flight", &window];
        let output = succeeded(run(SMALL.into_iter().chain(options)));
        check(&lines(&output), format, size, in_flight);
    }
}

#[test]
fn an_option_names_another_service_to_measure() {
    let server = Server::start();
    let output = succeeded(server.run(SMALL.into_iter().chain(["--format", "msgpack"])));
    check(&lines(&output), "msgpack", 300, 1024);

    // The named server is stopped: the command must not measure another one in its place.
    let closed = ClosedPort::new();
    let port = closed.number();
    let nowhere = ["--endpoint", "127.0.0.1", "--port", &port, "--key", "app.key:secret"];
    let output = run(SMALL.into_iter().chain(nowhere));
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert_eq!(output.stdout, b"");

    let wrong = server.wrong_key();
    let output = server.run(SMALL.into_iter().chain(["--key", &wrong]));
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
}

#[test]
fn a_key_or_a_port_without_an_endpoint_is_a_usage_error() {
    let why = "error: a key or a port is given, but no endpoint\n  remedy: add --endpoint, ";
    for option in [["--key", "app.key:secret"], ["--port", "8080"]] {
        let output = run(SMALL.into_iter().chain(option));
        assert_eq!(output.status.code(), Some(2), "{option:?}");
        assert!(stderr(&output).starts_with(why), "{}", stderr(&output));
        assert_eq!(output.stdout, b"");
    }
    // The variable of other programs is ignored.
    let mut command = capably(SMALL);
    command.env("ABLY_API_KEY", "app.key:secret");
    assert_eq!(lines(&succeeded(finish(command.spawn().unwrap()))).len(), 4);
}

#[test]
fn the_default_output_is_a_table() {
    let options = ["bench", "--samples", "20", "--count", "1000", "--in-flight", "50"];
    let output = succeeded(run(options.into_iter().chain(["--format", "json", "--size", "100"])));
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(
        lines[..3],
        [
            "One connection publishes, another receives. They and the server are in this process.",
            "",
            "json"
        ]
    );
    assert_eq!(
        lines[3].split_whitespace().collect::<Vec<_>>().join(" "),
        "20 of 100 bytes, one at a time p50 p99 max"
    );
    assert!(lines[4].starts_with("    acknowledged  ") && lines[5].starts_with("    received  "));
    assert_eq!(lines[6], "  1,000 of 100 bytes, 50 in flight");
    for (line, what) in lines[7..].iter().zip(["acknowledged", "received"]) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [name, rate, unit] = words[..] else { panic!("{line}") };
        assert_eq!((name, unit), (what, "messages/s"));
        assert!(rate.replace(',', "").parse::<u64>().unwrap() > 0, "{line}");
    }
    assert_eq!(lines.len(), 9, "{output}");
}

#[test]
fn wrong_options_have_exit_code_2() {
    for (options, why) in [
        (["--format", "xml"], "error: invalid value 'xml' for '--format <FORMAT>'"),
        (["--samples", "0"], "error: invalid value '0' for '--samples <N>'"),
        (["--count", "0"], "error: invalid value '0' for '--count <N>'"),
        (["--count", "many"], "error: invalid value 'many' for '--count <N>'"),
        (["--size", "9"], "error: invalid value '9' for '--size <BYTES>'"),
        (["--size", "65537"], "error: invalid value '65537' for '--size <BYTES>'"),
        (["--in-flight", "0"], "error: invalid value '0' for '--in-flight <N>'"),
        (["--speed", "high"], "error: unexpected argument '--speed' found"),
    ] {
        let output = run(["bench"].into_iter().chain(options));
        assert_eq!(output.status.code(), Some(2), "{options:?}");
        assert!(stderr(&output).starts_with(why), "{options:?}: {}", stderr(&output));
    }
}
