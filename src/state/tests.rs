use super::*;
use crate::{
    protocol::Message,
    room::{UnixMicros, kind},
};
use proptest::prelude::*;
use serde_json::{Map, Value};

const ROOM: RoomId = RoomId(0);
const INTERVAL: Duration = Duration::from_millis(50);

fn state(kinds: &[&str]) -> State {
    let kinds: Vec<_> = kinds.iter().map(|name| kind(name, &Map::new()).expect("a kind")).collect();
    State::new(&kinds, INTERVAL)
}

fn session(id: u32) -> SessionAddress {
    SessionAddress { id: SessionId(id.into()), worker: 0, seat: id }
}

fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn change(by: i64) -> Entry {
    let action = Message::Text(format!("{{\"by\":{by}}}").into());
    Entry { room: ROOM, time: UnixMicros(0), action }
}

/// A short name for each delivery: `enter 1`, `all users 2`, `to 1 state 0`, `close 1`.
fn shown(deliveries: &mut Vec<Delivery>) -> Vec<String> {
    let show_event = |event: &Event| match event {
        Event::State(value) => format!("state {value}"),
        Event::Users { count } => format!("users {count}"),
        Event::Error(error) => format!("error {}", error.code.as_str()),
        Event::Message(message) => {
            format!("message {}", String::from_utf8_lossy(message.as_bytes()))
        }
    };
    let show = |delivery| match delivery {
        Delivery::Enter { session, .. } => format!("enter {}", session.id.0),
        Delivery::Broadcast { event, .. } => format!("all {}", show_event(&event)),
        Delivery::Direct { session, event } => {
            format!("to {} {}", session.id.0, show_event(&event))
        }
        Delivery::Close { session, .. } => format!("close {}", session.id.0),
    };
    std::mem::take(deliveries).into_iter().map(show).collect()
}

#[test]
fn a_newcomer_is_told_users_with_everyone_and_then_the_state() {
    let mut state = state(&["counter"]);
    let mut out = Vec::new();
    state.join(ROOM, session(1), at(0), &mut out);
    assert_eq!(shown(&mut out), ["enter 1", "all users 1", "to 1 state 0"]);
    state.join(ROOM, session(2), at(1), &mut out);
    assert_eq!(shown(&mut out), ["enter 2", "all users 2", "to 2 state 0"]);
}

#[test]
fn who_leaves_is_counted_out_once() {
    let mut state = state(&["counter"]);
    let mut out = Vec::new();
    state.join(ROOM, session(1), at(0), &mut out);
    state.join(ROOM, session(2), at(0), &mut out);
    out.clear();
    state.leave(ROOM, session(2), at(0), &mut out);
    assert_eq!(shown(&mut out), ["all users 1"]);
    state.leave(ROOM, session(2), at(0), &mut out);
    state.leave(ROOM, session(3), at(0), &mut out);
    assert!(out.is_empty(), "who is not there cannot leave: {:?}", shown(&mut out));
}

#[test]
fn a_second_join_of_a_session_changes_nothing() {
    let mut state = state(&["counter"]);
    let mut out = Vec::new();
    state.join(ROOM, session(1), at(0), &mut out);
    out.clear();
    state.join(ROOM, session(1), at(100), &mut out);
    assert!(out.is_empty(), "{:?}", shown(&mut out));
}

#[test]
fn each_action_gives_one_state_to_all() {
    let mut state = state(&["counter"]);
    let mut out = Vec::new();
    state.join(ROOM, session(1), at(0), &mut out);
    out.clear();
    for by in [1, 1, -1] {
        state.apply(&change(by), session(1), &mut out);
    }
    assert_eq!(shown(&mut out), ["all state 1", "all state 2", "all state 1"]);
}

#[test]
fn a_refusal_is_for_the_sender_alone() {
    let mut state = state(&["counter"]);
    let mut out = Vec::new();
    state.apply(&change(i64::MAX), session(1), &mut out);
    out.clear();
    state.apply(&change(1), session(1), &mut out);
    assert_eq!(shown(&mut out), ["to 1 error out_of_range"]);
}

#[test]
fn a_plain_room_says_nothing_by_itself() {
    let mut state = state(&["echo"]);
    let mut out = Vec::new();
    state.join(ROOM, session(1), at(0), &mut out);
    let entry = Entry { action: Message::Text("hello".into()), ..change(0) };
    state.apply(&entry, session(1), &mut out);
    state.leave(ROOM, session(1), at(0), &mut out);
    assert_eq!(shown(&mut out), ["enter 1", "to 1 message hello"]);
}

#[test]
fn rooms_are_apart() {
    let mut state = state(&["counter", "counter"]);
    let mut out = Vec::new();
    state.join(RoomId(1), session(1), at(0), &mut out);
    state.apply(&change(1), session(2), &mut out);
    out.clear();
    state.join(RoomId(1), session(3), at(0), &mut out);
    assert_eq!(shown(&mut out), ["enter 3", "all users 2", "to 3 state 0"]);
}

#[test]
fn when_many_come_users_are_told_once_an_interval_and_end_true() {
    let mut state = state(&["counter"]);
    let mut out = Vec::new();
    for id in 0..1000 {
        state.join(ROOM, session(id), at(0), &mut out);
    }
    let told = out.iter().filter(|delivery| matches!(delivery, Delivery::Broadcast { .. }));
    let told = told.count();
    assert!(told < 30, "{told} broadcasts for 1,000 joins at once");
    let last = shown(&mut out).split_off(0);
    assert_eq!(last[last.len() - 3..], ["enter 999", "to 999 users 1000", "to 999 state 0"]);

    assert_eq!(state.presence_due(at(10)), Some(at(40)));
    state.tell_untold(at(49), &mut out);
    assert!(out.is_empty(), "not before the interval is over");
    state.tell_untold(at(50), &mut out);
    assert_eq!(shown(&mut out), ["all users 1000"]);
    assert_eq!(state.presence_due(at(50)), None, "all is told");
}

#[test]
fn a_count_that_was_told_meanwhile_is_not_told_again() {
    let mut state = state(&["counter"]);
    let mut out = Vec::new();
    for id in 0..300 {
        state.join(ROOM, session(id), at(0), &mut out);
    }
    state.leave(ROOM, session(0), at(60), &mut out);
    assert_eq!(shown(&mut out).last().map(String::as_str), Some("all users 299"));
    assert_eq!(state.presence_due(at(60)), None);
}

/// One step of a random history.
#[derive(Debug, Clone)]
enum Step {
    Join(u32),
    Leave(u32),
    Change(i64),
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0u32..400).prop_map(Step::Join),
        (0u32..400).prop_map(Step::Leave),
        prop_oneof![-3i64..=3, Just(i64::MAX), Just(i64::MIN)].prop_map(Step::Change),
        (0u64..80).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 0..600)
}

/// Applies the steps; returns what was delivered and the time at the end.
fn run(state: &mut State, steps: &[Step]) -> (Vec<Delivery>, Duration) {
    let (mut out, mut now) = (Vec::new(), Duration::ZERO);
    for step in steps {
        match step {
            Step::Join(id) => state.join(ROOM, session(*id), now, &mut out),
            Step::Leave(id) => state.leave(ROOM, session(*id), now, &mut out),
            Step::Change(by) => state.apply(&change(*by), session(0), &mut out),
            Step::Wait(millis) => {
                now += at(*millis);
                if state.presence_due(now) == Some(Duration::ZERO) {
                    state.tell_untold(now, &mut out);
                }
            }
        }
    }
    (out, now)
}

proptest! {
    /// The same history gives the same deliveries: nothing but the input matters.
    #[test]
    fn the_same_history_gives_the_same_deliveries(steps in steps()) {
        let first = run(&mut state(&["counter"]), &steps);
        let second = run(&mut state(&["counter"]), &steps);
        prop_assert_eq!(first, second);
    }

    /// However sessions come and go, the last count that everyone in the room holds is true, and
    /// every session is told a count and the state when it comes.
    #[test]
    fn counts_end_true(steps in steps()) {
        let mut state = state(&["counter"]);
        let (mut out, now) = run(&mut state, &steps);
        state.tell_untold(now + INTERVAL, &mut out);
        let (mut present, mut held, mut value) = (HashSet::new(), std::collections::HashMap::new(), Value::from(0));
        for delivery in &out {
            match delivery {
                Delivery::Enter { session, .. } => { present.insert(*session); }
                Delivery::Broadcast { event: Event::Users { count }, .. } => {
                    for session in &present { held.insert(*session, *count); }
                }
                Delivery::Direct { session, event: Event::Users { count } } => { held.insert(*session, *count); }
                Delivery::Broadcast { event: Event::State(new), .. } => value = new.clone(),
                Delivery::Direct { event: Event::State(told), .. } => prop_assert_eq!(told, &value),
                _ => {}
            }
        }
        for session in &state.rooms[0].users {
            prop_assert_eq!(held.get(session), Some(&state.rooms[0].users.len()), "{:?}", session);
        }
    }
}
