//! The table of rules: it decides which rule applies. It is pure: frames, requests and times are its inputs.

use std::{fmt, time::Duration};

use super::rule::{
    Answer, Any, Direction, Opened, Opening, Requests, Rule, Strike, Treatment, Trigger, Which,
};
use crate::front::http::query::Query;

/// The number of a rule. Rules are counted from 1, in the order in which they were added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(pub u64);

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The rules, in the order in which they are tried.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: Vec<Row>,
    last_id: u64,
}

#[derive(Debug)]
struct Row {
    id: RuleId,
    rule: Rule<Any>,
    /// How often the rule has matched.
    seen: u64,
    /// How often the rule has applied.
    applied: u64,
}

/// A rule in the list of all rules.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Listed {
    /// The number of the rule.
    pub id: RuleId,
    /// The rule.
    pub rule: Rule<Any>,
    /// How often it has applied.
    pub applied: u64,
}

/// A connection, as conditions see it.
#[derive(Clone, Copy)]
pub(super) struct Link<'a> {
    /// From 1.
    pub(super) number: u64,
    pub(super) params: &'a Query,
}

/// A frame, as conditions see it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passing<'a> {
    pub(super) direction: Direction,
    /// `None` when the frame cannot be decoded.
    pub(super) action: Option<u32>,
    pub(super) channel: Option<&'a str>,
}

/// The faults of a rule for a frame.
#[derive(Clone, Debug)]
pub(super) struct FrameFault {
    pub(super) delay: Duration,
    pub(super) treatment: Treatment,
    pub(super) strike: Strike,
}

/// The faults of a rule for a request for a WebSocket.
#[derive(Clone, Debug)]
pub(super) struct OpeningFault {
    pub(super) delay: Duration,
    pub(super) answer: Opened,
}

/// The faults of a rule for an HTTP request.
#[derive(Clone, Debug)]
pub(super) struct RequestFault {
    pub(super) delay: Duration,
    pub(super) answer: Answer,
}

impl Table {
    /// Adds a rule after the others.
    pub(super) fn add(&mut self, rule: Rule<Any>) -> RuleId {
        self.insert(self.rows.len(), rule)
    }

    /// Adds a rule in front of the others.
    pub(super) fn add_first(&mut self, rule: Rule<Any>) -> RuleId {
        self.insert(0, rule)
    }

    fn insert(&mut self, at: usize, rule: Rule<Any>) -> RuleId {
        self.last_id += 1;
        let id = RuleId(self.last_id);
        // A rule with `times: 0` counts as used up.
        if rule.times != Some(0) {
            self.rows.insert(at, Row { id, rule, seen: 0, applied: 0 });
        }
        id
    }

    /// Removes a rule. Returns `false` when it does not exist.
    pub(super) fn remove(&mut self, id: RuleId) -> bool {
        let before = self.rows.len();
        self.rows.retain(|row| row.id != id);
        self.rows.len() < before
    }

    pub(super) fn clear(&mut self) {
        self.rows.clear();
    }

    pub(super) fn list(&self) -> Vec<Listed> {
        let listed =
            |row: &Row| Listed { id: row.id, rule: row.rule.clone(), applied: row.applied };
        self.rows.iter().map(listed).collect()
    }

    /// A client requests a WebSocket.
    pub(super) fn opening(&mut self, link: Link<'_>) -> Option<(RuleId, OpeningFault)> {
        self.first(|trigger| match trigger {
            Trigger::Opening(Opening { which, delay, answer }) => {
                which.includes(link).then(|| OpeningFault { delay: *delay, answer: answer.clone() })
            }
            _ => None,
        })
    }

    /// A client has requested a WebSocket. Returns the rules that apply to it later, with their delays.
    pub(super) fn moments(&mut self, link: Link<'_>) -> Vec<(RuleId, Duration)> {
        let mut due = Vec::new();
        for row in &mut self.rows {
            let Trigger::Moment(moment) = &row.rule.trigger.0 else { continue };
            if moment.which.includes(link) {
                row.seen += 1;
                if row.rule.nth.is_none_or(|nth| nth == row.seen) {
                    due.push((row.id, moment.delay));
                }
            }
        }
        due
    }

    /// A rule of [`moments`](Self::moments) is due. Returns `None` when it was removed.
    pub(super) fn moment(&mut self, id: RuleId) -> Option<Strike> {
        let at = self.rows.iter().position(|row| row.id == id)?;
        let Trigger::Moment(moment) = &self.rows[at].rule.trigger.0 else { return None };
        let strike = moment.strike.clone();
        self.apply(at);
        Some(strike)
    }

    /// A frame arrives.
    pub(super) fn frame(
        &mut self,
        link: Link<'_>,
        frame: Passing<'_>,
    ) -> Option<(RuleId, FrameFault)> {
        self.first(|trigger| {
            let Trigger::Frames(rule) = trigger else { return None };
            let matches = rule.direction == frame.direction
                && rule.action.is_none_or(|action| frame.action == Some(action))
                && rule.channel.as_deref().is_none_or(|channel| frame.channel == Some(channel))
                && rule.which.includes(link);
            matches.then(|| FrameFault {
                delay: rule.delay,
                treatment: rule.treatment.clone(),
                strike: rule.strike.clone(),
            })
        })
    }

    /// An HTTP request arrives.
    pub(super) fn request(&mut self, method: &str, path: &str) -> Option<(RuleId, RequestFault)> {
        self.first(|trigger| {
            let Trigger::Requests(Requests { method: wanted, path: part, delay, answer }) = trigger
            else {
                return None;
            };
            let matches =
                wanted.as_deref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(method))
                    && part.as_deref().is_none_or(|part| path.contains(part));
            matches.then(|| RequestFault { delay: *delay, answer: answer.clone() })
        })
    }

    /// The fault of the first rule that applies. All rules that match count the match, those after the first one, too.
    fn first<F>(&mut self, fault: impl Fn(&Trigger) -> Option<F>) -> Option<(RuleId, F)> {
        let mut first = None;
        for (at, row) in self.rows.iter_mut().enumerate() {
            let Some(fault) = fault(&row.rule.trigger.0) else { continue };
            row.seen += 1;
            let applies = row.rule.nth.is_none_or(|nth| nth == row.seen);
            if applies && first.is_none() {
                first = Some((at, row.id, fault));
            }
        }
        let (at, id, fault) = first?;
        self.apply(at);
        Some((id, fault))
    }

    /// Counts that a rule has applied, and removes it after the last time.
    fn apply(&mut self, at: usize) {
        let row = &mut self.rows[at];
        row.applied += 1;
        if row.rule.times == Some(row.applied) {
            self.rows.remove(at);
        }
    }
}

impl Which {
    pub(super) fn includes(&self, link: Link<'_>) -> bool {
        self.number.is_none_or(|number| number == link.number)
            && self.params.iter().all(|(name, wanted)| {
                link.params
                    .get(name)
                    .is_some_and(|value| wanted.as_deref().is_none_or(|wanted| wanted == value))
            })
    }
}

#[cfg(test)]
mod tests {
    use capably_protocol::{ServerFrame, frame::Action};

    use super::*;
    use crate::faults::{Response, rule::End};

    fn query(text: &str) -> Query {
        Query::parse(text)
    }

    fn to_client(action: Action) -> Passing<'static> {
        Passing { direction: Direction::ToClient, action: Some(action.number()), channel: None }
    }

    /// The number of the rule that applies to each of these frames of one connection, or 0.
    fn applied(table: &mut Table, frames: &[Passing<'_>]) -> Vec<u64> {
        let params = query("");
        let link = Link { number: 1, params: &params };
        frames.iter().map(|frame| table.frame(link, *frame).map_or(0, |(id, _)| id.0)).collect()
    }

    #[test]
    fn the_first_rule_that_matches_applies() {
        let mut table = Table::default();
        table.add(Rule::to_client().action(Action::Ack).suppress().any());
        table.add(Rule::to_client().disconnect().any());
        table.add(Rule::to_server().any());
        let to_server = Passing { direction: Direction::ToServer, ..to_client(Action::Ack) };
        let frames = [to_client(Action::Ack), to_client(Action::Message), to_server];
        assert_eq!(applied(&mut table, &frames), [1, 2, 3]);
        table.add_first(Rule::to_client().any());
        assert_eq!(applied(&mut table, &frames), [4, 4, 3]);
        let order: Vec<_> = table.list().iter().map(|listed| listed.id.0).collect();
        assert_eq!(order, [4, 1, 2, 3]);
    }

    #[test]
    fn a_rule_is_removed_after_its_last_application() {
        let mut table = Table::default();
        table.add(Rule::to_client().times(2).suppress().any());
        assert_eq!(applied(&mut table, &[to_client(Action::Ack); 3]), [1, 1, 0]);
        assert!(table.list().is_empty());
        table.add(Rule::to_client().times(0).suppress().any());
        assert_eq!(applied(&mut table, &[to_client(Action::Ack); 2]), [0, 0]);
    }

    #[test]
    fn a_rule_counts_occurrences_to_which_another_rule_applied() {
        let mut table = Table::default();
        table.add(Rule::to_client().action(Action::Connected).times(1).suppress().any());
        table.add(Rule::to_client().action(Action::Connected).nth(2).suppress().any());
        let frames = [Action::Connected, Action::Ack, Action::Connected, Action::Connected];
        assert_eq!(applied(&mut table, &frames.map(to_client)), [1, 0, 2, 0]);
        assert_eq!(table.list()[0].applied, 1);
    }

    #[test]
    fn a_rule_may_match_an_action_a_channel_and_a_connection() {
        let mut table = Table::default();
        let rule = Rule::to_server().action(Action::Attach).channel("a").connection(2);
        table.add(rule.param("clientId", "ada").has_param("resume").suppress().any());
        let frame = Passing {
            direction: Direction::ToServer,
            action: Some(Action::Attach.number()),
            channel: Some("a"),
        };
        let resumed = query("clientId=ada&resume=x");
        let (fresh, bob) = (query("clientId=ada"), query("clientId=bob&resume=x"));
        let link = Link { number: 2, params: &resumed };
        let mut applies = |link, frame| table.frame(link, frame).is_some();
        assert!(applies(link, frame));
        assert!(!applies(Link { number: 1, ..link }, frame));
        assert!(!applies(Link { params: &fresh, ..link }, frame));
        assert!(!applies(Link { params: &bob, ..link }, frame));
        assert!(!applies(link, Passing { channel: Some("b"), ..frame }));
        assert!(!applies(link, Passing { channel: None, ..frame }));
        assert!(!applies(link, Passing { action: Some(Action::Detach.number()), ..frame }));
        assert!(!applies(link, Passing { action: None, ..frame }));
        assert!(!applies(link, Passing { direction: Direction::ToClient, ..frame }));
    }

    #[test]
    fn an_unreadable_frame_matches_rules_for_any_frame() {
        let mut table = Table::default();
        table.add(Rule::to_client().action(Action::Heartbeat).any());
        table.add(Rule::to_client().suppress().any());
        let frame = Passing { direction: Direction::ToClient, action: None, channel: None };
        assert_eq!(applied(&mut table, &[frame]), [2]);
    }

    #[test]
    fn a_rule_counts_openings_from_its_addition() {
        let mut table = Table::default();
        let params = query("");
        let open = |table: &mut Table, number| {
            table.opening(Link { number, params: &params }).map(|(id, fault)| (id.0, fault.answer))
        };
        assert!(open(&mut table, 1).is_none());
        table.add(Rule::opening().nth(2).refuse().any());
        assert!(open(&mut table, 2).is_none());
        assert!(matches!(open(&mut table, 3), Some((1, Opened::Refuse))));
        assert!(open(&mut table, 4).is_none());
        table.add(Rule::opening().connection(5).close(1011).any());
        assert!(matches!(open(&mut table, 5), Some((2, Opened::End(End::Close(1011))))));
    }

    #[test]
    fn timed_rules_apply_to_their_connections_until_they_are_removed() {
        let mut table = Table::default();
        let second = Duration::from_secs(1);
        let closes = table.add(Rule::after(second).times(1).close(1000).any());
        let error = ServerFrame::Disconnected { error: None };
        let injects = table.add(Rule::after(2 * second).nth(2).inject_to_client(error).any());
        let params = query("");
        let link = |number| Link { number, params: &params };
        assert_eq!(table.moments(link(1)), [(closes, second)]);
        assert_eq!(table.moments(link(2)), [(closes, second), (injects, 2 * second)]);
        assert_eq!(table.moment(closes).unwrap().end, Some(End::Close(1000)));
        assert!(table.moment(closes).is_none(), "once for all connections");
        assert_eq!(table.moment(injects).unwrap().frames.len(), 1);
        assert!(table.remove(injects));
        assert!(!table.remove(injects));
        assert!(table.moment(injects).is_none());
    }

    #[test]
    fn rules_match_requests_by_method_and_part_of_the_path() {
        let mut table = Table::default();
        let rule = Rule::request().method("post").path_contains("/channels/");
        table.add(rule.respond(Response::new(503)).any());
        assert!(table.request("POST", "/channels/a/messages").is_some());
        assert!(table.request("GET", "/channels/a/messages").is_none());
        assert!(table.request("POST", "/keys/a").is_none());
        table.clear();
        assert!(table.request("POST", "/channels/a/messages").is_none());
    }
}
