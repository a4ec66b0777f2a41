//! The names of channels as candidates, from the service that the line names.

use std::{
    env,
    ffi::{OsStr, OsString},
    time::Duration,
};

use capably::http::HttpMethod;
use clap::Parser;
use clap_complete::CompletionCandidate;
use tokio::{runtime, time::timeout};

use crate::service::Service;

/// How long a user waits at most.
const LIMIT: Duration = Duration::from_secs(1);

/// The most names of an answer: more would not help at a prompt.
const MOST: u32 = 200;

/// The options of the line that say which service to ask.
#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    service: Service,
}

/// The channels in use whose names begin with the word; none without a key, or if the service does not answer in time.
pub(super) fn complete(word: &OsStr) -> Vec<CompletionCandidate> {
    let words = env::args_os().skip_while(|word| word != "--").skip(1);
    let names = word.to_str().and_then(|word| names(words, word)).unwrap_or_default();
    names.into_iter().filter(|name| is_plain(name)).map(CompletionCandidate::new).collect()
}

fn names(words: impl Iterator<Item = OsString>, prefix: &str) -> Option<Vec<String>> {
    let Line { service } = Line::try_parse_from(connection_options(words)).ok()?;
    let rest = service.rest().ok()?;
    let runtime = runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let request = rest
        .request(HttpMethod::Get, "/channels")
        .param("prefix", prefix)
        .param("by", "id")
        .param("limit", MOST);
    let answer = runtime.block_on(async { timeout(LIMIT, request).await.ok()?.ok() });
    // A look-up of the service's address may still run.
    runtime.shutdown_background();
    let answer = answer.filter(|answer| answer.is_success())?;
    let names = answer.items().iter().filter_map(|item| {
        let name = item.as_str().or_else(|| item["channelId"].as_str())?;
        name.starts_with(prefix).then(|| name.to_owned())
    });
    Some(names.collect())
}

/// The options of a line that belong to the connection, after the name of the command. The rest of the line may be
/// incomplete.
fn connection_options(words: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let (mut options, mut words) = (vec![OsString::from("capably")], words.skip(1));
    while let Some(word) = words.next() {
        let Some(text) = word.to_str() else { continue };
        let (name, has_value) = match text.split_once('=') {
            Some((name, _)) => (name, true),
            None => (text, false),
        };
        match name {
            "--no-tls" => options.push(word),
            "--key" | "--endpoint" | "--port" if has_value => options.push(word),
            "--key" | "--endpoint" | "--port" => {
                if let Some(value) = words.next() {
                    options.extend([word, value]);
                }
            }
            _ => {}
        }
    }
    options
}

/// Whether the name can stand in a command line as it is. A shell inserts candidates without quotes, and anybody may
/// have named a channel `$(…)`.
fn is_plain(name: &str) -> bool {
    let is_plain = |c: char| c.is_alphanumeric() || "-_.:/@%+=,".contains(c);
    !name.is_empty() && !name.starts_with(['-', '=']) && name.chars().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_without_meaning_to_a_shell_are_candidates() {
        for name in ["news", "chat:lobby-1", "größe", "a/b@c.d,e+f=g%20"] {
            assert!(is_plain(name), "{name}");
        }
        for name in
            ["", "a b", "$(reboot)", "`a`", "a;b", "a'b", "-rf", "a\nb", "a\u{9b}", "*", "~"]
        {
            assert!(!is_plain(name), "{name}");
        }
    }

    #[test]
    fn the_connection_options_of_an_incomplete_line_are_found() {
        let options = |line: &str| {
            let words = line.split(' ').map(OsString::from);
            connection_options(words).join(OsStr::new(" ")).into_string().unwrap()
        };
        assert_eq!(
            options(
                "capably history --json --key a.b:c --endpoint=localhost --limit 3 --port 1 ne"
            ),
            "capably --key a.b:c --endpoint=localhost --port 1"
        );
        assert_eq!(options("capably publish --no-tls c --key"), "capably --no-tls");
    }
}
