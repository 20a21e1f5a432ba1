use super::*;
use crate::{
    protocol::{Dialect, json},
    room::kind,
};
use proptest::prelude::*;
use serde_json::json;
use std::sync::Arc;

fn document(arguments: Value) -> Arc<dyn RoomKind> {
    kind("document", arguments.as_object().expect("a table")).expect("good arguments")
}

/// A room that is `value`.
fn open(value: Value) -> Box<dyn Room> {
    document(json!({ "initial": value })).open()
}

fn read(kind: &dyn RoomKind, action: &Value) -> Result<Message, ActionError> {
    let message = Message::Text(action.to_string().into());
    kind.decode(Input::Action(json::object(&message)?, Dialect::V1))
}

/// Sends an action of somebody who is in the room, from the wire to its effects.
fn send_to(
    kind: &dyn RoomKind,
    room: &mut dyn Room,
    action: Value,
) -> Result<Vec<Effect>, ActionError> {
    match room.admit(read(kind, &action)?, SessionId(1), UnixMicros(0))? {
        Admitted::Ordered(action) => room.apply(&action, Some(SessionId(1)), Moment::default()),
        Admitted::Done(effects) => panic!("a document has nothing but its state: {effects:?}"),
    }
}

fn send(room: &mut dyn Room, action: Value) -> Result<Vec<Effect>, ActionError> {
    send_to(&*document(json!({})), room, action)
}

fn patch(ops: Value) -> Value {
    json!({"action": "patch", "ops": ops})
}

fn change(ops: Value) -> Vec<Effect> {
    let fields = [("ops".to_owned(), ops)].into_iter().collect();
    vec![Effect::Change(RoomEvent { name: "patch", fields })]
}

fn state(room: &dyn Room) -> Value {
    room.state().expect("a document has a state")
}

/// What the operations that everyone is told make of `value`, by another implementation.
fn follow(value: &mut Value, effects: &[Effect]) {
    let [Effect::Change(event)] = effects else {
        assert!(effects.is_empty(), "{effects:?}");
        return;
    };
    let ops = serde_json::from_value(event.fields["ops"].clone()).expect("a JSON Patch");
    let ops: json_patch::Patch = ops;
    json_patch::patch_unsafe(value, &ops).expect("it fits");
}

#[test]
fn the_document_is_set_merged_and_patched_and_everyone_is_told_the_operations() {
    let mut room = open(json!({}));
    for (action, effects, value) in [
        (
            json!({"action": "set", "value": {"a": [1]}}),
            change(json!([{"op": "replace", "path": "", "value": {"a": [1]}}])),
            json!({"a": [1]}),
        ),
        (
            json!({"action": "merge", "patch": {"b": {"c": 2, "d": null}, "x": null}}),
            change(json!([{"op": "add", "path": "/b", "value": {"c": 2}}])),
            json!({"a": [1], "b": {"c": 2}}),
        ),
        (
            patch(json!([
                {"op": "test", "path": "/b/c", "value": 2},
                {"op": "add", "path": "/a/-", "value": 3},
                {"op": "copy", "from": "/a", "path": "/e"},
                {"op": "move", "from": "/b", "path": "/a~1b"},
            ])),
            change(json!([
                {"op": "add", "path": "/a/-", "value": 3},
                {"op": "copy", "from": "/a", "path": "/e"},
                {"op": "move", "from": "/b", "path": "/a~1b"},
            ])),
            json!({"a": [1, 3], "e": [1, 3], "a/b": {"c": 2}}),
        ),
        (
            json!({"action": "merge", "patch": {"a": null, "e": [], "a/b": {"c": 3}}}),
            change(json!([
                {"op": "remove", "path": "/a"},
                {"op": "replace", "path": "/a~1b/c", "value": 3},
                {"op": "replace", "path": "/e", "value": []},
            ])),
            json!({"e": [], "a/b": {"c": 3}}),
        ),
        (
            json!({"action": "set", "value": null}),
            change(json!([{"op": "replace", "path": "", "value": null}])),
            json!(null),
        ),
    ] {
        assert_eq!(send(&mut *room, action.clone()), Ok(effects), "{action}");
        assert_eq!(state(&*room), value, "after {action}");
    }
}

#[test]
fn what_changes_nothing_is_no_change() {
    let value = json!({"a": 1, "b": {"c": [1, 2]}});
    let mut room = open(value.clone());
    for action in [
        json!({"action": "set", "value": value}),
        json!({"action": "merge", "patch": {}}),
        json!({"action": "merge", "patch": {"a": 1, "b": {}, "x": null}}),
        patch(json!([])),
        patch(json!([{"op": "test", "path": "/b/c/1", "value": 2.0}])),
        patch(json!([{"op": "replace", "path": "/a", "value": 1}])),
        patch(json!([{"op": "add", "path": "/b/c", "value": [1, 2]}])),
        patch(json!([{"op": "move", "from": "/b", "path": "/b"}])),
        patch(json!([{"op": "copy", "from": "/b", "path": "/b"}])),
    ] {
        assert_eq!(send(&mut *room, action.clone()), Ok(vec![]), "{action}");
        assert_eq!(state(&*room), value, "after {action}");
    }
}

#[test]
fn a_patch_that_fails_says_where_and_changes_nothing() {
    let value = json!({"a": 1, "list": [1, {"y": 1}, {"x": 5}], "b": {}});
    for (ops, code, part) in [
        (json!([{"op": "test", "path": "/a", "value": 2}]), ErrorCode::TestFailed, "operation 1"),
        (json!([{"op": "test", "path": "/c", "value": 2}]), ErrorCode::TestFailed, "\"/c\""),
        (json!([{"op": "remove", "path": "/c"}]), ErrorCode::PatchFailed, "\"/c\" does not"),
        (json!([{"op": "remove", "path": ""}]), ErrorCode::PatchFailed, "replace it"),
        (json!([{"op": "remove", "path": "/list/-"}]), ErrorCode::PatchFailed, "does not exist"),
        (json!([{"op": "replace", "path": "/c", "value": 1}]), ErrorCode::PatchFailed, "\"/c\""),
        (json!([{"op": "replace", "path": "/list/3", "value": 1}]), ErrorCode::PatchFailed, "3"),
        (json!([{"op": "add", "path": "/c/d", "value": 1}]), ErrorCode::PatchFailed, "hold it"),
        (json!([{"op": "add", "path": "/a/d", "value": 1}]), ErrorCode::PatchFailed, "hold it"),
        (json!([{"op": "add", "path": "/list/4", "value": 1}]), ErrorCode::PatchFailed, "array"),
        (json!([{"op": "add", "path": "/list/x", "value": 1}]), ErrorCode::PatchFailed, "array"),
        (json!([{"op": "copy", "from": "/c", "path": "/d"}]), ErrorCode::PatchFailed, "\"/c\""),
        (
            json!([{"op": "move", "from": "/list", "path": "/list/0"}]),
            ErrorCode::PatchFailed,
            "itself",
        ),
        (json!([{"op": "move", "from": "/a", "path": "/c/d"}]), ErrorCode::PatchFailed, "\"/c/d\""),
        (
            json!([
                {"op": "move", "from": "/list/0", "path": "/list/1/x"},
                {"op": "copy", "from": "/list", "path": "/b/list"},
                {"op": "move", "from": "/b", "path": "/list/-"},
                {"op": "remove", "path": "/list/0"},
                {"op": "replace", "path": "", "value": 7},
                {"op": "test", "path": "", "value": 8},
            ]),
            ErrorCode::TestFailed,
            "operation 6: \"\" has another value",
        ),
    ] {
        let mut room = open(value.clone());
        let first = json!({"op": "add", "path": "/new", "value": 1});
        let ops: Vec<_> = [first].into_iter().chain(ops.as_array().cloned().unwrap()).collect();
        let error = send(&mut *room, patch(ops.into())).expect_err("must fail");
        assert_eq!(error.code, code, "{error}");
        assert!(error.message.contains(part), "{error}");
        assert_eq!(state(&*room), value, "after {error}");
    }
}

#[test]
fn bad_actions_are_named() {
    let op = |op: Value| patch(json!([{"op": "test", "path": "", "value": {}}, op]));
    let many = vec![json!({"op": "test", "path": "", "value": {}}); 1_001];
    let deep = (0..65).fold(json!(1), |value, _| json!([value]));
    for (action, code, part) in [
        (json!({}), ErrorCode::BadField, "missing"),
        (json!({"action": "clear"}), ErrorCode::UnknownAction, "set, merge and patch"),
        (json!({"action": "set"}), ErrorCode::BadField, "\"value\" is missing"),
        (json!({"action": "merge"}), ErrorCode::BadField, "\"patch\" is missing"),
        (json!({"action": "patch"}), ErrorCode::BadField, "\"ops\" is missing"),
        (patch(json!({})), ErrorCode::BadField, "array"),
        (patch(json!(many)), ErrorCode::TooLarge, "1000 operations"),
        (op(json!(1)), ErrorCode::BadField, "operation 1"),
        (op(json!({"path": ""})), ErrorCode::BadField, "`op`"),
        (op(json!({"op": "spam", "path": ""})), ErrorCode::BadField, "`spam`"),
        (op(json!({"op": "spam".repeat(9_999), "path": ""})), ErrorCode::BadField, "`spam"),
        (op(json!({"op": "add", "path": "/a"})), ErrorCode::BadField, "`value`"),
        (op(json!({"op": "add", "value": 1})), ErrorCode::BadField, "`path`"),
        (op(json!({"op": "move", "path": "/a"})), ErrorCode::BadField, "`from`"),
        (op(json!({"op": "remove", "path": 1})), ErrorCode::BadField, "string"),
        (op(json!({"op": "remove", "path": "a"})), ErrorCode::BadField, "begins with"),
        (op(json!({"op": "add", "path": "/a", "value": deep})), ErrorCode::TooLarge, "65 deep"),
        (json!({"action": "set", "value": deep}), ErrorCode::TooLarge, "may be 64"),
        (json!({"action": "merge", "patch": deep}), ErrorCode::TooLarge, "65 deep"),
    ] {
        let error = read(&*document(json!({})), &action).expect_err("must be refused");
        assert_eq!(error.code, code, "{error}");
        assert!(error.message.contains(part) && error.message.len() < 300, "{error}");
    }
}

#[test]
fn a_document_stays_within_its_bytes_and_its_depth() {
    let kind = document(json!({"max_bytes": "20B", "max_depth": 2, "initial": {"a": "0123"}}));
    for (action, part) in [
        (json!({"action": "set", "value": "0123456789012345678"}), "has 21 bytes"),
        (json!({"action": "set", "value": [[[]]]}), "3 deep"),
        (json!({"action": "merge", "patch": {"b": 12345}}), "more than 20 bytes"),
        (json!({"action": "merge", "patch": {"b": [[]]}}), "3 deep"),
        (patch(json!([{"op": "add", "path": "/b", "value": "012"}])), "more than 20 bytes"),
        (patch(json!([{"op": "add", "path": "/b", "value": [[]]}])), "more than 2 deep"),
        (patch(json!([{"op": "replace", "path": "/a", "value": "01234567890123"}])), "20 bytes"),
        (patch(json!([{"op": "copy", "from": "/a", "path": "/b"}])), "more than 20 bytes"),
    ] {
        let mut room = kind.open();
        let error = send_to(&*kind, &mut *room, action.clone()).expect_err("too large");
        assert_eq!(error.code, ErrorCode::TooLarge, "{action}");
        assert!(error.message.contains(part), "{action}: {error}");
        assert_eq!(state(&*room), json!({"a": "0123"}), "after {action}");
    }
    let mut room = kind.open();
    let action = json!({"action": "merge", "patch": {"b": 123}});
    assert!(send_to(&*kind, &mut *room, action).is_ok(), "20 bytes exactly");
}

#[test]
fn a_document_that_was_larger_once_may_shrink_and_not_grow() {
    let mut room = open(json!({"a": "0123456789", "b": "0123456789"}));
    send(&mut *room, json!({"action": "merge", "patch": {"c": 1}})).expect("within the limits");
    let small = document(json!({"max_bytes": "5B"}));
    let patch = json!({"action": "merge", "patch": {"d": 1}});
    let error = send_to(&*small, &mut *room, patch).expect_err("it would grow");
    assert_eq!(error.code, ErrorCode::TooLarge);
    let patch = patch_of_removal("/a");
    assert!(send_to(&*small, &mut *room, patch).is_ok(), "it shrinks");
    assert_eq!(state(&*room), json!({"b": "0123456789", "c": 1}));
}

fn patch_of_removal(path: &str) -> Value {
    patch(json!([{"op": "remove", "path": path}]))
}

#[test]
fn no_patch_makes_the_document_explode_or_the_server_labour() {
    let copies = |from: &str, path: &str| {
        patch(vec![json!({"op": "copy", "from": from, "path": path}); 1_000].into())
    };
    let text = "x".repeat(500_000);
    let items = vec![0; 500_000];
    let shift = json!({"op": "move", "from": "/0", "path": "/499999"});
    for (initial, action, part) in [
        (json!({"a": [1]}), copies("", "/a/-"), "bytes"),
        (json!({"a": [1]}), copies("/a", "/a/0"), "bytes"),
        (json!({"a": text, "b": 0}), copies("/a", "/b"), "too much work"),
        (json!(items), patch(vec![shift; 1_000].into()), "too much work"),
    ] {
        let mut room = open(initial.clone());
        let error = send(&mut *room, action).expect_err("it is too much");
        assert_eq!(error.code, ErrorCode::TooLarge, "{error}");
        assert!(error.message.contains(part), "{error}");
        assert!(state(&*room) == initial, "it is as it was after {error}");
    }
}

#[test]
fn a_merge_of_much_below_long_keys_is_told_in_one_operation() {
    let key = "k".repeat(30_000);
    let many: Map<String, Value> = (0..1_000).map(|n| (n.to_string(), n.into())).collect();
    let before = json!({ "other": 1, &key: {} });
    let mut room = open(before.clone());
    let effects = send(&mut *room, json!({"action": "merge", "patch": { &key: many }}));
    let effects = effects.expect("within the limits");
    assert_eq!(effects, change(json!([{"op": "replace", "path": "", "value": state(&*room)}])));
    assert_eq!(state(&*room), json!({ "other": 1, &key: many }));
}

#[test]
fn numbers_are_kept_exactly_up_to_64_bits_and_as_floats_beyond() {
    let mut room = open(json!({}));
    let text = "[9223372036854775807,-9223372036854775808,18446744073709551615,0.1,1e300,1.0]";
    let set = |value: &str| Message::Text(format!(r#"{{"action":"set","value":{value}}}"#).into());
    let read =
        |message| document(json!({})).decode(Input::Action(json::object(&message)?, Dialect::V1));
    let action = read(set(text)).expect("numbers");
    room.apply(&action, None, Moment::default()).expect("it fits");
    assert_eq!(state(&*room).to_string(), text.replace("1e300", "1e+300"));
    let action = read(set("18446744073709551616")).expect("a number");
    room.apply(&action, None, Moment::default()).expect("it fits");
    assert_eq!(state(&*room), json!(18_446_744_073_709_551_616.0), "a float");
    let error = read(set("1e999")).expect_err("no float");
    assert_eq!(error.code, ErrorCode::BadJson);
}

/// The kinds before and after somebody changed the configuration.
#[test]
fn a_replay_does_not_depend_on_what_the_configuration_says_now() {
    let then = document(json!({"initial": {"n": [1]}, "max_depth": 5}));
    let now = document(json!({"initial": null, "max_bytes": "4B", "max_depth": 1}));
    let mut room = then.open();
    let mut journal = Vec::new();
    // Both come before either is applied.
    for ops in [
        json!({"op": "add", "path": "/n/-", "value": [[2]]}),
        json!({"op": "add", "path": "/n/-", "value": 3}),
    ] {
        let action = read(&*then, &patch(json!([ops]))).expect("an operation");
        match room.admit(action, SessionId(1), UnixMicros(0)) {
            Ok(Admitted::Ordered(action)) => journal.push(action),
            other => panic!("{other:?}"),
        }
    }
    let mut again = now.open();
    for action in &journal {
        let effects = room.apply(action, Some(SessionId(1)), Moment::default());
        assert_eq!(again.apply(action, None, Moment::default()), effects);
    }
    assert_eq!(state(&*again), json!({"n": [1, [[2]], 3]}));
    let restored = now.restore(&room.save()).expect("a saved document");
    assert_eq!(state(&*restored), state(&*room));
    let untouched = now.restore(&then.open().save()).expect("a saved document");
    assert_eq!(state(&*untouched), json!(null), "nothing was done: the configuration counts");
}

#[test]
fn what_journals_and_snapshots_hold_stays_readable() {
    let texts = [
        r#"{"deed":{"Set":null},"limits":{"max_bytes":1048576,"max_depth":64},"initial":[{}]}"#,
        r#"{"deed":{"Merge":{"a":1}},"limits":{"max_bytes":1048576,"max_depth":64}}"#,
        r#"{"deed":{"Patch":[{"op":"copy","from":"/a","path":"/b~1c"}]},"limits":{"max_bytes":1048576,"max_depth":64}}"#,
    ];
    let mut room = open(json!({}));
    for text in texts {
        let action = Message::Text(text.into());
        room.apply(&action, None, Moment::default()).expect(text);
        assert_eq!(encode(&decode(&action).expect(text)), action, "and are written so");
    }
    let saved = br#"{"V1":{"document":[{"a":1,"b/c":1}]}}"#;
    assert_eq!(room.save(), saved, "snapshots hold rooms: they must stay as they are");
    let restored = document(json!({})).restore(saved).expect("a saved document");
    assert_eq!(state(&*restored), state(&*room));
    for saved in ["", "{}", "1", r#"{"V1":{}}"#, r#"{"V2":{"document":[1]}}"#] {
        let restored = document(json!({})).restore(saved.as_bytes());
        assert!(restored.is_none_or(|room| room.state() == Some(json!({}))), "{saved:?}");
    }
}

#[test]
fn bad_arguments_are_named() {
    for (arguments, key, part) in [
        (json!({"log": 1}), "log", "max_bytes, max_depth and initial"),
        (json!({"max_bytes": 100}), "max_bytes", "64KiB"),
        (json!({"max_bytes": "1GiB"}), "max_bytes", "64.0 MiB"),
        (json!({"max_depth": 0}), "max_depth", "from 1 to 100"),
        (json!({"max_depth": 101}), "max_depth", "from 1 to 100"),
        (json!({"max_depth": 1, "initial": [[]]}), "initial", "2 deep"),
        (json!({"max_bytes": "2B", "initial": [1]}), "initial", "3 bytes"),
    ] {
        let error = Document::from_arguments(arguments.as_object().expect("a table"));
        let error = error.expect_err("must be refused");
        assert_eq!(error.key, key);
        assert!(error.message.contains(part), "{error:?}");
    }
}

#[test]
fn the_examples_of_rfc_7396_appendix_a_give_what_it_says() {
    for (value, patch, result) in [
        (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
        (json!({"a": "b"}), json!({"a": null}), json!({})),
        (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
        (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
        (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
        (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
        (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
        (json!({"a": "b"}), json!(["c"]), json!(["c"])),
        (json!({"a": "foo"}), json!(null), json!(null)),
        (json!({"a": "foo"}), json!("bar"), json!("bar")),
        (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
        (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
        (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
    ] {
        let mut room = open(value.clone());
        let effects = send(&mut *room, json!({"action": "merge", "patch": patch}));
        assert_eq!(state(&*room), result, "{value} and {patch}");
        let mut followed = value;
        follow(&mut followed, &effects.expect("never refused"));
        assert_eq!(followed, result, "what everyone is told of {patch}");
    }
}

/// A record of the test suite of json-patch.
#[derive(Deserialize)]
struct Record {
    #[serde(default)]
    comment: String,
    doc: Option<Value>,
    patch: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    expected: Option<Value>,
    error: Option<String>,
    #[serde(default)]
    disabled: bool,
}

/// `null` is a value.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

#[test]
fn the_test_suite_of_json_patch_and_the_examples_of_rfc_6902_pass() {
    let mut count = 0;
    for file in [
        include_str!("../../../tests/golden/json-patch/tests.json"),
        include_str!("../../../tests/golden/json-patch/spec_tests.json"),
    ] {
        let records: Vec<Record> = serde_json::from_str(file).expect("records");
        for record in records.into_iter().filter(|record| !record.disabled) {
            let (Some(value), Some(ops)) = (record.doc, record.patch) else { continue };
            let mut room = open(value.clone());
            let result = send(&mut *room, patch(ops.clone()));
            let about = format!("{}: {value} and {ops}: {result:?}", record.comment);
            count += 1;
            match (result, record.error) {
                (Ok(effects), None) => {
                    let expected = record.expected.unwrap_or(value.clone());
                    assert_eq!(state(&*room), expected, "{about}");
                    let mut followed = value;
                    follow(&mut followed, &effects);
                    assert_eq!(followed, expected, "what everyone is told: {about}");
                }
                (Err(_), Some(_)) => assert_eq!(state(&*room), value, "{about}"),
                (_, error) => panic!("{about}; the suite says {error:?}"),
            }
        }
    }
    assert!(count > 85, "only {count} records were found");
}

const KEYS: [&str; 6] = ["a", "b", "0", "1", "", "~/"];

/// Any small JSON value, without floats: other implementations tell 1 from 1.0.
pub(super) fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-2..3_i64).prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a\"\\\\\n\u{1}é🦀]{0,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let member = (prop::sample::select(KEYS.to_vec()), inner.clone());
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Value::from),
            prop::collection::vec(member, 0..4).prop_map(|members| {
                members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
            }),
        ]
    })
}

fn path() -> impl Strategy<Value = String> {
    let step = prop::sample::select(vec!["a", "b", "0", "1", "2", "-", "", "~0~1", "01"]);
    prop::collection::vec(step, 0..4)
        .prop_map(|steps| steps.iter().map(|step| format!("/{step}")).collect())
}

fn op() -> impl Strategy<Value = Value> {
    let name =
        prop::sample::select(vec!["add", "add", "replace", "remove", "move", "copy", "test"]);
    (name, path(), path(), json_value()).prop_map(
        |(name, path, from, value)| json!({"op": name, "path": path, "from": from, "value": value}),
    )
}

fn any_action() -> impl Strategy<Value = Value> {
    prop_oneof![
        json_value().prop_map(|value| json!({"action": "set", "value": value})),
        json_value().prop_map(|value| json!({"action": "merge", "patch": value})),
        prop::collection::vec(op(), 0..2).prop_map(|ops| patch(ops.into())),
        prop::collection::vec(op(), 0..6).prop_map(|ops| patch(ops.into())),
    ]
}

/// What another implementation makes of it. It does not take back what a patch had done that fails.
fn others(value: &Value, action: &Value) -> Result<Value, json_patch::PatchError> {
    let mut value = value.clone();
    match action["action"].as_str() {
        Some("set") => value = action["value"].clone(),
        Some("merge") => json_patch::merge(&mut value, &action["patch"]),
        _ => {
            let ops = serde_json::from_value(action["ops"].clone()).expect("a JSON Patch");
            let ops: json_patch::Patch = ops;
            json_patch::patch_unsafe(&mut value, &ops)?;
        }
    }
    Ok(value)
}

/// To move the whole document to itself changes nothing here; others refuse it.
fn moves_root_to_root(action: &Value) -> bool {
    let is_it = |op: &Value| op["op"] == "move" && op["path"] == "" && op["from"] == "";
    action["ops"].as_array().is_some_and(|ops| ops.iter().any(is_it))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_action_does_what_the_rfcs_say_or_nothing(
        value in json_value(),
        action in any_action(),
        max_bytes in prop::sample::select(vec![20, 60, 10_000_usize]),
    ) {
        prop_assume!(!moves_root_to_root(&action));
        let mut room = DocumentRoom { bytes: measure(&value).bytes, value: value.clone(), is_untouched: false };
        let kind = document(json!({"max_bytes": format!("{max_bytes}B"), "max_depth": 5}));
        let result = send_to(&*kind, &mut room, action.clone());
        match (result, others(&value, &action)) {
            (Ok(effects), Ok(expected)) => {
                prop_assert_eq!(&room.value, &expected);
                let mut followed = value.clone();
                follow(&mut followed, &effects);
                prop_assert_eq!(followed, expected, "what everyone is told");
                prop_assert!(room.bytes <= max_bytes.max(measure(&value).bytes));
            }
            (Err(error), expected) => {
                prop_assert!(error.code == ErrorCode::TooLarge || expected.is_err(), "{}", error);
                prop_assert_eq!(&room.value, &value, "as it was");
            }
            (Ok(_), Err(error)) => prop_assert!(false, "the other implementation says {}", error),
        }
        prop_assert_eq!(room.bytes, room.value.to_string().len(), "the size is always known");
    }

    #[test]
    fn a_document_read_again_from_any_point_is_the_one_that_was_lived(
        actions in prop::collection::vec(any_action(), 0..12),
        floats in prop::collection::vec(any::<f64>(), 3),
    ) {
        let (then, now) = (document(json!({"max_bytes": "500B"})), document(json!({})));
        let floats = json!({"action": "merge", "patch": {"floats": floats}});
        let mut room = then.open();
        let mut journal = Vec::new();
        let mut saved = vec![room.save()];
        for action in [floats].iter().chain(&actions) {
            let Ok(action) = read(&*then, action) else { continue };
            let Ok(Admitted::Ordered(action)) = room.admit(action, SessionId(1), UnixMicros(0)) else {
                panic!("a document admits all")
            };
            let effects = room.apply(&action, Some(SessionId(1)), Moment::default());
            journal.push((action, effects));
            saved.push(room.save());
        }
        for (start, bytes) in saved.iter().enumerate() {
            let mut again = now.restore(bytes).expect("a saved document");
            for (action, effects) in &journal[start..] {
                prop_assert_eq!(&again.apply(action, None, Moment::default()), effects);
            }
            prop_assert_eq!(again.save(), room.save());
            prop_assert_eq!(again.state(), room.state());
        }
    }

    #[test]
    fn no_bytes_make_a_document_panic(text in ".{0,60}", value in json_value()) {
        let mut room = open(value);
        for text in [text.clone(), format!(r#"{{"deed":{{"Patch":[{text}]}},"limits":{{"max_bytes":9,"max_depth":1}}}}"#)] {
            let action = Message::Text(text.into());
            let _ = room.admit(action.clone(), SessionId(1), UnixMicros(0));
            let _ = room.apply(&action, None, Moment::default());
            let _ = document(json!({})).restore(action.as_bytes());
        }
    }
}
