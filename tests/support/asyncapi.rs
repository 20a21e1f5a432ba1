//! `docs/asyncapi.yaml`, to hold messages against it.

#![allow(dead_code, reason = "each test file uses its part of this module")]

use boon::{Compiler, Draft, SchemaIndex, Schemas};
use serde_json::Value;
use std::{collections::BTreeMap, path::PathBuf};

/// The name of the document among the schemas. Nothing is ever fetched from there.
const ADDRESS: &str = "http://statesync.invalid/asyncapi";

/// The document, with a schema for each message of each channel.
pub struct Document {
    pub root: Value,
    schemas: Schemas,
    /// By channel and by what stands in the message's `type` or `action`.
    messages: BTreeMap<(String, String), Described>,
}

struct Described {
    schema: SchemaIndex,
    payload: Value,
}

impl Document {
    /// Reads the document and makes its schemas ready.
    pub fn read() -> Self {
        let root = read_yaml("docs/asyncapi.yaml");
        let mut compiler = compiler();
        compiler.add_resource(ADDRESS, root.clone()).expect("the document has an address");
        let mut schemas = Schemas::new();
        let mut messages = BTreeMap::new();
        for (channel, name, reference) in references(&root) {
            let place = format!("{ADDRESS}{reference}/payload");
            let schema = compiler.compile(&place, &mut schemas);
            let schema = schema.unwrap_or_else(|error| panic!("the schema at {place}: {error:#}"));
            let payload = at(&root, &reference)["payload"].clone();
            messages.insert((channel, name), Described { schema, payload });
        }
        Self { root, schemas, messages }
    }

    /// What is wrong with a message in this channel: with one that the document does not describe,
    /// and with one that has a key of which it says nothing, too.
    pub fn fault(&self, channel: &str, message: &Value) -> Option<String> {
        let text = |key| message.get(key).and_then(Value::as_str);
        // An action is called by that name, or, where an event has it as well, "messageAction".
        let names = match (text("type"), text("action")) {
            (Some(event), _) => vec![event.to_owned()],
            (None, Some(action)) => vec![format!("{action}Action"), action.to_owned()],
            (None, None) => return Some("it has neither a type nor an action".into()),
        };
        let described =
            names.iter().find_map(|name| self.messages.get(&(channel.to_owned(), name.clone())));
        let Some(described) = described else {
            return Some(format!("the channel {channel:?} has no message {names:?}"));
        };
        if let Err(error) = self.schemas.validate(message, described.schema) {
            return Some(format!("{error:#}"));
        }
        let known = &described.payload["properties"];
        let unknown = message.as_object()?.keys().find(|key| known.get(key.as_str()).is_none())?;
        Some(format!("the document says nothing of the key {unknown:?}"))
    }

    /// Fails if the document does not allow this message in this channel.
    #[track_caller]
    pub fn check(&self, channel: &str, message: &Value) {
        if let Some(fault) = self.fault(channel, message) {
            panic!("docs/asyncapi.yaml does not allow {message} in the channel {channel}: {fault}");
        }
    }

    /// The value at a JSON pointer such as `#/components/messages/state`.
    pub fn at(&self, pointer: &str) -> &Value {
        at(&self.root, pointer)
    }
}

/// What is wrong with a JSON value under a schema that stands in a file of this repository.
pub fn fault_under(schema: &str, value: &Value) -> Option<String> {
    let text = std::fs::read_to_string(root().join(schema));
    let text = text.unwrap_or_else(|error| panic!("{schema}: {error}; run tests/setup clients"));
    let schema: Value = serde_json::from_str(&text).expect("a schema is JSON");
    let address = schema["$id"].as_str().expect("the schema says its address").to_owned();
    let mut compiler = compiler();
    compiler.add_resource(&address, schema).expect("the schema has an address");
    let mut schemas = Schemas::new();
    let index = compiler.compile(&address, &mut schemas).expect("a sound schema");
    schemas.validate(value, index).err().map(|error| format!("{error:#}"))
}

fn compiler() -> Compiler {
    let mut compiler = Compiler::new();
    // AsyncAPI's schemas are a superset of this draft.
    compiler.set_default_draft(Draft::V7);
    compiler
}

fn root() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

fn read_yaml(path: &str) -> Value {
    let text = std::fs::read_to_string(root().join(path)).expect("the document is there");
    yaml_serde::from_str(&text).unwrap_or_else(|error| panic!("{path} is no YAML: {error}"))
}

#[track_caller]
fn at<'a>(root: &'a Value, pointer: &str) -> &'a Value {
    let path = pointer.strip_prefix('#').expect("a pointer into this document");
    root.pointer(path).unwrap_or_else(|| panic!("nothing stands at {pointer}"))
}

/// For each message of each channel: the channel, the message's name, and where it is described.
fn references(root: &Value) -> Vec<(String, String, String)> {
    let channels = root["channels"].as_object().expect("the document has channels");
    let of_channel = |(channel, described): (&String, &Value)| {
        let messages = described["messages"].as_object().expect("a channel has messages").clone();
        let channel = channel.clone();
        messages.into_iter().map(move |(name, message)| {
            let reference = message["$ref"].as_str().expect("channels refer to messages");
            (channel.clone(), name, reference.to_owned())
        })
    };
    channels.iter().flat_map(of_channel).collect()
}
