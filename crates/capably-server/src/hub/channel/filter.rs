//! Filters of derived channels: JMESPath over a message's name and headers (RTS5, DO2a).

use std::{collections::BTreeMap, fmt};

use capably_protocol::Message;
use jmespath::{
    ErrorReason, Expression, Rcvar, Variable,
    ast::{Ast, KeyValuePair},
};

/// Selects the messages of a derived channel.
///
/// The expression sees the `name`, and `extras.headers` as `headers`. A message is selected if the result is true by the
/// rules of JMESPath. An error of the expression counts as false.
pub(crate) struct Filter(Expression<'static>);

/// The longest expression, in bytes.
const MAX_LENGTH: usize = 2048;

/// The most operators of an expression. Parser and interpreter recurse once for each: more could overflow the stack.
const MAX_OPERATORS: usize = 100;

/// The most work for an expression, as multiples of the size of the message.
const MAX_WORK: u64 = 1000;

impl Filter {
    /// # Errors
    /// The reason why the expression is refused.
    pub(crate) fn new(expression: &str) -> Result<Self, String> {
        if expression.len() > MAX_LENGTH {
            return Err(format!("it has more than {MAX_LENGTH} bytes"));
        }
        if operators(expression) > MAX_OPERATORS {
            return Err(format!("it has more than {MAX_OPERATORS} operators"));
        }
        let compiled = jmespath::compile(expression).map_err(|error| match error.reason {
            ErrorReason::Parse(reason) => format!("at {}: {reason}", error.offset),
            ErrorReason::Runtime(reason) => format!("at {}: {reason}", error.offset),
        })?;
        let mut work = Work(0);
        work.size(compiled.as_ast(), 1);
        if work.0 > MAX_WORK {
            return Err("it would take too much work".to_owned());
        }
        Ok(Self(compiled))
    }

    pub(crate) fn matches(&self, message: &Message) -> bool {
        let headers = message.extras.as_ref().and_then(|extras| extras.get("headers"));
        let headers = headers.map_or(Ok(Variable::Null), Variable::try_from);
        let Ok(headers) = headers else { return false };
        let name = message.name.as_ref();
        let name = name.map_or(Variable::Null, |name| Variable::String(name.to_string()));
        let subject = [("headers", headers), ("name", name)];
        let subject = subject.map(|(key, value)| (key.to_owned(), Rcvar::new(value)));
        let subject = Rcvar::new(Variable::Object(BTreeMap::from(subject)));
        self.0.search(subject).is_ok_and(|result| result.is_truthy())
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Filter").field(&self.0.as_str()).finish()
    }
}

/// The number of operators of an expression, brackets included. Quoted text does not count.
fn operators(expression: &str) -> usize {
    let mut count = 0;
    let mut chars = expression.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '\'' | '"' | '`' => {
                while let Some(inside) = chars.next().filter(|inside| *inside != char) {
                    if inside == '\\' {
                        chars.next();
                    }
                }
            }
            '&' | '|' | '=' | '!' | '<' | '>' => {
                count += 1;
                let doubled = if matches!(char, '&' | '|') { char } else { '=' };
                chars.next_if_eq(&doubled);
            }
            '.' | '*' | '(' | '[' | '{' | '?' => count += 1,
            _ => {}
        }
    }
    count
}

/// A bound on the work of an expression: the sizes of all intermediate results, as multiples of the size of its input. A
/// step such as `[@,@]` doubles its input, so that a short expression could take all memory.
struct Work(u64);

impl Work {
    /// A bound on the size of a result, for a subject of size `subject`.
    fn size(&mut self, ast: &Ast, subject: u64) -> u64 {
        let size = match ast {
            Ast::Identity { .. } | Ast::Field { .. } => subject,
            Ast::Index { idx, .. } if is_small(*idx) => subject,
            Ast::Slice { start, stop, step, .. }
                if [*start, *stop, Some(*step)].into_iter().flatten().all(is_small) =>
            {
                subject
            }
            Ast::Index { .. } | Ast::Slice { .. } => u64::MAX,
            Ast::Literal { value, .. } => value.to_string().len() as u64,
            Ast::Subexpr { lhs, rhs, .. } => {
                let lhs = self.size(lhs, subject);
                self.size(rhs, lhs)
            }
            Ast::Projection { lhs, rhs, .. } => {
                let lhs = self.size(lhs, subject);
                self.each(rhs, lhs)
            }
            Ast::And { lhs, rhs, .. } | Ast::Or { lhs, rhs, .. } => {
                self.size(lhs, subject).max(self.size(rhs, subject))
            }
            Ast::Condition { predicate, then, .. } => {
                self.size(predicate, subject);
                self.size(then, subject)
            }
            Ast::Comparison { lhs, rhs, .. } => {
                self.size(lhs, subject);
                self.size(rhs, subject);
                1
            }
            Ast::Not { node, .. } => {
                self.size(node, subject);
                1
            }
            Ast::Flatten { node, .. } | Ast::ObjectValues { node, .. } => self.size(node, subject),
            Ast::MultiList { elements, .. } => self.sum(elements.iter(), subject),
            Ast::MultiHash { elements, .. } => {
                self.sum(elements.iter().map(|KeyValuePair { value, .. }| value), subject)
            }
            Ast::Expref { .. } => 1,
            Ast::Function { name, args, .. } => {
                let all = self.sum(args.iter(), subject);
                let each = args.iter().filter_map(|arg| match arg {
                    Ast::Expref { ast, .. } => Some(self.each(ast, all)),
                    _ => None,
                });
                let each = each.max().unwrap_or(all);
                match &**name {
                    // The separator may be as long as the message, and appear once for each item.
                    "join" => u64::MAX,
                    // A character can take six in JSON, as an escape.
                    "to_string" => all.saturating_mul(6),
                    _ => each,
                }
            }
        };
        self.0 = self.0.saturating_add(size);
        size
    }

    fn sum<'a>(&mut self, parts: impl Iterator<Item = &'a Ast>, subject: u64) -> u64 {
        parts.fold(1, |sum: u64, part| sum.saturating_add(self.size(part, subject)))
    }

    /// A bound on the results for every element of a list, together.
    fn each(&mut self, ast: &Ast, list: u64) -> u64 {
        let mut one = Self(0);
        let size = one.size(ast, 1);
        self.0 = self.0.saturating_add(one.0.saturating_mul(list));
        size.saturating_mul(list)
    }
}

/// Whether the index cannot overflow the arithmetic of the interpreter.
fn is_small(index: i32) -> bool {
    index.unsigned_abs() <= 1 << 20
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn message(name: Option<&str>, headers: Option<Value>) -> Message {
        let extras = headers.map(|headers| json!({ "headers": headers }));
        Message {
            name: name.map(Into::into),
            extras: extras.and_then(|extras| extras.as_object().cloned()),
            ..Message::default()
        }
    }

    #[test]
    fn a_filter_matches_the_name_and_the_headers() {
        let cases = [
            (r#"name == `"news"`"#, Some("news"), None, true),
            (r#"name == 'news'"#, Some("other"), None, false),
            (r#"name == 'news'"#, None, None, false),
            ("headers.number == `26095`", None, Some(json!({"number": 26095})), true),
            ("headers.number == `26095`", None, Some(json!({"number": "26095"})), false),
            ("headers.number > `3` && !(headers.old)", None, Some(json!({"number": 4})), true),
            ("headers.number > `3`", None, None, false),
            ("headers.\"a-b\" || name == 'x'", Some("x"), Some(json!({})), true),
            ("starts_with(name, 'ne')", Some("news"), None, true),
            // Without a name the argument is null, and the function fails.
            ("starts_with(name, 'ne')", None, None, false),
            ("contains(`[\"a\", \"b\"]`, headers.kind)", None, Some(json!({"kind": "b"})), true),
            ("headers.tags[?@ == 'x'] | [0]", None, Some(json!({"tags": ["y", "x"]})), true),
            ("data", Some("data"), None, false),
            ("nothing(name)", Some("news"), None, false),
        ];
        for (expression, name, headers, expected) in cases {
            let filter = Filter::new(expression).unwrap();
            assert_eq!(filter.matches(&message(name, headers)), expected, "{expression}");
        }
    }

    #[test]
    fn invalid_expressions_are_refused() {
        for (expression, reason) in [
            ("", "at 0: "),
            ("name ==", "at 7: "),
            ("name = 'x'", "at "),
            ("name == 'x", "at 8: "),
            (&"x".repeat(MAX_LENGTH + 1), "it has more than 2048 bytes"),
            (&"!".repeat(MAX_OPERATORS + 1), "it has more than 100 operators"),
            (&"name.".repeat(MAX_OPERATORS + 1), "it has more than 100 operators"),
            (&format!("@{}", "|[@,@]".repeat(12)), "it would take too much work"),
            (&format!("to_string({}@{})", "to_string(".repeat(5), ")".repeat(5)), "it would take"),
            ("join(name, headers.*)", "it would take too much work"),
            ("headers.list[-2147483647]", "it would take too much work"),
            ("headers.list[::2147483647]", "it would take too much work"),
        ] {
            let error = Filter::new(expression).unwrap_err();
            assert!(error.starts_with(reason), "{expression}: {error}");
        }
    }

    #[test]
    fn the_deepest_expressions_fit_on_a_small_stack() {
        let deepest = |part: &str, cost: usize, end: &str| {
            let times = MAX_OPERATORS / cost;
            format!("{}name{}", part.repeat(times), end.repeat(times))
        };
        for (part, cost, end) in [
            ("!", 1, ""),
            ("(", 1, ")"),
            ("[", 1, "]"),
            ("{a:", 1, "}"),
            ("abs(", 1, ")"),
            ("[?", 2, "]"),
        ] {
            let _ = Filter::new(&deepest(part, cost, end))
                .map(|filter| filter.matches(&message(Some("x"), None)));
        }
        for (part, cost) in [("||a", 1), ("|a", 1), (".a", 1), ("[]", 1), ("[*]", 2), (".*", 2)] {
            let expression = format!("name{}", part.repeat(MAX_OPERATORS / cost));
            let _ =
                Filter::new(&expression).map(|filter| filter.matches(&message(Some("x"), None)));
        }
    }

    #[test]
    fn quoted_operators_do_not_count() {
        assert_eq!(operators(r#"name == 'a.b\'&&' && "x.y" != `"[[["`"#), 3);
        assert_eq!(operators("a[?b<=c||!d].*"), 7);
        assert_eq!(operators("'not closed ((("), 0);
    }
}
