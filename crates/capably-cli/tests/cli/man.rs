//! `capably man`.

use std::fs;

use crate::support::{run, stderr, succeeded};

#[test]
fn the_page_of_a_command_has_its_options_and_examples() {
    for (command, words) in [
        (&["publish"][..], ["capably\\-publish", "\\-\\-rest"]),
        (&["objects", "watch"], ["capably\\-objects\\-watch", "\\-\\-json"]),
    ] {
        let page = succeeded(run(["man"].into_iter().chain(command.iter().copied())));
        assert!(page.contains(".TH "), "{page}");
        for word in words.into_iter().chain(["Examples:"]) {
            assert!(page.contains(word), "{word}: {page}");
        }
    }
    assert!(succeeded(run(["man"])).contains(".TH capably 1"));
}

#[test]
fn all_pages_are_written_to_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("man1");
    let said = succeeded(run(["man", "--dir", path.to_str().unwrap()]));
    let pages = fs::read_dir(&path).unwrap().count();
    assert_eq!(said, format!("Wrote {pages} pages to {}\n", path.display()));
    for page in ["capably.1", "capably-doctor.1", "capably-objects-watch.1"] {
        assert!(fs::read_to_string(path.join(page)).unwrap().contains(".SH NAME"), "{page}");
    }
}

#[test]
fn an_unknown_command_has_no_page() {
    let output = run(["man", "objects", "paint"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).starts_with("error: there is no command objects paint\n  remedy: "));
}
