//! Clients and the server of capably in virtual time, over a network that fails.
//!
//! A schedule is a [`Script`]: what users do, and what fails. A world runs it: the cores of clients (`capably-core`) with
//! doubles of their drivers, the hub of the server (`capably-server`) with a double of its front, and byte streams between
//! them. A reference model knows what the service has committed, and checks what users see against it.
//!
//! ```
//! use capably_sim::{draw, run};
//!
//! assert_eq!(run(&draw(17)), Ok(()));
//! ```

mod draw;
mod model;
mod net;
pub mod script;
mod shrink;
mod story;
mod sweep;
mod user;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

pub use self::{draw::draw, script::Script, shrink::shrink, sweep::sweep, world::Failure};

/// Runs a script.
///
/// # Errors
/// The first rule that is broken. A panic of a core or of the hub breaks a rule, too.
pub fn run(script: &Script) -> Result<(), Failure> {
    run_with(script, false)
}

/// Runs a script, and prints what happens.
///
/// # Errors
/// As [`run`].
pub fn trace(script: &Script) -> Result<(), Failure> {
    run_with(script, true)
}

fn run_with(script: &Script, is_traced: bool) -> Result<(), Failure> {
    catch_unwind(AssertUnwindSafe(|| world::World::run(script, is_traced))).unwrap_or_else(
        |panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default();
            Err(Failure { rule: "panic".to_owned(), what: text.to_owned() })
        },
    )
}
