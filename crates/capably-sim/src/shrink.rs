//! Shrinking: the smallest script, as far as it is found, that breaks the same rule.

use std::time::Duration;

use capably_protocol::Format;

use crate::{Failure, Script, run, script::Step};

/// The most scripts that are tried.
const TRIES: usize = 3000;

/// Removes and simplifies what a script needs not have to break the rule that it breaks. Returns the script with its
/// failure; `None` if it breaks none.
pub fn shrink(script: &Script) -> Option<(Script, Failure)> {
    let failure = run(script).err()?;
    let mut shrinking = Shrinking { best: script.clone(), failure, tries: 0 };
    loop {
        let before = shrinking.best.clone();
        shrinking.remove_steps();
        shrinking.remove_users();
        shrinking.simplify();
        shrinking.shorten();
        if shrinking.best == before || shrinking.tries >= TRIES {
            return Some((shrinking.best, shrinking.failure));
        }
    }
}

struct Shrinking {
    best: Script,
    failure: Failure,
    tries: usize,
}

impl Shrinking {
    /// Keeps the script if it breaks the same rule.
    fn keep(&mut self, script: Script) -> bool {
        if script == self.best || self.tries >= TRIES {
            return false;
        }
        self.tries += 1;
        match run(&script) {
            Err(failure) if failure.rule == self.failure.rule => {
                (self.best, self.failure) = (script, failure);
                true
            }
            Err(_) | Ok(()) => false,
        }
    }

    /// Removes steps: half of them, then a quarter, down to one at a time.
    fn remove_steps(&mut self) {
        let mut size = self.best.steps.len().div_ceil(2);
        while size > 0 {
            let mut at = 0;
            while at < self.best.steps.len() {
                let mut script = self.best.clone();
                let end = (at + size).min(script.steps.len());
                script.steps.drain(at..end);
                if !self.keep(script) {
                    at += size;
                }
            }
            size /= 2;
        }
    }

    /// Removes the last user while nothing happens to it.
    fn remove_users(&mut self) {
        while let Some(last) = self.best.users.len().checked_sub(1).filter(|last| *last > 0) {
            let mut script = self.best.clone();
            script.users.pop();
            script.steps.retain(|(_, step)| match step {
                Step::Call(user, _) | Step::Fault(user, _) => *user != last,
                Step::Server(_) => true,
            });
            if !self.keep(script) {
                return;
            }
        }
    }

    /// Gives the server and the users the usual options.
    fn simplify(&mut self) {
        let changes: [fn(&mut Script); 6] = [
            |script| script.server.engine = false,
            |script| script.server.entries = 1000,
            |script| script.server.padding = 0,
            |script| script.server.delay = 5,
            |script| script.users.iter_mut().for_each(|user| user.format = Format::Json),
            |script| script.users.iter_mut().for_each(|user| user.ids = false),
        ];
        for change in changes {
            let mut script = self.best.clone();
            change(&mut script);
            self.keep(script);
        }
        for user in 0..self.best.users.len() {
            let mut script = self.best.clone();
            script.users[user].token = None;
            self.keep(script);
            let mut script = self.best.clone();
            script.users[user].echo = true;
            self.keep(script);
        }
    }

    /// Shortens the times between steps.
    fn shorten(&mut self) {
        for at in 0..self.best.steps.len() {
            let before = match at.checked_sub(1) {
                Some(before) => self.best.steps[before].0,
                None => Duration::ZERO,
            };
            let wait = self.best.steps[at].0.saturating_sub(before);
            // A story has times in ms.
            let half = Duration::from_millis(u64::try_from(wait.as_millis() / 2).unwrap_or(0));
            for wanted in [Duration::ZERO, Duration::from_millis(100), half] {
                if wanted >= wait {
                    continue;
                }
                let mut script = self.best.clone();
                script.steps[at..].iter_mut().for_each(|(time, _)| *time -= wait - wanted);
                if self.keep(script) {
                    break;
                }
            }
        }
    }
}
