//! Who takes what, by the rules alone: no threads, and a clock of our own.

use std::time::Instant;

use super::super::board::{Board, Turned};
use super::super::place::Condition;
use super::super::queue::{Job, Kindred, Limit};
use super::*;

#[derive(Clone)]
struct Tile;

impl Kindred for Tile {
    fn kindred(&self, _other: &Self) -> bool {
        true
    }

    fn model(&self) -> u64 {
        1
    }
}

const LIMIT: Limit = Limit { items: 8, pixels: usize::MAX, most: usize::MAX, hands: 1 };

/// Devices that are idle since `now`.
fn idle(n: usize, now: Instant) -> Board<Tile, ()> {
    let mut state = Board::new(vec![String::new(); n], usize::MAX);
    for place in &mut state.places {
        place.condition = Condition::Idle(now);
        place.limits.insert(1, LIMIT);
    }
    state
}

fn come(state: &mut Board<Tile, ()>, n: usize, now: Instant) {
    for _ in 0..n {
        let turn = (0, state.number());
        state.queue.owed(1).came(now, 1);
        let (deadline, avoid) = (None, None);
        state.queue.push(Job {
            turn,
            since: now,
            deadline,
            items: 1,
            pixels: 1,
            tries: 0,
            avoid,
            what: Tile,
        });
    }
}

/// Items that each device gets, asked in order.
fn handed(state: &mut Board<Tile, ()>, now: Instant) -> Vec<usize> {
    (0..state.places.len())
        .map(|device| state.hand(device, now).map_or(0, |given| given.jobs.len()))
        .collect()
}

#[test]
fn what_waits_is_spread_over_idle_devices_and_batched_when_it_is_more() {
    let now = Instant::now();
    for (waits, devices, expected) in [
        (8, 4, vec![2, 2, 2, 2]),
        (8, 8, vec![1; 8]),
        (3, 2, vec![2, 1]),
        (1, 4, vec![1, 0, 0, 0]),
        (40, 3, vec![8, 8, 8]),
    ] {
        let mut state = idle(devices, now);
        come(&mut state, waits, now);
        assert_eq!(handed(&mut state, now), expected, "{waits} for {devices}");
    }
}

#[test]
fn a_lone_request_is_not_held_back_and_those_that_come_back_are_waited_for_a_moment() {
    let now = Instant::now();
    let mut state = idle(1, now);
    state.queue.owed(1).took(80 * MS);
    come(&mut state, 1, now);
    assert_eq!(handed(&mut state, now), [1], "nothing is owed");
    // Eight were answered; one has come back.
    let mut state = idle(1, now);
    state.queue.owed(1).took(80 * MS);
    state.queue.owed(1).answered(now, 8);
    come(&mut state, 1, now + MS);
    let until = state.hand(0, now + MS).err().expect("it lingers");
    assert_eq!(until, Some(now + 20 * MS));
    come(&mut state, 7, now + MS);
    assert_eq!(handed(&mut state, now + MS), [8]);
    // Nobody comes back: a quarter of a batch, and no more.
    let mut state = idle(1, now);
    state.queue.owed(1).took(80 * MS);
    state.queue.owed(1).answered(now, 8);
    come(&mut state, 1, now);
    assert_eq!(handed(&mut state, now + 20 * MS), [1]);
}

#[test]
fn a_batch_is_prepared_ahead_only_if_it_is_full_and_an_idle_device_takes_it_over() {
    let now = Instant::now();
    let mut state = idle(2, now);
    come(&mut state, 16, now);
    assert_eq!(handed(&mut state, now), [8, 8]);
    come(&mut state, 7, now);
    assert!(state.ahead(0, now).is_none(), "later ones could still join it");
    come(&mut state, 1, now);
    let ahead = state.ahead(0, now).expect("full");
    assert_eq!(ahead.jobs.len(), 8);
    // The other device is done first.
    let second = state.places[1].held[0].id;
    assert!(state.finished(1, second, now, MS).is_some());
    state.places[1].condition = Condition::Idle(now);
    assert_eq!(state.hand(1, now).map_or(0, |given| given.jobs.len()), 8);
    assert_eq!(state.begin(0, ahead.id, 0, now), Turned::Gone, "it is the other's now");
}

/// Batches of eight for two hands of a device that holds sixteen pixels.
#[test]
fn a_free_hand_begins_with_half_of_a_batch_and_a_third_batch_waits_for_a_hand() {
    let now = Instant::now();
    let mut state = idle(1, now);
    state.places[0].limits.insert(1, Limit { pixels: 8, most: 16, hands: 2, ..LIMIT });
    come(&mut state, 11, now);
    let first = state.hand(0, now).expect("work");
    assert_eq!((first.jobs.len(), first.begun), (8, true));
    assert!(state.ahead(0, now).is_none(), "three could still become more");
    come(&mut state, 1, now);
    let second = state.ahead(0, now).expect("half of a batch");
    assert_eq!((second.jobs.len(), second.begun), (4, true));
    come(&mut state, 7, now);
    assert!(state.ahead(0, now).is_none(), "no hand is free, and it is not full");
    come(&mut state, 1, now);
    let third = state.ahead(0, now).expect("full");
    assert_eq!((third.jobs.len(), third.begun), (8, false));
    come(&mut state, 8, now);
    assert!(state.ahead(0, now).is_none(), "one waits already");
    assert_eq!(state.begin(0, third.id, 0, now), Turned::Waits);
    // The first is computed, and not answered yet.
    assert_eq!(state.begin(0, third.id, first.id, now), Turned::Begun);
    assert!(state.finished(0, first.id, now, MS).is_some());
    assert!(!state.ahead(0, now).expect("full").begun);
}

#[test]
fn a_request_that_fills_a_device_is_computed_alone_and_so_is_another_model() {
    let now = Instant::now();
    let mut state = idle(1, now);
    state.places[0].limits.insert(1, Limit { pixels: 8, most: 16, hands: 2, ..LIMIT });
    come(&mut state, 8, now);
    let first = state.hand(0, now).expect("work");
    come(&mut state, 1, now);
    let turn = (0, state.number() - 1);
    let mut large = state.queue.remove(turn).expect("it waits");
    (large.items, large.pixels) = (8, 12);
    state.queue.push(large);
    let large = state.ahead(0, now).expect("full");
    assert!(!large.begun, "8 and 12 pixels are more than 16");
    assert_eq!(state.begin(0, large.id, 0, now), Turned::Waits);
    assert_eq!(state.begin(0, large.id, first.id, now), Turned::Begun);
    assert!(state.finished(0, first.id, now, MS).is_some());
    let place = &state.places[0];
    let limit = place.limits[&1];
    assert!(place.has_hand(1, 4, limit, None) && !place.has_hand(1, 5, limit, None));
    assert!(!place.has_hand(2, 1, limit, None), "nobody has tried two models at once");
}

/// What is computed at once is refused at its deadline until then, as anything else.
#[test]
fn requests_with_a_deadline_use_all_hands_and_are_not_prepared_ahead() {
    let now = Instant::now();
    let mut state = idle(1, now);
    state.places[0].limits.insert(1, Limit { pixels: 8, most: 16, hands: 2, ..LIMIT });
    let hurry = |state: &mut Board<Tile, ()>| {
        come(state, 8, now);
        let numbers = state.number() - 8..state.number() - 1;
        for number in numbers {
            let mut job = state.queue.remove((0, number)).expect("it waits");
            job.deadline = Some(now + MS);
            state.queue.push(job);
        }
    };
    hurry(&mut state);
    assert!(state.hand(0, now).is_ok());
    hurry(&mut state);
    assert!(state.ahead(0, now).expect("a hand is free").begun);
    hurry(&mut state);
    assert!(state.ahead(0, now).is_none());
}

#[test]
fn nothing_is_prepared_ahead_while_a_device_is_idle() {
    let now = Instant::now();
    let mut state = idle(2, now);
    come(&mut state, 8, now);
    assert_eq!(state.hand(0, now).map_or(0, |given| given.jobs.len()), 4);
    come(&mut state, 12, now);
    assert!(state.ahead(0, now).is_none());
}
