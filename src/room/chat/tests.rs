use super::*;
use crate::{
    protocol::{Dialect, json},
    room::kind,
};
use proptest::prelude::*;
use serde_json::json;
use std::sync::Arc;

const ANN: SessionId = SessionId(1);
const BOB: SessionId = SessionId(2);
/// 2023-05-07T22:44:36.123456Z
const AT: UnixMicros = UnixMicros(1_683_499_476_123_456);
const TIME: &str = "2023-05-07T22:44:36.123456Z";

fn chat(arguments: Value) -> Arc<dyn RoomKind> {
    kind("chat", arguments.as_object().expect("a table")).expect("good arguments")
}

fn decode(action: &Value) -> Result<Message, ActionError> {
    let message = Message::Text(action.to_string().into());
    chat(json!({})).decode(Input::Action(json::object(&message)?, Dialect::V1))
}

/// Sends an action, which gets the position `seq` if it is one for the journal.
fn send(
    room: &mut dyn Room,
    from: SessionId,
    action: Value,
    seq: u64,
) -> Result<Vec<Effect>, ActionError> {
    match room.admit(decode(&action)?, from, AT)? {
        Admitted::Done(effects) => Ok(effects),
        Admitted::Ordered(action) => room.apply(&action, Some(from), Moment { seq, at: AT }),
    }
}

/// The event that everyone is told.
fn told(event: Value) -> Vec<Effect> {
    let Value::Object(mut fields) = event else { panic!("an object") };
    let name = match fields.remove("type") {
        Some(Value::String(name)) if name == "message" => "message",
        Some(Value::String(name)) if name == "joined" => "joined",
        _ => "left",
    };
    vec![broadcast(RoomEvent { name, fields })]
}

/// A room with Ann and Bob in it, of whom Ann is logged in.
fn with_ann(arguments: Value) -> Box<dyn Room> {
    let mut room = chat(arguments).open();
    room.joined(ANN, AT);
    room.joined(BOB, AT);
    send(&mut *room, ANN, json!({"action": "login", "name": "Ann"}), 0).expect("a free name");
    room
}

/// Texts and positions, as a newcomer is told.
fn history(room: &dyn Room, since: Option<u64>) -> (Vec<(u64, String)>, bool) {
    let History { events, is_incomplete } = room.history(since);
    let text = |(seq, event): (u64, RoomEvent)| {
        (seq, event.fields["text"].as_str().expect("a text").to_owned())
    };
    (events.into_iter().map(text).collect(), is_incomplete)
}

#[test]
fn people_log_in_talk_and_leave_and_everyone_is_told() {
    let mut room = with_ann(json!({}));
    let room = &mut *room;
    assert_eq!(room.names(), Some(vec!["Ann".to_owned()]));
    let joined = send(room, BOB, json!({"action": "login", "name": " Bob "}), 0);
    assert_eq!(joined, Ok(told(json!({"type": "joined", "name": "Bob", "time": TIME}))));
    assert_eq!(room.names(), Some(vec!["Ann".to_owned(), "Bob".to_owned()]));
    let message = send(room, BOB, json!({"action": "message", "text": " <b>你好</b>\n"}), 12);
    let event = json!({"type": "message", "from": "Bob", "text": " <b>你好</b>\n", "time": TIME});
    assert_eq!(message, Ok(told(event.clone())));
    let left = send(room, BOB, json!({"action": "logout"}), 0);
    assert_eq!(left, Ok(told(json!({"type": "left", "name": "Bob", "time": TIME}))));
    assert_eq!(send(room, BOB, json!({"action": "logout"}), 0), Ok(vec![]), "it is out already");
    let left = room.left(ANN, AT);
    assert_eq!(left, told(json!({"type": "left", "name": "Ann", "time": TIME})));
    assert_eq!(room.left(BOB, AT), [], "it had no name");
    assert_eq!(room.names(), Some(vec![]));
    let events = room.history(None).events;
    assert_eq!(events.len(), 1, "what was said stays");
    assert_eq!((events[0].0, vec![broadcast(events[0].1.clone())]), (12, told(event)));
}

#[test]
fn a_name_is_one_persons_while_they_are_logged_in() {
    let mut room = with_ann(json!({}));
    let room = &mut *room;
    let login = |name: &str| json!({"action": "login", "name": name});
    for name in ["Ann", " Ann", "A\u{200B}nn"] {
        let error = send(room, BOB, login(name), 0).expect_err("it is taken");
        assert_eq!(error.code, ErrorCode::NameTaken, "{name:?}");
    }
    assert_eq!(send(room, ANN, login("Ann"), 0), Ok(vec![]), "again changes nothing");
    let error = send(room, ANN, login("Eve"), 0).expect_err("one name at a time");
    assert_eq!(error.code, ErrorCode::BadField);
    assert!(error.message.contains("log out first"), "{error}");
    send(room, ANN, json!({"action": "logout"}), 0).expect("never refused");
    assert!(send(room, BOB, login("Ann"), 0).is_ok(), "it is free again");
    room.left(BOB, AT);
    assert!(send(room, ANN, login("Ann"), 0).is_ok(), "it is free again");
}

#[test]
fn who_has_no_name_cannot_speak_and_who_is_not_there_gets_none() {
    let mut room = with_ann(json!({}));
    let hello = json!({"action": "message", "text": "hi"});
    for (from, action) in [
        (BOB, hello.clone()),
        (SessionId(3), hello),
        (SessionId(3), json!({"action": "login", "name": "Eve"})),
    ] {
        let error = send(&mut *room, from, action.clone(), 1).expect_err("must be refused");
        assert_eq!(error.code, ErrorCode::NotLoggedIn, "{action}");
    }
    assert_eq!(room.names(), Some(vec!["Ann".to_owned()]));
    assert_eq!(room.left(SessionId(3), AT), [], "it was never there");
}

#[test]
fn bad_actions_are_named() {
    let long = "x".repeat(65);
    for (action, code, part) in [
        (json!({}), ErrorCode::BadField, "missing"),
        (json!({"action": 1}), ErrorCode::BadField, "string"),
        (json!({"action": "shout"}), ErrorCode::UnknownAction, "login, message and logout"),
        (json!({"action": "login"}), ErrorCode::BadField, "\"name\" is missing"),
        (json!({"action": "login", "name": 1}), ErrorCode::BadField, "\"name\" must be a string"),
        (json!({"action": "login", "name": ""}), ErrorCode::BadField, "can be seen"),
        (json!({"action": "login", "name": long}), ErrorCode::BadField, "64"),
        (json!({"action": "message"}), ErrorCode::BadField, "\"text\" is missing"),
        (json!({"action": "message", "text": null}), ErrorCode::BadField, "must be a string"),
        (json!({"action": "message", "text": ""}), ErrorCode::BadField, "empty"),
    ] {
        let error = decode(&action).expect_err("must be refused");
        assert_eq!(error.code, code, "{action}: {error}");
        assert!(error.message.contains(part), "{action}: {error}");
    }
}

#[test]
fn newcomers_are_told_the_last_messages_and_whether_some_are_lost() {
    let mut room = with_ann(json!({"history": 2}));
    for (seq, text) in [(5, "a"), (7, "b"), (9, "c")] {
        send(&mut *room, ANN, json!({"action": "message", "text": text}), seq).expect("logged in");
    }
    let (b, c) = ((7, "b".to_owned()), (9, "c".to_owned()));
    for (since, expected) in [
        (None, (vec![b.clone(), c.clone()], false)),
        (Some(0), (vec![b.clone(), c.clone()], true)),
        (Some(4), (vec![b.clone(), c.clone()], true)),
        (Some(5), (vec![b, c.clone()], false)),
        (Some(8), (vec![c], false)),
        (Some(9), (vec![], false)),
        (Some(u64::MAX), (vec![], false)),
    ] {
        assert_eq!(history(&*room, since), expected, "since {since:?}");
    }
}

#[test]
fn a_message_that_is_larger_than_the_history_is_told_and_not_kept() {
    let mut room = with_ann(json!({"history_bytes": "10B"}));
    let say = |room: &mut dyn Room, text, seq| {
        send(room, ANN, json!({"action": "message", "text": text}), seq).expect("logged in").len()
    };
    assert_eq!(say(&mut *room, "1234567", 1), 1, "with the name ten bytes");
    assert_eq!(history(&*room, None).0.len(), 1);
    assert_eq!(say(&mut *room, "12345678", 2), 1);
    assert_eq!(history(&*room, Some(1)), (vec![], true));
}

#[test]
fn what_journals_and_snapshots_hold_stays_readable() {
    let action = Message::Binary(b"\x00\x03Ann\x02hi".as_slice().into());
    let expected = encode(&Deed::Say { from: "Ann".into(), text: "hi".into() });
    assert_eq!(action, expected, "journals hold actions: they must stay as they are");
    let mut room = chat(json!({})).open();
    room.apply(&action, None, Moment { seq: 12, at: UnixMicros(3) }).expect("an action");
    let saved = b"\x00\x00\x01\x0c\x06\x03Ann\x02hi";
    assert_eq!(room.save(), saved, "snapshots hold rooms: they must stay as they are");
    let restored = chat(json!({})).restore(saved).expect("a saved chat");
    assert_eq!(restored.history(None), room.history(None));
}

#[test]
fn bytes_that_no_chat_wrote_are_refused() {
    let kind = chat(json!({}));
    for bytes in [b"".as_slice(), b"{}", b"\x01", b"\x00\x03Ann", b"\x00\x03Ann\x02hi!"] {
        assert!(kind.restore(bytes).is_none(), "{bytes:?} is no saved chat");
        let action = Message::Binary(bytes.to_vec().into());
        assert!(kind.open().apply(&action, None, Moment::default()).is_err(), "{bytes:?}");
    }
}

#[test]
fn bad_arguments_are_named() {
    for (arguments, key, part) in [
        (json!({"log": 1}), "log", "history and history_bytes"),
        (json!({"history": -1}), "history", "from 0 to 10000"),
        (json!({"history": 10_001}), "history", "from 0 to 10000"),
        (json!({"history_bytes": 100}), "history_bytes", "64KiB"),
        (json!({"history_bytes": "1GiB"}), "history_bytes", "64.0 MiB"),
    ] {
        let error = Chat::from_arguments(arguments.as_object().expect("a table"));
        let error = error.expect_err("must be refused");
        assert_eq!(error.key, key);
        assert!(error.message.contains(part), "{error:?}");
    }
}

/// Something that happens in a chat of four sessions.
#[derive(Debug, Clone)]
enum Happening {
    Joins,
    Leaves,
    Sends(Value),
}

fn happening() -> impl Strategy<Value = (SessionId, Happening)> {
    let name = prop::sample::select(vec!["Ann", "Bob", "ann", "é", "e\u{301}", " "]);
    let what = prop_oneof![
        Just(Happening::Joins),
        Just(Happening::Leaves),
        name.prop_map(|name| Happening::Sends(json!({"action": "login", "name": name}))),
        Just(Happening::Sends(json!({"action": "logout"}))),
        ".{0,8}".prop_map(|text| Happening::Sends(json!({"action": "message", "text": text}))),
        ".{0,8}".prop_map(|text| Happening::Sends(json!({"action": "message", "text": text}))),
    ];
    ((0..4_u64).prop_map(SessionId), what)
}

proptest! {
    #[test]
    fn a_chat_read_again_from_any_point_is_the_one_that_was_lived(
        happenings in prop::collection::vec(happening(), 0..80),
        limit in 0..10_usize,
    ) {
        let kind = chat(json!({"history": limit, "history_bytes": "40B"}));
        let mut room = kind.open();
        let mut journal = Vec::new();
        let mut saved = vec![room.save()];
        for (at, (session, happening)) in happenings.iter().enumerate() {
            let when = Moment { seq: 1 + 2 * at as u64, at: UnixMicros(at as i64) };
            match happening {
                Happening::Joins => drop(room.joined(*session, when.at)),
                Happening::Leaves => drop(room.left(*session, when.at)),
                Happening::Sends(action) => {
                    let admitted = decode(action).and_then(|action| room.admit(action, *session, when.at));
                    if let Ok(Admitted::Ordered(action)) = admitted {
                        let effects = room.apply(&action, Some(*session), when);
                        journal.push((action, when, effects));
                        saved.push(room.save());
                    }
                }
            }
            let names = room.names().expect("a chat has names");
            let keys: HashSet<_> = names.iter().map(|name| name::key(name)).collect();
            prop_assert_eq!(keys.len(), names.len(), "no name twice");
        }
        for (start, bytes) in saved.iter().enumerate() {
            let mut again = kind.restore(bytes).expect("a saved chat");
            for (action, when, effects) in &journal[start..] {
                prop_assert_eq!(&again.apply(action, None, *when), effects);
            }
            prop_assert_eq!(again.save(), room.save());
            for since in [None, Some(0), Some(41), Some(u64::MAX)] {
                prop_assert_eq!(again.history(since), room.history(since));
            }
        }
    }

    #[test]
    fn no_bytes_make_a_chat_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let kind = chat(json!({}));
        let action = Message::Binary(bytes.clone().into());
        let mut room = kind.restore(&bytes).unwrap_or_else(|| kind.open());
        room.joined(ANN, AT);
        let _ = room.admit(action.clone(), ANN, AT);
        let _ = room.apply(&action, None, Moment::default());
        room.save();
    }
}
