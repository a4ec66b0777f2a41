use serde_json::Value;

use crate::support::{run, stderr, succeeded};

#[test]
fn a_page_has_the_meaning_the_causes_and_what_to_do() {
    let page = succeeded(run(["explain", "40160"]));
    let mut lines = page.lines();
    assert_eq!(lines.next(), Some("40160  Client lacks the required capability"));
    for part in [
        "\n\nThe credentials do not allow the operation on this channel.\n",
        "\nUsual causes:\n- ",
        "\nWhat to do:\n- Use a key or token whose capability covers the operation",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
}

#[test]
fn a_page_as_json_has_the_same_parts() {
    let page: Value =
        serde_json::from_str(&succeeded(run(["explain", "80017", "--json"]))).unwrap();
    assert_eq!(page["code"], 80017);
    assert_eq!(page["title"], "Connection closed");
    assert_eq!(page["meaning"], "The connection is closed.");
    for part in ["causes", "remedies"] {
        assert!(page[part][0].as_str().is_some_and(|text| !text.is_empty()), "{page}");
    }
}

#[test]
fn without_a_code_every_code_is_listed_and_a_word_selects_some() {
    let all = succeeded(run(["explain"]));
    assert!(all.starts_with(" 10000  No error\n"), "{all}");
    assert!(all.contains("\n104013  Run cancel routing failed\n"), "{all}");
    let json = succeeded(run(["explain", "--json"]));
    assert_eq!(json.lines().count(), all.lines().count());

    let tokens = succeeded(run(["explain", "TOKEN"]));
    assert!(tokens.contains(" 40142  Token expired\n") && !tokens.contains("40160"), "{tokens}");
}

#[test]
fn an_unknown_code_or_word_is_wrong_usage_with_a_remedy() {
    let output = run(["explain", "40159"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        stderr(&output),
        "error: there is no error code 40159\n  remedy: the nearest codes are 40160 (Client lacks the required \
         capability), 40161 (Operation requires an identified client), 40162 (Operation requires Basic \
         authentication)\n"
    );
    let output = run(["explain", "gibberish"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        stderr(&output),
        "error: no error code has `gibberish` in its title\n  remedy: list all codes with `capably explain`\n"
    );
}
