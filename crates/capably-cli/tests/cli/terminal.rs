//! The output of the command on a terminal: its colours, its progress lines, and the text that other clients have sent.

use std::{fs::File, io::Read, process::Command, thread};

use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};
use serde_json::{Value, json};

use crate::{
    data::server,
    fake::{self, Page},
    support::{Server, finish, stdout, succeeded},
};

/// The text of a hostile sender. It tries to clear the screen, to write to the clipboard, to begin a line, to overwrite
/// a line, and to turn the direction of text.
const HOSTILE: &str =
    "a\u{1b}[2Jb\u{1b}]52;c;eA==\u{7}c\u{9b}31md\re\nf\u{202e}g\u{2066}h\u{8}i\u{7f}j";

/// Runs a command with stdout and stderr on a terminal of 60 columns, and returns what the terminal got.
fn on_terminal(mut command: Command) -> String {
    let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&controller).unwrap();
    unlockpt(&controller).unwrap();
    let size = Winsize { ws_row: 24, ws_col: 60, ws_xpixel: 0, ws_ypixel: 0 };
    let path = ptsname(&controller, Vec::new()).unwrap().into_string().unwrap();
    let terminal = File::options().read(true).write(true).open(path).unwrap();
    tcsetwinsize(&terminal, size).unwrap();
    command.stdout(terminal.try_clone().unwrap()).stderr(terminal);
    let child = command.spawn().unwrap();
    // The terminal ends when the last process that has it open ends.
    drop(command);
    let reader = thread::spawn(move || {
        let (mut screen, mut controller) = (Vec::new(), File::from(controller));
        // Linux reports the end as an error.
        let _ = controller.read_to_end(&mut screen);
        screen
    });
    finish(child);
    String::from_utf8(reader.join().unwrap()).unwrap()
}

/// A client command on a terminal without colours.
fn plain(server: &Server, arguments: &[&str]) -> String {
    let mut command = server.client(arguments.iter().copied());
    command.env("NO_COLOR", "1").env("TERM", "dumb");
    on_terminal(command)
}

fn has_colours(text: &str) -> bool {
    text.contains("\u{1b}[")
}

#[test]
fn the_option_then_the_variables_then_the_terminal_decide_about_colours() {
    let server = Server::start();
    succeeded(server.run(["publish", "greetings", "hello"]));
    for (variables, options, on_a_terminal, in_a_pipe) in [
        (&[][..], &[][..], true, false),
        (&[("NO_COLOR", "1")], &[], false, false),
        (&[("NO_COLOR", "")], &[], true, false),
        (&[("TERM", "dumb")], &[], false, false),
        (&[("TERM", "dumb"), ("CI", "true")], &[], false, false),
        (&[("CLICOLOR", "0")], &[], false, false),
        (&[("CLICOLOR_FORCE", "1")], &[], true, true),
        (&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], &[], false, false),
        (&[("NO_COLOR", "1")], &["--color", "always"], true, true),
        (&[("CLICOLOR_FORCE", "1")], &["--color=never"], false, false),
        (&[], &["--color", "auto"], true, false),
    ] {
        for words in [&["history", "greetings"][..], &["help"], &["history", "--no-such-option"]] {
            let command = || {
                let mut command = server.client(words.iter().chain(options).copied());
                command.env_remove("CI").env("TERM", "xterm").envs(variables.iter().copied());
                command
            };
            let screen = on_terminal(command());
            assert_eq!(
                has_colours(&screen),
                on_a_terminal,
                "{words:?} {variables:?} {options:?}: {screen}"
            );
            let output = finish(command().spawn().unwrap());
            let piped = [output.stdout, output.stderr].concat();
            let piped = String::from_utf8(piped).unwrap();
            assert_eq!(
                has_colours(&piped),
                in_a_pipe,
                "{words:?} {variables:?} {options:?}: {piped}"
            );
        }
    }
}

#[test]
fn progress_is_shown_on_a_terminal_and_gone_at_the_end() {
    let service = fake::serve(|target| {
        let number: u32 = target.rsplit_once("page=").map_or(0, |(_, n)| n.parse().unwrap());
        let next = (number < 2).then(|| format!("/channels?page={}", number + 1));
        Page { status: 200, body: json!([format!("a{number}"), format!("b{number}")]), next }
    });
    let list = ["channels", "list", "--all", "--format", "json"];
    let command = |term| {
        let mut command = service.client(list);
        command.env("TERM", term).env("NO_COLOR", "1");
        command
    };
    let row = |name: &str| format!("{name}       -            -           -            -\r\n");
    let screen = on_terminal(command("xterm"));
    let (heading, rest) = screen.split_once("\r\n").unwrap();
    assert_eq!(heading, "channel  connections  publishers  subscribers  members");
    let clear = "\r\u{1b}[K";
    let pages = [
        row("a0") + &row("b0") + &format!("{clear}2 items read{clear}"),
        row("a1") + &row("b1") + &format!("{clear}4 items read{clear}"),
        row("a2") + &row("b2"),
    ];
    assert_eq!(rest, pages.concat());
    let dumb = on_terminal(command("dumb"));
    assert!(!dumb.contains("items read") && !dumb.contains('\u{1b}'), "{dumb:?}");
    let output = finish(command("xterm").spawn().unwrap());
    assert_eq!(stdout(&output), dumb.replace("\r\n", "\n"));
    assert_eq!(output.stderr, b"");
}

#[test]
fn a_chart_fits_the_terminal() {
    let service = fake::serve(|_| {
        let entries = json!({ "messages.all.all.count": 12_345 });
        json!([{ "intervalId": "2026-01-31:09:30", "unit": "minute", "entries": entries }]).into()
    });
    let mut command = service.client(["stats", "--format", "json"]);
    command.env("TERM", "xterm").env_remove("COLUMNS");
    let screen = on_terminal(command);
    let line = screen.lines().last().unwrap();
    assert!(line.contains("\u{1b}[36m") && line.contains('█'), "{line}");
    let plain: String =
        line.split('\u{1b}').flat_map(|part| part.split_once('m')).map(|(_, text)| text).collect();
    assert_eq!(plain.chars().count(), 60, "{plain}");
}

#[test]
fn the_text_of_others_does_not_control_the_terminal() {
    let server = server();
    let channel = "mutable:notes";
    succeeded(server.run(["publish", channel, HOSTILE, HOSTILE]));
    let line = succeeded(server.run(["history", channel, "--json"]));
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&line["name"], &line["data"]), (&HOSTILE.into(), &HOSTILE.into()));
    let serial = line["serial"].as_str().unwrap();
    let noted = ["messages", "update", channel, serial, HOSTILE, "--description", HOSTILE];
    succeeded(server.run(noted));
    let annotate =
        ["annotations", "publish", channel, serial, "a:multiple.v1", HOSTILE, "--data", HOSTILE];
    succeeded(server.run(annotate));
    succeeded(server.run(["objects", "set", "poll", "key", HOSTILE]));
    let rewound = format!("[?rewind=1]{channel}");
    let messages = format!("/channels/{channel}/messages");
    for words in [
        &["history", channel][..],
        &["messages", "get", channel, serial],
        &["messages", "versions", channel, serial],
        &["annotations", "get", channel, serial],
        &["objects", "get", "poll"],
        &["objects", "get", "poll", "key"],
        &["subscribe", &rewound, "--count", "1"],
        &["request", "GET", &messages],
    ] {
        for json in [&[][..], &["--json"]] {
            let screen = plain(&server, &[words, json].concat());
            assert!(
                screen.contains("[2Jb") && screen.contains("]52;c"),
                "{words:?} {json:?}: {screen:?}"
            );
            assert_is_harmless(&screen);
        }
    }
}

/// Asserts that the terminal received text and ends of lines, and no control character besides.
#[track_caller]
fn assert_is_harmless(screen: &str) {
    let text = screen.replace("\r\n", "");
    let harmful = |c: char| c.is_control() || "\u{202e}\u{2066}".contains(c);
    assert!(!text.contains(harmful), "{screen:?}");
}

#[test]
fn names_and_errors_of_a_service_do_not_control_the_terminal() {
    let names = || {
        json!([{
            "channelId": HOSTILE, "channel": HOSTILE, "clientId": HOSTILE, "deviceId": HOSTILE, "id": HOSTILE,
            "platform": HOSTILE, "formFactor": HOSTILE, "push": { "state": HOSTILE, "recipient": {} },
            "action": 1, "data": HOSTILE, "name": HOSTILE, "serial": HOSTILE, "type": HOSTILE,
            "connectionId": HOSTILE, "intervalId": HOSTILE, "entries": { HOSTILE: 1 },
        }])
    };
    let lists = fake::serve(move |target| match target {
        target if target.starts_with("/push/channels?") => json!([HOSTILE]).into(),
        target if target.starts_with("/presence?") => {
            json!({ "results": [{ "channel": HOSTILE, "presence": names() }] }).into()
        }
        _ => names().into(),
    });
    for words in [
        &["channels", "list"][..],
        &["push", "devices", "list"],
        &["push", "subscriptions", "list"],
        &["push", "subscriptions", "channels"],
        &["history", "c"],
        &["history", "c", "--presence"],
        &["messages", "versions", "c", "s"],
        &["annotations", "get", "c", "s"],
        &["stats"],
        &["batch", "presence", "c"],
        &["request", "GET", "/anything"],
    ] {
        for json in [&[][..], &["--json"]] {
            let words = [words, &["--format", "json"], json].concat();
            let screen = plain(&lists, &words);
            assert!(screen.contains("[2Jb") && screen.contains("]52;c"), "{words:?}: {screen:?}");
            assert_is_harmless(&screen);
        }
    }
    let refusals = fake::serve(|_| {
        let error = json!({ "code": 40000, "statusCode": 400, "message": HOSTILE });
        Page { status: 400, body: json!({ "error": error }), next: None }
    });
    for words in [&["messages", "get", "c", "s"][..], &["channels", "list"], &["doctor"]] {
        let screen = plain(&refusals, &[words, &["--format", "json"]].concat());
        assert!(screen.contains("[2Jb"), "{words:?}: {screen:?}");
        assert_is_harmless(&screen);
    }
}
