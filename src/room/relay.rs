//! `relay`: what one client sends goes to all others. Plain text; not durable.
//!
//! At most once: nothing is acknowledged, numbered or kept over a restart, and a sender does not
//! learn who got its message. A room in which nothing may be lost is a `chat`.

use super::{
    BadArgument, Effect, Moment, Room, RoomKind, SessionId, Speech, Template, UnixMicros, argument,
    recent::Recent,
};
use crate::protocol::{ActionError, Event, Input, Message};
use jiff::tz::TimeZone;
use serde_json::{Map, Value};

/// The most texts that newcomers may be told. They come in one piece, for each newcomer anew.
const MAX_HISTORY: u64 = 10_000;

/// The most bytes of texts that are kept for newcomers: 256 KiB, some thousand short messages. The
/// oldest go first.
const MAX_HISTORY_BYTES: usize = 256 * 1024;

/// The kind, with its arguments.
#[derive(Debug, Clone)]
pub struct Relay {
    template: Template,
    history: usize,
    zone: TimeZone,
}

impl Relay {
    /// `template`: what the others get, the message itself by default. `history`: so many of the
    /// last texts a newcomer is told; none by default.
    pub(super) fn from_arguments(arguments: &Map<String, Value>) -> Result<Self, BadArgument> {
        let mut template = argument::message_template("{message}")?;
        let mut history = 0;
        for (key, value) in arguments {
            match key.as_str() {
                "template" => template = argument::message_template(argument::text(key, value)?)?,
                "history" => history = argument::number(key, value, 0..=MAX_HISTORY)? as usize,
                _ => {
                    let message = "a relay room knows template and history";
                    return Err(BadArgument::new(key, message));
                }
            }
        }
        Ok(Self { template, history, zone: TimeZone::system() })
    }
}

impl RoomKind for Relay {
    fn name(&self) -> &'static str {
        "relay"
    }

    fn speech(&self) -> Speech {
        Speech::Plain
    }

    fn is_durable(&self) -> bool {
        false
    }

    fn decode(&self, input: Input) -> Result<Message, ActionError> {
        input.into_plain()
    }

    fn open(&self) -> Box<dyn Room> {
        let texts = Recent::new(self.history, MAX_HISTORY_BYTES);
        Box::new(RelayRoom { kind: self.clone(), texts })
    }
}

struct RelayRoom {
    kind: Relay,
    /// The last texts, as they were passed on.
    texts: Recent<Message>,
}

impl Room for RelayRoom {
    fn joined(&mut self, session: SessionId, _at: UnixMicros) -> Vec<Effect> {
        let texts: Vec<_> = self.texts.iter().cloned().map(Event::Message).collect();
        if texts.is_empty() {
            return Vec::new();
        }
        vec![Effect::Show(session, Event::Several(texts))]
    }

    fn apply(
        &mut self,
        action: &Message,
        _from: Option<SessionId>,
        when: Moment,
    ) -> Result<Vec<Effect>, ActionError> {
        let message = self.kind.template.fill_message(action, when.at, &self.kind.zone);
        if let Message::Text(text) = &message {
            self.texts.push(message.clone(), text.len());
        }
        Ok(vec![Effect::Others(Event::Message(message))])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::kind;
    use proptest::prelude::*;
    use serde_json::json;

    const AT: Moment = Moment { seq: 0, at: UnixMicros(0) };
    const ANN: SessionId = SessionId(1);
    const BOB: SessionId = SessionId(2);

    fn open(arguments: Value) -> Box<dyn Room> {
        let Value::Object(arguments) = arguments else { panic!("a table") };
        kind("relay", &arguments).expect("good arguments").open()
    }

    fn text(text: &str) -> Message {
        Message::Text(text.to_owned().into())
    }

    fn say(room: &mut dyn Room, message: &Message) -> Vec<Effect> {
        room.apply(message, Some(ANN), AT).expect("never refused")
    }

    /// What a newcomer is told.
    fn told(room: &mut dyn Room) -> Vec<Message> {
        match &room.joined(BOB, AT.at)[..] {
            [] => Vec::new(),
            [Effect::Show(BOB, Event::Several(events))] => {
                let message = |event: &Event| match event {
                    Event::Message(message) => message.clone(),
                    other => panic!("{other:?} is no message"),
                };
                events.iter().map(message).collect()
            }
            other => panic!("a newcomer is told {other:?}"),
        }
    }

    #[test]
    fn all_others_get_the_text_in_the_template_and_bytes_as_they_are() {
        let bytes = Message::Binary(vec![0, 255].into());
        for (template, sent, got) in [
            ("{message}", text("你好"), text("你好")),
            ("broadcast message: {message}", text("hi"), text("broadcast message: hi")),
            ("{time} {message}", text("hi"), text("1970-01-01T00:00:00.000000Z hi")),
            ("broadcast message: {message}", bytes.clone(), bytes),
        ] {
            let mut room = open(json!({ "template": template }));
            let effects = say(&mut *room, &sent);
            assert_eq!(effects, [Effect::Others(Event::Message(got))], "{template}");
        }
    }

    #[test]
    fn a_newcomer_is_told_the_last_texts_oldest_first_where_that_is_asked_for() {
        let mut quiet = open(json!({}));
        say(&mut *quiet, &text("a"));
        assert!(told(&mut *quiet).is_empty(), "not by default");
        let mut room = open(json!({ "history": 2, "template": "<{message}>" }));
        assert!(told(&mut *room).is_empty(), "nothing was said yet");
        for message in ["a", "b", "c"] {
            say(&mut *room, &text(message));
        }
        say(&mut *room, &Message::Binary(vec![1].into()));
        assert_eq!(told(&mut *room), [text("<b>"), text("<c>")], "texts only");
    }

    proptest! {
        #[test]
        fn what_newcomers_are_told_has_its_bounds(
            lengths in prop::collection::vec(0..100_000_usize, 0..20),
            history in 0..10_usize,
        ) {
            let mut room = open(json!({ "history": history }));
            for length in &lengths {
                say(&mut *room, &text(&"x".repeat(*length)));
            }
            let told = told(&mut *room);
            prop_assert!(told.len() <= history);
            prop_assert!(told.iter().map(|m| m.as_bytes().len()).sum::<usize>() <= MAX_HISTORY_BYTES);
            let said: Vec<_> = lengths[lengths.len() - told.len()..].to_vec();
            let told: Vec<_> = told.iter().map(|message| message.as_bytes().len()).collect();
            prop_assert_eq!(told, said, "the last ones, in order");
        }
    }

    #[test]
    fn bad_arguments_are_named() {
        for (arguments, key, part) in [
            (json!({ "shout": true }), "shout", "template and history"),
            (json!({ "template": "{count}" }), "template", "there are {message}"),
            (json!({ "history": -1 }), "history", "from 0 to 10000"),
            (json!({ "history": 10_001 }), "history", "from 0 to 10000"),
        ] {
            let error = Relay::from_arguments(arguments.as_object().expect("a table"));
            let error = error.expect_err("must be refused");
            assert_eq!(error.key, key);
            assert!(error.message.contains(part), "{error:?}");
        }
    }
}
