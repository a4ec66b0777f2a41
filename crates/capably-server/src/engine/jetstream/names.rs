//! Names of streams and subjects.
//!
//! ```text
//! <prefix>.log.<app>.<channel>.<threads>.<kind>   an entry
//! <prefix>.log.fence                              a fence (see `writer`)
//! <prefix>.live.…                                 the same, as the brokers send it on when it is committed
//! <prefix>.fact.<bucket>.<segment>.…              a fact; its key is cut at `/`
//! <prefix>.factlive.<bucket>.…                    the same, as the brokers send it on
//! <prefix>.announce                               announcements
//! ```

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

use super::super::{Bucket, ChannelId, Kind};

/// The longest channel name that a subject carries, in bytes. A longer one is represented by its hash, because brokers
/// limit the length of a subject.
const LONGEST_NAME: usize = 512;

/// The names under one prefix.
#[derive(Clone, Debug)]
pub(super) struct Names {
    prefix: Box<str>,
}

impl Names {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.into() }
    }

    /// The stream of entries.
    pub(super) fn log_stream(&self) -> String {
        format!("{}_log", self.prefix)
    }

    /// All subjects of the stream of entries.
    pub(super) fn log(&self) -> String {
        format!("{}.log.>", self.prefix)
    }

    /// Committed entries, as brokers send them on.
    pub(super) fn live(&self) -> String {
        format!("{}.live.>", self.prefix)
    }

    /// The subject of fences. It has fewer tokens than the subject of an entry.
    pub(super) fn fence(&self) -> String {
        format!("{}.log.fence", self.prefix)
    }

    /// The subject of an entry.
    pub(super) fn entry(&self, channel: &ChannelKey, kind: Kind, has_threads: bool) -> String {
        let threads = if has_threads { 't' } else { 'n' };
        format!("{}.log.{}.{threads}.{}", self.prefix, channel.0, kind as u8)
    }

    /// The subjects of a channel's entries.
    pub(super) fn entries(&self, channel: &ChannelKey, filter: Filter) -> String {
        let (prefix, channel) = (&self.prefix, &channel.0);
        match filter {
            Filter::All => format!("{prefix}.log.{channel}.*.*"),
            Filter::Kind(kind) => format!("{prefix}.log.{channel}.*.{}", kind as u8),
            Filter::Threads => format!("{prefix}.log.{channel}.t.*"),
        }
    }

    /// Splits the subject of an entry. `None` if it is another subject.
    pub(super) fn split<'a>(&self, subject: &'a str) -> Option<(&'a str, Kind)> {
        let rest = subject.strip_prefix(&*self.prefix)?;
        let rest = rest.strip_prefix(".log.").or_else(|| rest.strip_prefix(".live."))?;
        let (rest, kind) = rest.rsplit_once('.')?;
        let (channel, _) = rest.rsplit_once('.')?;
        channel.contains('.').then_some(())?;
        Some((channel, kind_of(kind)?))
    }

    /// The stream of a bucket.
    pub(super) fn bucket_stream(&self, bucket: Bucket) -> String {
        format!("{}_{}", self.prefix, bucket_name(bucket))
    }

    /// All subjects of a bucket.
    pub(super) fn bucket(&self, bucket: Bucket) -> String {
        format!("{}.fact.{}.>", self.prefix, bucket_name(bucket))
    }

    /// Changed facts of a bucket, as brokers send them on.
    pub(super) fn bucket_live(&self, bucket: Bucket) -> String {
        format!("{}.factlive.{}.>", self.prefix, bucket_name(bucket))
    }

    /// A subject of the bucket that belongs to no key.
    pub(super) fn probe(&self, bucket: Bucket) -> String {
        format!("{}.fact.{}.probe", self.prefix, bucket_name(bucket))
    }

    /// The subject of a fact.
    pub(super) fn fact(&self, bucket: Bucket, key: &str) -> String {
        let mut subject = format!("{}.fact.{}", self.prefix, bucket_name(bucket));
        for segment in key.split('/') {
            subject.push_str(".n");
            URL_SAFE_NO_PAD.encode_string(segment, &mut subject);
        }
        subject
    }

    /// Subjects that include those of all keys with this prefix.
    pub(super) fn facts(&self, bucket: Bucket, prefix: &str) -> String {
        match prefix.rsplit_once('/') {
            Some((folder, _)) => format!("{}.>", self.fact(bucket, folder)),
            None => self.bucket(bucket),
        }
    }

    /// The key of a fact from its subject.
    pub(super) fn key(&self, bucket: Bucket, subject: &str) -> Option<String> {
        let rest = subject.strip_prefix(&*self.prefix)?;
        let rest = rest.strip_prefix(".fact.").or_else(|| rest.strip_prefix(".factlive."))?;
        let rest = rest.strip_prefix(bucket_name(bucket))?.strip_prefix('.')?;
        let mut key = String::new();
        for (index, token) in rest.split('.').enumerate() {
            if index > 0 {
                key.push('/');
            }
            let segment = URL_SAFE_NO_PAD.decode(token.strip_prefix('n')?).ok()?;
            key.push_str(std::str::from_utf8(&segment).ok()?);
        }
        Some(key)
    }

    /// The subject of announcements.
    pub(super) fn announcements(&self) -> String {
        format!("{}.announce", self.prefix)
    }
}

/// Selects entries of a channel.
#[derive(Clone, Copy, Debug)]
pub(super) enum Filter {
    /// All entries.
    All,
    /// Entries with this content.
    Kind(Kind),
    /// Entries that belong to messages.
    Threads,
}

/// The two tokens of a subject that stand for a channel.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ChannelKey(pub(super) Box<str>);

impl ChannelKey {
    pub(super) fn new(channel: &ChannelId) -> Self {
        let ChannelId { app, name } = channel;
        let mut key =
            String::with_capacity(app.len() + 2 + name.len().min(LONGEST_NAME) * 4 / 3 + 4);
        key.push_str(app);
        // A letter in front tells names from hashes, and gives an empty name a token.
        if name.len() <= LONGEST_NAME {
            key.push_str(".n");
            URL_SAFE_NO_PAD.encode_string(&**name, &mut key);
        } else {
            key.push_str(".h");
            URL_SAFE_NO_PAD.encode_string(Sha256::digest(&**name), &mut key);
        }
        Self(key.into())
    }

    /// The id by which brokers recognise an entry of this channel: its hash, so that the length is fixed.
    pub(super) fn message_id(&self, id: &str) -> String {
        let hash =
            Sha256::new().chain_update(&*self.0).chain_update([0]).chain_update(id).finalize();
        URL_SAFE_NO_PAD.encode(&hash[..16])
    }
}

fn kind_of(token: &str) -> Option<Kind> {
    match token {
        "0" => Some(Kind::Messages),
        "1" => Some(Kind::Change),
        "2" => Some(Kind::Annotations),
        "3" => Some(Kind::Presence),
        "4" => Some(Kind::Objects),
        _ => None,
    }
}

fn bucket_name(bucket: Bucket) -> &'static str {
    match bucket {
        Bucket::Apps => "apps",
        Bucket::Revocations => "revocations",
        Bucket::Snapshots => "snapshots",
        Bucket::Push => "push",
        Bucket::Stats => "stats",
        Bucket::Nonces => "nonces",
        Bucket::Nodes => "nodes",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_is_a_key() {
        let names = Names::new("p");
        for key in ["", "/", "a", "a/b", "a//b/", "b *.>ü\n", "\u{1f600}/x"] {
            let subject = names.fact(Bucket::Push, key);
            assert!(subject.is_ascii() && !subject.contains(['*', '>', ' ']), "{subject}");
            assert!(subject.split('.').all(|token| !token.is_empty()), "{subject}");
            assert_eq!(names.key(Bucket::Push, &subject).as_deref(), Some(key));
            assert_eq!(names.key(Bucket::Apps, &subject), None);
        }
        assert_eq!(names.key(Bucket::Nodes, &names.probe(Bucket::Nodes)), None);
    }

    #[test]
    fn entries_are_told_apart_by_channel_and_kind() {
        let names = Names::new("p");
        let key = |name: &str| ChannelKey::new(&ChannelId { app: "a".into(), name: name.into() });
        for name in ["", "x", "x y.*", &"long".repeat(1000)] {
            let key = key(name);
            let subject = names.entry(&key, Kind::Presence, true);
            assert!(subject.len() < 1000);
            assert_eq!(names.split(&subject), Some((&*key.0, Kind::Presence)));
        }
        assert_ne!(key(&"long".repeat(1000)), key(&"long".repeat(1001)));
        assert_eq!(names.split(&names.fence()), None);
        assert_ne!(key("x").message_id("1"), key("y").message_id("1"));
    }
}
