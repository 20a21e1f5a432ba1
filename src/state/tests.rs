use super::*;
use crate::room::{PathPattern, kind};
use proptest::prelude::*;
use serde_json::{Map, Value};
use std::collections::HashSet;

const ROOM: RoomId = RoomId(0);
const INTERVAL: Duration = Duration::from_millis(50);

const LIMITS: DedupLimits = DedupLimits { ttl_micros: 1_000_000, max_clients: 100 };

fn plans(kinds: &[&str]) -> Vec<RoomPlan> {
    let plan = |(number, name): (usize, &&str)| RoomPlan {
        path: PathPattern::parse(&format!("/{number}")).expect("a path"),
        max_rooms: 1,
        kind: kind(name, &Map::new()).expect("a kind"),
    };
    kinds.iter().enumerate().map(plan).collect()
}

fn empty(kinds: &[&str]) -> State {
    let facts = Facts { epoch: "e".into(), heartbeat_ms: 20_000, max_message_bytes: 65_536 };
    State::new(&plans(kinds), &Kinds::default(), facts, INTERVAL)
}

/// A state whose rooms are open.
fn state(kinds: &[&str]) -> State {
    let mut state = empty(kinds);
    for entry in state.missing_entries(LIMITS, UnixMicros(0)) {
        state.replay(state.position() + 1, &entry.to_bytes()).expect("a good entry");
    }
    state
}

fn session(id: u32) -> SessionAddress {
    SessionAddress { id: SessionId(id.into()), worker: 0, seat: id }
}

fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn visitor(id: u32) -> Visitor {
    Visitor { session: session(id), dialect: Dialect::Classic, client: None, since: None }
}

fn v1_visitor(id: u32, client: &str) -> Visitor {
    Visitor { session: session(id), dialect: Dialect::V1, client: Some(key(client)), since: None }
}

fn key(client: &str) -> ClientKey {
    ClientKey::new("/0", &format!("a-client-whose-name-is-{client}")).expect("an identity")
}

fn change(by: i64) -> ActEntry {
    let deed = Deed::Apply(Message::Text(format!("{{\"by\":{by}}}").into()));
    ActEntry { at: UnixMicros(0), room: RoomNumber(0), author: None, deed }
}

fn numbered(client: &str, id: u64, by: i64) -> ActEntry {
    ActEntry { author: Some(Author { client: key(client), id }), ..change(by) }
}

/// A visitor comes to the room at this place in the configuration.
fn join(state: &mut State, plan: usize, visitor: Visitor, now: Duration, out: &mut Vec<Delivery>) {
    let place = Place { plan, path: format!("/{plan}").into() };
    state.join(&place, visitor, (now, UnixMicros(0)), out);
}

fn leave(state: &mut State, visitor: Visitor, now: Duration, out: &mut Vec<Delivery>) {
    state.leave(visitor.session, visitor.client, (now, UnixMicros(0)), out);
}

fn sender(id: u32) -> Sender {
    Sender { session: session(id), id: None, verdict: None }
}

/// Applies an entry of the session with this number, as the next one.
fn apply(state: &mut State, entry: &ActEntry, from: u32, out: &mut Vec<Delivery>) {
    let sender = Sender { id: entry.author.map(|author| author.id), ..sender(from) };
    state.apply(state.position() + 1, entry, Some(sender), out);
}

/// A short name for each delivery: `enter 1`, `all users 2`, `to 1 state 0`, `close 1`.
fn shown(deliveries: &mut Vec<Delivery>) -> Vec<String> {
    let again = |is_duplicate: &bool| if *is_duplicate { " again" } else { "" };
    let show_event = |event: &Event| match event {
        Event::Welcome(welcome) => {
            format!("welcome {:?} {:?}", welcome.last_id, welcome.refused)
        }
        Event::State { seq, value } => format!("state {value} @{seq}"),
        Event::Users { count, .. } => format!("users {count}"),
        Event::Ack { id, seq, is_duplicate } => {
            format!("ack {id} @{seq}{}", again(is_duplicate))
        }
        Event::Error(Refused { error, is_duplicate, .. }) => {
            format!("error {}{}", error.code.as_str(), again(is_duplicate))
        }
        Event::Room { seq, event, .. } => format!("{} @{seq}", event.name),
        Event::Several(events) => format!("{} events", events.len()),
        Event::Message(message) => {
            format!("message {}", String::from_utf8_lossy(message.as_bytes()))
        }
    };
    let show = |delivery| match delivery {
        Delivery::Enter { session, .. } => format!("enter {}", session.id.0),
        Delivery::Broadcast { event, .. } => format!("all {}", show_event(&event)),
        Delivery::Resume { session } => format!("resume {}", session.id.0),
        Delivery::Direct { session, event, .. } => {
            format!("to {} {}", session.id.0, show_event(&event))
        }
        Delivery::Close { session, code } => format!("close {} {code}", session.id.0),
    };
    std::mem::take(deliveries).into_iter().map(show).collect()
}

#[test]
fn a_newcomer_is_told_users_with_everyone_and_then_the_state() {
    let mut state = state(&["counter"]);
    let mut out = Vec::new();
    join(&mut state, 0, visitor(1), at(0), &mut out);
    assert_eq!(shown(&mut out), ["enter 1", "all users 1", "to 1 state 0 @2"]);
    join(&mut state, 0, visitor(2), at(1), &mut out);
    assert_eq!(shown(&mut out), ["enter 2", "all users 2", "to 2 state 0 @2"]);
}

#[test]
fn who_leaves_is_counted_out_once() {
    let mut state = state(&["counter"]);
    let mut out = Vec::new();
    join(&mut state, 0, visitor(1), at(0), &mut out);
    join(&mut state, 0, visitor(2), at(0), &mut out);
    out.clear();
    leave(&mut state, visitor(2), at(0), &mut out);
    assert_eq!(shown(&mut out), ["all users 1"]);
    leave(&mut state, visitor(2), at(0), &mut out);
    leave(&mut state, visitor(3), at(0), &mut out);
    assert!(out.is_empty(), "who is not there cannot leave: {:?}", shown(&mut out));
}

#[test]
fn a_second_join_of_a_session_changes_nothing() {
    let mut state = state(&["counter"]);
    let mut out = Vec::new();
    join(&mut state, 0, visitor(1), at(0), &mut out);
    out.clear();
    join(&mut state, 0, visitor(1), at(100), &mut out);
    assert!(out.is_empty(), "{:?}", shown(&mut out));
}

#[test]
fn each_action_gives_one_state_to_all() {
    let mut state = state(&["counter"]);
    let mut out = Vec::new();
    join(&mut state, 0, visitor(1), at(0), &mut out);
    out.clear();
    for by in [1, 1, -1] {
        apply(&mut state, &change(by), 1, &mut out);
    }
    assert_eq!(shown(&mut out), ["all state 1 @3", "all state 2 @4", "all state 1 @5"]);
}

#[test]
fn a_refusal_is_for_the_sender_alone() {
    let mut state = state(&["counter"]);
    let mut out = Vec::new();
    apply(&mut state, &change(i64::MAX), 1, &mut out);
    out.clear();
    apply(&mut state, &change(1), 1, &mut out);
    assert_eq!(shown(&mut out), ["to 1 error out_of_range"]);
}

#[test]
fn a_plain_room_says_nothing_by_itself() {
    let mut state = state(&["echo"]);
    let mut out = Vec::new();
    join(&mut state, 0, visitor(1), at(0), &mut out);
    assert_eq!(state.number(ROOM), None, "an echo is not in the journal");
    state.pass(ROOM, &Message::Text("hello".into()), UnixMicros(0), Some(&sender(1)), &mut out);
    leave(&mut state, visitor(1), at(0), &mut out);
    assert_eq!(shown(&mut out), ["enter 1", "to 1 message hello"]);
}

#[test]
fn rooms_are_apart() {
    let mut state = state(&["counter", "counter"]);
    let mut out = Vec::new();
    join(&mut state, 1, visitor(1), at(0), &mut out);
    apply(&mut state, &change(1), 2, &mut out);
    out.clear();
    join(&mut state, 1, visitor(3), at(0), &mut out);
    assert_eq!(shown(&mut out), ["enter 3", "all users 2", "to 3 state 0 @3"]);
}

#[test]
fn when_many_come_users_are_told_once_an_interval_and_end_true() {
    let mut state = state(&["counter"]);
    let mut out = Vec::new();
    for id in 0..1000 {
        join(&mut state, 0, visitor(id), at(0), &mut out);
    }
    let told = out.iter().filter(|delivery| matches!(delivery, Delivery::Broadcast { .. }));
    let told = told.count();
    assert!(told < 30, "{told} broadcasts for 1,000 joins at once");
    let last = shown(&mut out).split_off(0);
    assert_eq!(last[last.len() - 3..], ["enter 999", "to 999 users 1000", "to 999 state 0 @2"]);

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
        join(&mut state, 0, visitor(id), at(0), &mut out);
    }
    leave(&mut state, visitor(0), at(60), &mut out);
    assert_eq!(shown(&mut out).last().map(String::as_str), Some("all users 299"));
    assert_eq!(state.presence_due(at(60)), None);
}

#[test]
fn a_v1_newcomer_is_welcomed_first() {
    let mut state = state(&["counter"]);
    let mut out = Vec::new();
    apply(&mut state, &numbered("ann", 1, 5), 9, &mut out);
    apply(&mut state, &numbered("ann", 2, i64::MAX), 9, &mut out);
    out.clear();
    join(&mut state, 0, v1_visitor(1, "ann"), at(0), &mut out);
    let expected = ["to 1 welcome Some(2) [2]", "enter 1", "all users 1", "to 1 state 5 @3"];
    assert_eq!(shown(&mut out), expected);
    join(&mut state, 0, v1_visitor(2, "bob"), at(0), &mut out);
    assert_eq!(shown(&mut out)[0], "to 2 welcome None []", "nobody knows bob");
}

#[test]
fn a_welcome_says_who_and_where() {
    let mut state = state(&["counter"]);
    let mut out = Vec::new();
    join(&mut state, 0, v1_visitor(7, "ann"), at(0), &mut out);
    let expected = Welcome {
        missed: false,
        room: "/0".into(),
        kind: "counter",
        session: 7,
        epoch: "e".into(),
        seq: 2,
        last_id: None,
        refused: Vec::new(),
        forgotten_until: 0,
        max_in_flight: 64,
        heartbeat_ms: 20_000,
        max_message_bytes: 65_536,
    };
    let event = Event::Welcome(Box::new(expected));
    assert_eq!(out[0], Delivery::answer(session(7), event));
}

#[test]
fn an_ack_comes_before_the_first_state_with_the_action_in_it() {
    let mut state = state(&["counter"]);
    let mut out = Vec::new();
    apply(&mut state, &numbered("ann", 1, 1), 1, &mut out);
    assert_eq!(shown(&mut out), ["to 1 ack 1 @3", "all state 1 @3"]);
}

#[test]
fn a_duplicate_is_answered_with_what_happened_to_the_original() {
    let mut state = state(&["counter"]);
    let mut out = Vec::new();
    apply(&mut state, &numbered("ann", 1, i64::MAX), 1, &mut out);
    apply(&mut state, &numbered("ann", 2, 1), 1, &mut out);
    let expected = ["to 1 ack 1 @3", "all state 9223372036854775807 @3", "to 1 error out_of_range"];
    assert_eq!(shown(&mut out), expected);
    // The first state that has the original in it is position 3's; nothing newer changed it.
    apply(&mut state, &numbered("ann", 1, i64::MAX), 2, &mut out);
    apply(&mut state, &numbered("ann", 2, 1), 2, &mut out);
    assert_eq!(shown(&mut out), ["to 2 ack 1 @3 again", "to 2 error refused again"]);
}

#[test]
fn a_number_that_is_not_the_next_decides_nothing() {
    let mut state = state(&["counter"]);
    let mut out = Vec::new();
    apply(&mut state, &numbered("ann", 2, 1), 1, &mut out);
    assert_eq!(shown(&mut out), ["to 1 error id_gap"], "its first is missing");
    for id in 1..=65 {
        apply(&mut state, &numbered("ann", id, 1), 1, &mut out);
    }
    out.clear();
    apply(&mut state, &numbered("ann", 67, 1), 1, &mut out);
    apply(&mut state, &numbered("ann", 1, 1), 1, &mut out);
    assert_eq!(shown(&mut out), ["to 1 error id_gap", "to 1 error id_too_old"]);
    apply(&mut state, &numbered("ann", 66, 1), 1, &mut out);
    assert_eq!(shown(&mut out), ["to 1 ack 66 @71", "all state 66 @71"]);
}

#[test]
fn who_is_forgotten_while_there_is_told_so() {
    let mut state = state(&["counter"]);
    let limits =
        Entry::Limits { at: UnixMicros(0), limits: DedupLimits { max_clients: 1, ..LIMITS } };
    state.replay(3, &limits.to_bytes()).expect("a good entry");
    let mut out = Vec::new();
    join(&mut state, 0, v1_visitor(1, "ann"), at(0), &mut out);
    apply(&mut state, &numbered("ann", 1, 1), 1, &mut out);
    apply(&mut state, &numbered("bob", 1, 1), 2, &mut out);
    out.clear();
    apply(&mut state, &numbered("ann", 2, 1), 1, &mut out);
    assert_eq!(shown(&mut out), ["to 1 error forgotten"]);
    join(&mut state, 0, v1_visitor(3, "ann"), at(0), &mut out);
    let Delivery::Direct { event: Event::Welcome(welcome), .. } = &out[1] else { panic!() };
    assert_eq!(welcome.forgotten_until, 4, "ann's action stands there: it may have been applied");
}

#[test]
fn who_came_back_before_its_action_was_kept_and_is_forgotten_then_is_told_so() {
    let mut state = state(&["counter"]);
    let limits = DedupLimits { max_clients: 1, ..LIMITS };
    let entry = Entry::Limits { at: UnixMicros(0), limits };
    state.replay(3, &entry.to_bytes()).expect("a good entry");
    let mut out = Vec::new();
    join(&mut state, 0, v1_visitor(1, "ann"), at(0), &mut out);
    join(&mut state, 0, v1_visitor(2, "ann"), at(0), &mut out);
    assert!(!state.is_forgotten(&key("ann"), session(2)), "it is new");
    apply(&mut state, &numbered("ann", 1, 1), 1, &mut out);
    assert!(!state.is_forgotten(&key("ann"), session(2)), "it is known");
    apply(&mut state, &numbered("bob", 1, 1), 3, &mut out);
    assert!(state.is_forgotten(&key("ann"), session(2)), "its 1 must not be put in order again");
}

#[test]
fn what_is_no_action_uses_up_its_number() {
    let mut state = state(&["counter"]);
    let mut out = Vec::new();
    let entry = ActEntry { deed: Deed::Refuse, ..numbered("ann", 1, 0) };
    let verdict = Some(Err(ActionError::new(ErrorCode::UnknownAction, "no such action")));
    let from = Sender { id: Some(1), verdict, ..sender(1) };
    state.apply(3, &entry, Some(from), &mut out);
    assert_eq!(shown(&mut out), ["to 1 error unknown_action"]);
    apply(&mut state, &numbered("ann", 1, 1), 1, &mut out);
    apply(&mut state, &numbered("ann", 2, 1), 1, &mut out);
    let expected = ["to 1 error refused again", "to 1 ack 2 @5", "all state 1 @5"];
    assert_eq!(shown(&mut out), expected);
}

#[test]
fn of_two_connections_of_one_client_the_newer_stays() {
    let mut state = state(&["counter"]);
    let mut out = Vec::new();
    join(&mut state, 0, v1_visitor(1, "ann"), at(0), &mut out);
    join(&mut state, 0, v1_visitor(2, "bob"), at(0), &mut out);
    out.clear();
    join(&mut state, 0, v1_visitor(3, "ann"), at(0), &mut out);
    assert_eq!(shown(&mut out)[..2], ["close 1 4409", "to 3 welcome None []"]);
    assert!(!state.acts_for(&key("ann"), session(1)) && state.acts_for(&key("ann"), session(3)));
    leave(&mut state, v1_visitor(1, "ann"), at(0), &mut out);
    assert!(state.acts_for(&key("ann"), session(3)), "the older's leave changes nothing");
    leave(&mut state, v1_visitor(3, "ann"), at(0), &mut out);
    assert!(!state.acts_for(&key("ann"), session(3)), "who left does not act");
}

#[test]
fn a_room_that_left_the_configuration_keeps_its_state() {
    let mut state = state(&["counter", "counter"]);
    apply(&mut state, &ActEntry { room: RoomNumber(1), ..change(7) }, 1, &mut Vec::new());
    let mut without = empty(&["counter"]);
    without.restore(state.position(), &state.save()).expect("a good snapshot");
    let mut again = empty(&["counter", "counter"]);
    again.restore(without.position(), &without.save()).expect("a good snapshot");
    let mut out = Vec::new();
    join(&mut again, 1, visitor(1), at(0), &mut out);
    assert_eq!(shown(&mut out).last().map(String::as_str), Some("to 1 state 7 @4"));
}

#[test]
fn only_what_is_new_is_noted_in_the_journal() {
    let state = state(&["counter", "echo"]);
    assert_eq!(state.missing_entries(LIMITS, UnixMicros(1)), [], "all is known");
    let limits = DedupLimits { max_clients: 5, ..LIMITS };
    let changed = Entry::Limits { at: UnixMicros(1), limits };
    assert_eq!(state.missing_entries(limits, UnixMicros(1)), [changed]);
}

#[test]
fn what_is_no_entry_is_refused() {
    let mut state = state(&["counter"]);
    let unknown = Entry::Open { at: UnixMicros(0), path: "/x".into(), kind: "x".into() };
    assert!(matches!(
        state.replay(3, &unknown.to_bytes()),
        Err(RecoverError::UnknownKind { path, kind }) if path == "/x" && kind == "x"
    ));
    let nowhere = Entry::Act(ActEntry { room: RoomNumber(1), ..change(1) }).to_bytes();
    assert_eq!(state.replay(3, &nowhere), Err(RecoverError::NoEntry { position: 3 }));
    let mut long = Entry::Act(change(1)).to_bytes().to_vec();
    long.push(0);
    for bytes in [&b""[..], &[9, 9, 9], &long] {
        assert_eq!(state.replay(3, bytes), Err(RecoverError::NoEntry { position: 3 }));
        assert_eq!(state.restore(3, bytes), Err(RecoverError::NoEntry { position: 3 }));
    }
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
            Step::Join(id) => join(state, 0, visitor(*id), now, &mut out),
            Step::Leave(id) => leave(state, visitor(*id), now, &mut out),
            Step::Change(by) => apply(state, &change(*by), 0, &mut out),
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

#[test]
fn a_removed_room_is_gone_from_snapshots_and_the_numbers_of_others_stay() {
    let mut first = state(&["counter", "counter"]);
    let mut out = Vec::new();
    join(&mut first, 0, visitor(1), at(0), &mut out);
    apply(&mut first, &change(1), 1, &mut out);
    apply(&mut first, &ActEntry { room: RoomNumber(1), ..change(5) }, 1, &mut out);
    out.clear();
    apply(&mut first, &ActEntry { deed: Deed::Remove, ..change(0) }, 9, &mut out);
    assert_eq!(shown(&mut out), ["close 1 4404"]);
    apply(&mut first, &numbered("ann", 1, 1), 1, &mut out);
    assert_eq!(shown(&mut out), ["to 1 error no_such_room"], "it was on its way");
    let mut second = empty(&["counter", "counter"]);
    second.restore(first.position(), &first.save()).expect("a good state");
    let entry = ActEntry { room: RoomNumber(1), ..change(1) };
    for state in [&mut first, &mut second] {
        apply(state, &entry, 1, &mut out);
        let other = state.view(&Place { plan: 1, path: "/1".into() }).expect("a room");
        assert_eq!(other.value, Some(6.into()), "the other room goes on");
        apply(state, &numbered("ann", 1, 1), 1, &mut out);
        assert_eq!(shown(&mut out).last().map(String::as_str), Some("to 1 error refused again"));
    }
    assert_eq!(first.save(), second.save());
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
                Delivery::Broadcast { event: Event::Users { count, .. }, .. } => {
                    for session in &present { held.insert(*session, *count); }
                }
                Delivery::Direct { session, event: Event::Users { count, .. }, .. } => {
                    held.insert(*session, *count);
                }
                Delivery::Broadcast { event: Event::State { value: new, .. }, .. } => value = new.clone(),
                Delivery::Direct { event: Event::State { value: told, .. }, .. } => prop_assert_eq!(told, &value),
                _ => {}
            }
        }
        for seat in state.sessions.values() {
            let count = state.sessions.len();
            prop_assert_eq!(held.get(&seat.address), Some(&count), "{:?}", seat.address);
        }
    }

    /// However often and wherever a snapshot is taken: what is read again from there is the same
    /// state, and goes on in the same way.
    #[test]
    fn a_journal_read_again_from_any_snapshot_gives_the_same_state(
        entries in entries(),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut first = state(&["counter", "counter"]);
        let (start, cut) = (first.position(), cut.index(entries.len() + 1));
        let mut saved = None;
        let records: Vec<_> = entries.iter().map(Entry::to_bytes).collect();
        for (index, record) in records.iter().enumerate() {
            if index == cut {
                saved = Some((first.position(), first.save()));
            }
            first.replay(start + 1 + index as u64, record).unwrap();
        }
        let (position, snapshot) = saved.unwrap_or_else(|| (first.position(), first.save()));
        let mut second = empty(&["counter", "counter"]);
        second.restore(position, &snapshot).unwrap();
        for (index, record) in records.iter().enumerate().skip(cut) {
            second.replay(start + 1 + index as u64, record).unwrap();
        }
        prop_assert_eq!(first.save(), second.save());
        prop_assert_eq!(first.position(), second.position());
    }

    /// Whatever numbers clients send, in whatever order and however often: each is applied once at
    /// most, and what each is told agrees with what happened.
    #[test]
    fn every_number_counts_once(
        sent in prop::collection::vec((0u8..3, 1u64..12, 1i64..5), 0..200),
    ) {
        let mut state = state(&["counter"]);
        let mut acked = std::collections::HashMap::new();
        for (client, id, by) in sent {
            let mut out = Vec::new();
            apply(&mut state, &numbered(&client.to_string(), id, by), 1, &mut out);
            for delivery in out {
                if let Delivery::Direct { event: Event::Ack { is_duplicate, .. }, .. } = delivery {
                    prop_assert_eq!(acked.contains_key(&(client, id)), is_duplicate);
                    acked.entry((client, id)).or_insert(by);
                }
            }
        }
        let counter = state.view(&Place { plan: 0, path: "/0".into() }).and_then(|view| view.value);
        prop_assert_eq!(counter, Some(acked.values().sum::<i64>().into()));
    }
}

/// A history of two counters and some clients, with limits that change and times that pass.
fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let act = (0u32..2, prop::option::of((0u8..6, 1u64..6)), any::<bool>(), -3i64..=3).prop_map(
        |(room, author, is_refused, by)| {
            let author = author.map(|(client, id)| Author { client: key(&client.to_string()), id });
            let deed = if is_refused { Deed::Refuse } else { change(by).deed };
            Entry::Act(ActEntry { at: UnixMicros(0), room: RoomNumber(room), author, deed })
        },
    );
    let limits = (1i64..400, 1u32..6).prop_map(|(ttl_micros, max_clients)| Entry::Limits {
        at: UnixMicros(0),
        limits: DedupLimits { ttl_micros, max_clients },
    });
    let entry = (prop_oneof![9 => act, 1 => limits], 0i64..50);
    prop::collection::vec(entry, 0..120).prop_map(|entries| {
        let mut now = 0;
        let set_time = |(mut entry, passed): (Entry, i64)| {
            now += passed;
            match &mut entry {
                Entry::Act(act) => act.at = UnixMicros(now),
                Entry::Limits { at, .. } | Entry::Open { at, .. } => *at = UnixMicros(now),
            }
            entry
        };
        entries.into_iter().map(set_time).collect()
    })
}
