//! What is written about the protocol is what is spoken: `docs/protocol.md`, `docs/asyncapi.yaml`
//! and `tests/golden`, each held against the others and against a real server.

#[path = "support/asyncapi.rs"]
mod asyncapi;
mod support;

use asyncapi::Document;
use serde_json::{Map, Value};
use statesync::{
    http::{Refusal, Unauthorized},
    protocol::{Dialect, Input, Message, action, close::ADVICE, json},
    room,
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    path::Path,
    time::Duration,
};
use support::{RawClient, TestServer};

const SPECIFICATION: &str = "tests/clients/node_modules/@asyncapi/specs/schemas/3.0.0.json";

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{text} is no JSON: {error}"))
}

fn strings(value: &Value) -> BTreeSet<String> {
    let values = value.as_array().expect("an array").iter();
    values.map(|value| value.as_str().expect("a string").to_owned()).collect()
}

// docs/asyncapi.yaml

#[test]
fn the_asyncapi_document_is_one() {
    let fault = asyncapi::fault_under(SPECIFICATION, &Document::read().root);
    assert!(fault.is_none(), "docs/asyncapi.yaml is no AsyncAPI 3.0 document: {}", fault.unwrap());
}

#[test]
fn every_reference_of_the_asyncapi_document_leads_somewhere() {
    fn follow(document: &Document, value: &Value) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| follow(document, item)),
            Value::Object(members) => {
                if let Some(Value::String(pointer)) = members.get("$ref") {
                    document.at(pointer);
                    let alone = members.len() == 1;
                    assert!(alone, "what stands beside the reference {pointer} is never read");
                }
                members.values().for_each(|value| follow(document, value));
            }
            _ => {}
        }
    }
    let document = Document::read();
    follow(&document, &document.root);
}

#[test]
fn every_message_has_an_example_and_every_example_fits() {
    let document = Document::read();
    for channel in ["classic", "v1"] {
        let messages = document.at(&format!("#/channels/{channel}/messages"));
        for message in messages.as_object().expect("the channel has messages").values() {
            let place = message["$ref"].as_str().expect("channels refer to messages");
            let examples = document.at(place)["examples"].as_array();
            let examples = examples.unwrap_or_else(|| panic!("{place} has no example"));
            examples.iter().for_each(|example| document.check(channel, &example["payload"]));
        }
    }
}

#[test]
fn each_message_of_a_channel_is_in_one_operation() {
    let document = Document::read();
    let mut operated = Vec::new();
    for operation in document.at("#/operations").as_object().expect("operations").values() {
        operated.extend(operation["messages"].as_array().expect("messages").iter().cloned());
    }
    let mut operated: Vec<_> = operated.iter().map(|m| m["$ref"].as_str().expect("$ref")).collect();
    operated.sort_unstable();
    let mut messages = Vec::new();
    for (channel, described) in document.at("#/channels").as_object().expect("channels") {
        let names = described["messages"].as_object().expect("messages").keys();
        messages.extend(names.map(|name| format!("#/channels/{channel}/messages/{name}")));
    }
    messages.sort_unstable();
    assert_eq!(operated, messages);
}

#[test]
fn both_channels_of_the_asyncapi_document_have_the_close_codes() {
    let document = Document::read();
    let expected = ADVICE.map(|advice| {
        serde_json::json!({
            "first": advice.first, "last": advice.last,
            "comeBack": advice.comes_back, "meaning": advice.meaning,
        })
    });
    for channel in ["classic", "v1"] {
        let codes = &document.at(&format!("#/channels/{channel}"))["x-close-codes"];
        assert_eq!(codes, &Value::from(expected.to_vec()), "channel {channel}");
    }
}

#[test]
fn the_asyncapi_document_has_the_codes_of_all_refused_requests() {
    let refusals = [
        Refusal::NoSuchRoom(String::new()),
        Refusal::NoSuchPage,
        Refusal::OriginForbidden(String::new()),
        Refusal::ServerFull,
        Refusal::AddressFull,
        Refusal::BadHandshake(""),
        Refusal::BadClient,
        Refusal::BadSince,
        Refusal::BadVersion,
        Refusal::UpgradeRequired,
        Refusal::MethodNotAllowed(""),
        Refusal::BadKey,
        Refusal::BodyTooLarge(1),
        Refusal::BodyTooSlow,
        Refusal::BadBody,
        Refusal::NotDurable,
        Refusal::Stopping,
        Refusal::Unauthorized(Unauthorized::NoToken),
        Refusal::DifferentTokens,
        Refusal::Forbidden,
        Refusal::TooFast(Duration::ZERO),
    ];
    let codes = refusals.iter().map(|refusal| refusal.code().to_owned()).collect();
    let document = Document::read();
    let place = "#/components/messages/refusal/payload/properties/code/enum";
    assert_eq!(strings(document.at(place)), codes);
}

// docs/protocol.md

/// The rows of the table under this header, each as its cells.
fn table(document: &str, header: &str) -> Vec<Vec<String>> {
    let start = document.find(header).unwrap_or_else(|| panic!("there is no table {header:?}"));
    let rows = document[start..].lines().skip(2).take_while(|line| line.starts_with('|'));
    let cells = |row: &str| row.trim_matches('|').split('|').map(|c| c.trim().to_owned()).collect();
    rows.map(cells).collect()
}

#[test]
fn both_documents_have_the_same_errors() {
    let document = Document::read();
    let mut retry_of = BTreeMap::new();
    for row in table(&read("docs/protocol.md"), "| code | what was wrong | retry |") {
        retry_of.insert(row[0].trim_matches('`').to_owned(), row[2] == "yes");
    }
    let all: BTreeSet<_> = retry_of.keys().cloned().collect();
    let v1 = "#/components/messages/error/payload";
    assert_eq!(strings(document.at(&format!("{v1}/properties/code/enum"))), all);
    let again = retry_of.into_iter().filter_map(|(code, retry)| retry.then_some(code)).collect();
    assert_eq!(strings(document.at(&format!("{v1}/if/properties/code/enum"))), again, "retry");
    let classic = "#/components/messages/classicError/payload/properties/code/enum";
    let unknown: Vec<_> = strings(document.at(classic)).difference(&all).cloned().collect();
    assert!(unknown.is_empty(), "classic has errors that protocol.md has not: {unknown:?}");
}

#[test]
fn the_examples_in_protocol_md_fit_the_asyncapi_document() {
    let document = Document::read();
    let (mut channel, mut is_fenced, mut count) = ("classic", false, 0);
    for line in read("docs/protocol.md").lines() {
        match line {
            "## Classic" => channel = "classic",
            "## statesync.v1" => channel = "v1",
            _ if line.starts_with("```") => is_fenced = !is_fenced,
            _ => {}
        }
        let codes = line.split('`').skip(1).step_by(2).filter(|_| !is_fenced);
        let is_message =
            |code: &&str| code.starts_with("{\"type\"") || code.starts_with("{\"action\"");
        for example in codes.filter(is_message) {
            document.check(channel, &parse(example));
            count += 1;
        }
    }
    assert!(count > 8, "only {count} examples were found");
}

// The transcripts of docs/protocol.md

/// One line of a transcript.
#[derive(Debug, PartialEq)]
enum Line<'a> {
    /// `Ann connects to PATH`, `Ann connects to PATH with statesync.v1`
    Connects { path: &'a str, dialect: Dialect },
    /// `Ann < JSON`: the next thing that she gets.
    Gets(&'a str),
    /// `Ann > JSON`
    Says(&'a str),
    /// `Ann is cut off`
    IsCutOff,
}

/// Who, and what.
fn understand(line: &str) -> Option<(&str, Line<'_>)> {
    let (who, rest) = line.split_once(' ')?;
    let what = if rest == "is cut off" {
        Line::IsCutOff
    } else if let Some(text) = rest.strip_prefix("< ") {
        Line::Gets(text)
    } else if let Some(text) = rest.strip_prefix("> ") {
        Line::Says(text)
    } else {
        let rest = rest.strip_prefix("connects to ")?;
        let (path, dialect) = match rest.strip_suffix(" with statesync.v1") {
            Some(path) => (path, Dialect::V1),
            None => (rest, Dialect::Classic),
        };
        let is_path = path.starts_with('/') && !path.contains(' ');
        is_path.then_some(Line::Connects { path, dialect })?
    };
    (!who.is_empty()).then_some((who, what))
}

/// The blocks in the document, each with the number of the line before its first.
fn transcripts(document: &str) -> Vec<(usize, Vec<&str>)> {
    let mut blocks: Vec<(usize, Vec<&str>)> = Vec::new();
    let mut is_in_block = false;
    for (index, line) in document.lines().enumerate() {
        match (is_in_block, line) {
            (false, "```transcript") => {
                is_in_block = true;
                blocks.push((index + 1, Vec::new()));
            }
            (true, "```") => is_in_block = false,
            (true, line) => blocks.last_mut().expect("it was pushed").1.push(line),
            (false, _) => {}
        }
    }
    assert!(!is_in_block, "a transcript does not end");
    blocks
}

/// A block that is being played on a server of its own.
struct Play<'a> {
    document: &'a Document,
    server: TestServer,
    clients: HashMap<&'a str, (RawClient, Dialect)>,
    /// How much higher positions are than in the document.
    offset: Option<i64>,
}

impl<'a> Play<'a> {
    fn new(document: &'a Document, lines: &[(&'a str, Line<'a>)]) -> Self {
        let names: BTreeSet<_> = lines.iter().map(|(who, _)| who).collect();
        // As many places as people: who was cut off gets in again when the server has seen it. On
        // one thread, so that it is then out of the room as well. One room: the document's positions
        // are those of a history without the notes of others.
        let toml = format!(
            "[limits]\nmax_connections = {}\n[server]\nworkers = 1\n\
             [[room]]\npath = \"/\"\nkind = \"counter\"",
            names.len().max(1)
        );
        let server = TestServer::start(&toml);
        Self { document, server, clients: HashMap::new(), offset: None }
    }

    fn carry_out(&mut self, who: &'a str, line: &Line<'a>) -> Result<(), String> {
        match line {
            Line::Connects { path, dialect } => {
                let lines = match dialect {
                    Dialect::Classic => "",
                    Dialect::V1 => "Sec-WebSocket-Protocol: statesync.v1\r\n",
                };
                let client = RawClient::ask_until_there_is_room(self.server.address, path, lines);
                self.clients.insert(who, (client, *dialect));
            }
            Line::Says(text) => self.client(who)?.0.send_text(text),
            Line::IsCutOff => {
                let (client, _) = self.clients.remove(who).ok_or("who is not connected")?;
                client.reset();
            }
            Line::Gets(text) => self.get(who, text)?,
        }
        Ok(())
    }

    fn client(&mut self, who: &str) -> Result<&mut (RawClient, Dialect), String> {
        self.clients.get_mut(who).ok_or(format!("{who} is not connected"))
    }

    fn get(&mut self, who: &str, text: &str) -> Result<(), String> {
        let expected: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let (client, dialect) = self.client(who)?;
        let channel = if *dialect == Dialect::V1 { "v1" } else { "classic" };
        let got = client.read_event();
        self.document.check(channel, &got);
        match self.is_as_expected(&expected, &got) {
            true => Ok(()),
            false => Err(format!("the server sent {got}")),
        }
    }

    /// The same keys, and the same values but for what is another each time.
    fn is_as_expected(&mut self, expected: &Value, got: &Value) -> bool {
        let (Some(expected), Some(got)) = (expected.as_object(), got.as_object()) else {
            return false;
        };
        let is_as_expected = |(key, expected): (&String, &Value)| match (key.as_str(), got.get(key))
        {
            (_, None) => false,
            ("session", Some(got)) => got.is_u64() && expected.is_u64(),
            ("epoch" | "message", Some(got)) => got.is_string() && expected.is_string(),
            ("seq", Some(got)) => self.is_same_position(expected, got),
            (_, Some(got)) => got == expected,
        };
        got.len() == expected.len() && expected.iter().all(is_as_expected)
    }

    /// The server's own notes stand in the same history, before all that happens in a block.
    fn is_same_position(&mut self, expected: &Value, got: &Value) -> bool {
        let (Some(expected), Some(got)) = (expected.as_i64(), got.as_i64()) else { return false };
        *self.offset.get_or_insert(got - expected) == got - expected
    }

    /// Everyone leaves, and has heard nothing that the document does not tell: the server answers a
    /// close after all else.
    fn end(self) -> Result<(), String> {
        for (who, (mut client, _)) in self.clients {
            client.send(0x88, &1000_u16.to_be_bytes());
            let frame = client.read();
            if frame.opcode != 0x8 {
                return Err(format!("in the end {who} got {} as well", frame.text()));
            }
        }
        Ok(())
    }
}

#[test]
fn the_transcripts_in_protocol_md_are_what_a_server_says() {
    let markdown = read("docs/protocol.md");
    let document = Document::read();
    let blocks = transcripts(&markdown);
    assert!(blocks.len() >= 3, "only {} transcripts were found", blocks.len());
    for (start, lines) in blocks {
        let numbered = || (start + 1..).zip(&lines);
        let place = |number: usize, line: &str| format!("docs/protocol.md:{number}: {line}");
        let understood: Vec<_> = numbered()
            .map(|(number, line)| {
                let known = understand(line);
                known.unwrap_or_else(|| panic!("{}: unknown kind of line", place(number, line)))
            })
            .collect();
        let mut play = Play::new(&document, &understood);
        for ((number, line), (who, what)) in numbered().zip(&understood) {
            let done = play.carry_out(who, what);
            done.unwrap_or_else(|fault| panic!("{}: {fault}", place(number, line)));
        }
        let end = play.end();
        end.unwrap_or_else(|fault| panic!("docs/protocol.md:{}: {fault}", start + lines.len()));
    }
}

#[test]
fn a_transcript_has_four_kinds_of_lines() {
    let v1 = Line::Connects { path: "/?since=0", dialect: Dialect::V1 };
    let classic = Line::Connects { path: "/", dialect: Dialect::Classic };
    let cases = [
        ("Ann connects to /", Some(("Ann", classic))),
        ("Bob connects to /?since=0 with statesync.v1", Some(("Bob", v1))),
        ("Ann < {}", Some(("Ann", Line::Gets("{}")))),
        ("Ann > no JSON", Some(("Ann", Line::Says("no JSON")))),
        ("Ann is cut off", Some(("Ann", Line::IsCutOff))),
        ("Ann connects to / with statesync.v2", None),
        ("Ann connects to nowhere", None),
        ("Ann waits", None),
        ("Ann <{}", None),
        ("", None),
    ];
    for (line, expected) in cases {
        assert_eq!(understand(line), expected, "{line:?}");
    }
}

// tests/golden

/// The examples in a golden file.
fn golden(name: &str) -> Vec<Map<String, Value>> {
    let examples: Vec<Map<String, Value>> =
        serde_json::from_str(&read(&format!("tests/golden/{name}"))).expect("an array of objects");
    let abouts: BTreeSet<_> = examples.iter().map(|example| example["about"].as_str()).collect();
    assert_eq!(abouts.len(), examples.len(), "{name}: two examples have the same \"about\"");
    examples
}

/// What the server reads in an action: its number, and what it adds or why it is refused.
fn decode(text: &str) -> (Option<u64>, Result<i64, &'static str>) {
    let counter = room::kind("counter", &Map::new()).expect("there are counters");
    let message = Message::Text(text.to_owned().into());
    let object = match json::object(&message) {
        Ok(object) => object,
        Err(error) => return (None, Err(error.code.as_str())),
    };
    let id = match action::id(&object) {
        Ok(id) => id,
        Err(error) => return (None, Err(error.code.as_str())),
    };
    let change = counter.decode(Input::Action(object, Dialect::V1));
    let by = |change: Message| {
        let change: Value = serde_json::from_slice(change.as_bytes()).expect("JSON");
        change["by"].as_i64().expect("a change has an amount")
    };
    (id, change.map(by).map_err(|error| error.code.as_str()))
}

#[test]
fn golden_actions_are_read_as_they_say() {
    for example in golden("v1-actions.json") {
        let (about, text) = (&example["about"], example["text"].as_str().expect("a text"));
        let error = example.get("error").map(|error| error.as_str().expect("a code"));
        let by = example.get("by").map(|by| by.as_i64().expect("a whole number"));
        let expected = by.ok_or(error.unwrap_or("neither \"by\" nor \"error\""));
        assert_eq!(decode(text), (example["id"].as_u64(), expected), "{about}: {text}");
    }
}

#[test]
fn golden_actions_are_allowed_just_where_the_server_takes_them() {
    let document = Document::read();
    // JSON Schema takes 2.0 for a whole number, looks at no key twice, and its validator compares
    // as doubles. The server is exact.
    let is_beyond_schemas = |text: &str| {
        let is_near_limit = text.contains(":9223372036854775808");
        text.contains(".0") || is_near_limit || decode(text).1 == Err("bad_json")
    };
    for example in golden("v1-actions.json") {
        let text = example["text"].as_str().expect("a text");
        if is_beyond_schemas(text) {
            continue;
        }
        let mut action = parse(text);
        if let Some(action) = action.as_object_mut() {
            // Keys that nobody knows are ignored, and the document says that; fault() does not.
            action.retain(|key, _| ["action", "by", "id"].contains(&key.as_str()));
        }
        let fault = document.fault("v1", &action);
        assert_eq!(fault.is_none(), example.contains_key("by"), "{text}: {fault:?}");
    }
}

#[test]
fn golden_events_fit_the_asyncapi_document() {
    let document = Document::read();
    for example in golden("v1-events.json") {
        document.check("v1", &example["event"]);
        if let Some(classic) = example.get("classic") {
            document.check("classic", &parse(classic.as_str().expect("a text")));
        }
    }
}
