//! The least and the largest value of each flag that is a count, a size or a time: no panic, no hang.

use crate::support::{Server, Subscriber, run, stderr};

/// The flags of `serve` that are counts, and the largest value of each.
fn limits() -> [(&'static str, String); 9] {
    let (size, rate) = (usize::MAX.to_string(), u32::MAX.to_string());
    [
        ("--max-apps", size.clone()),
        ("--max-connections", size.clone()),
        ("--max-app-connections", size.clone()),
        ("--max-channels", size.clone()),
        ("--max-request-rate", rate.clone()),
        ("--max-inbound-rate", rate),
        ("--max-log-bytes", size.clone()),
        ("--max-objects", size.clone()),
        ("--max-objects-bytes", size),
    ]
}

#[test]
fn a_server_with_the_largest_limits_serves() {
    let limits = limits();
    let flags: Vec<&str> = limits.iter().flat_map(|(flag, most)| [*flag, most]).collect();
    let server = Server::start_with(&flags);
    let output = server.run(["publish", "ch", "n", "d"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(server.stop().status.code(), Some(0));
}

#[test]
fn a_server_with_the_least_limits_serves_or_names_the_refused_option() {
    for (flag, refused) in [
        ("--max-apps", None),
        ("--max-connections", Some(50004)),
        ("--max-app-connections", Some(40111)),
        ("--max-channels", Some(40114)),
        ("--max-request-rate", None),
        ("--max-inbound-rate", Some(42911)),
        ("--max-log-bytes", None),
        ("--max-objects", None),
        ("--max-objects-bytes", None),
    ] {
        for (value, code) in [("0", refused), ("1", None)] {
            let server = Server::start_with(&[flag, value]);
            let output = server.run(["publish", "ch", "n", "d"]);
            let code = code.map_or(String::new(), |code: u32| format!("code: {code} "));
            assert!(stderr(&output).contains(&code), "{flag} {value}: {}", stderr(&output));
            assert_eq!(output.status.success(), code.is_empty(), "{flag} {value}");
            assert_eq!(server.stop().status.code(), Some(0), "{flag} {value}");
        }
    }
}

#[test]
fn flags_out_of_range_are_usage_errors() {
    let huge = "18446744073709551616";
    for arguments in [
        ["publish", "--count", "0", "ch", "d"],
        ["publish", "--count", huge, "ch", "d"],
        ["subscribe", "ch", "--count", "0", "--json"],
        ["subscribe", "ch", "--timeout", "-1", "--json"],
        ["subscribe", "ch", "--timeout", "1e300", "--json"],
        ["subscribe", "ch", "--timeout", "NaN", "--json"],
        ["bench", "--samples", "0", "--count", "1"],
        ["bench", "--samples", "1", "--count", "0"],
        ["bench", "--samples", huge, "--count", "1"],
        ["bench", "--size", "0", "--count", "1"],
        ["bench", "--size", "65537", "--count", "1"],
        ["bench", "--in-flight", "0", "--count", "1"],
        ["serve", "--port", "65536", "--max-apps", "1"],
        ["serve", "--port", "0", "--max-request-rate", "4294967296"],
        ["serve", "--port", "0", "--max-channels", huge],
        ["serve", "--port", "0", "--max-channels", "-1"],
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains("error: "), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn the_least_and_the_largest_timeouts_and_counts_are_accepted() {
    let server = Server::start();
    for timeout in ["0", "1e-9"] {
        let output = server.run(["subscribe", "ch", "--count", "1", "--timeout", timeout]);
        assert_eq!(output.status.code(), Some(5), "{timeout}: {}", stderr(&output));
    }
    // The largest number of seconds that a duration and a floating-point number both have.
    let most = ["--timeout", "18446744073709549568", "--count", "1", "--json"];
    let patient = Subscriber::start(&server, "ch", &most);
    let output = server.run(["publish", "ch", "n", "d"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(patient.messages().len(), 1);
    let count = u64::MAX.to_string();
    let greedy = Subscriber::start(&server, "ch", &["--count", &count, "--timeout", "0.1"]);
    assert_eq!(greedy.finish().status.code(), Some(5));
}

#[test]
fn the_least_bench_runs() {
    let output =
        run(["bench", "--samples", "1", "--count", "1", "--size", "10", "--in-flight", "1"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}
