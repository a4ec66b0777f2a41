//! Random schedules, and the stories of those that have failed.

use std::{collections::BTreeSet, thread};

use capably_sim::{Script, draw, run, shrink, sweep};

/// The schedules of a usual test run. The command `capably-sim` runs more.
const SCHEDULES: u64 = 2000;

#[test]
fn every_schedule_keeps_the_rules() {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let failures = sweep(0..SCHEDULES, threads);
    let mut rules = BTreeSet::new();
    let firsts = failures.iter().filter(|(_, failure)| rules.insert(failure.rule.clone()));
    let stories: Vec<String> = firsts
        .filter_map(|(seed, _)| shrink(&draw(*seed)))
        .map(|(script, failure)| format!("{script}\n{failure}\n"))
        .collect();
    assert!(failures.is_empty(), "{} fail:\n{}", failures.len(), stories.join("\n"));
}

#[test]
fn a_schedule_runs_in_the_same_way_each_time() {
    for seed in 0..50 {
        assert_eq!(draw(seed), draw(seed));
        assert_eq!(run(&draw(seed)), run(&draw(seed)), "seed {seed}");
    }
}

/// A schedule that has failed once.
macro_rules! stories {
    ($($name:ident,)*) => {$(
        #[test]
        fn $name() {
            let text = include_str!(concat!("stories/", stringify!($name), ".story"));
            let script: Script = text.parse().expect("a story");
            assert_eq!(run(&script), Ok(()), "{script}");
        }
    )*};
}

stories! {
    a_close_while_the_channel_is_suspended,
    a_detach_behind_an_enter_after_a_resume,
    a_detach_behind_an_enter_that_is_lost,
    a_detach_behind_an_enter_when_the_server_crashes_twice,
    a_detach_of_a_released_channel_that_is_lost,
    a_detach_without_a_connection,
    a_late_acknowledgement_of_an_earlier_attachment,
    a_later_publish_whose_id_alone_the_engine_remembers,
    a_leave_after_the_clock_of_the_server_went_back,
    a_leave_before_a_rewind_that_brings_its_member_again,
    a_leave_under_way_when_the_connection_is_lost,
    a_member_whose_repeated_enter_is_refused,
    a_publish_when_the_clock_has_gone_on_for_two_minutes,
    a_publish_when_the_engine_has_forgotten_its_id,
    a_recovered_channel_that_is_released,
    a_recovery_while_the_channel_attaches,
    a_recovery_while_the_earlier_process_detaches,
    a_refused_departure_of_a_close_is_proposed_again,
    a_refused_departure_of_a_detach_is_proposed_again,
    a_refused_enter_that_the_engine_has_stored,
    a_refused_operation_that_the_engine_has_stored,
    a_release_after_a_recovery_while_the_channel_attaches,
    a_repeated_enter_of_a_client_that_has_detached,
    a_repeated_frame_before_a_leave_and_a_new_enter,
    a_rewind_after_a_release,
    a_rewind_over_an_earlier_attachment,
    an_attach_behind_a_detach_that_the_engine_has_not,
    an_attach_of_a_released_channel_that_is_refused,
    an_attach_that_waits_for_longer_than_its_client,
    an_enter_before_a_detach_that_is_not_confirmed,
    an_enter_that_is_committed_after_a_recovery,
    members_during_a_replay,
    members_of_an_earlier_life_are_gone_after_a_replay,
    members_of_an_earlier_life_are_gone_with_other_channels,
}
