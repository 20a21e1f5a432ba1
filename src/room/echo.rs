//! `echo`: a message comes back to its sender, as it was or in a template. Plain text; keeps nothing.

use super::{
    BadArgument, Effect, Moment, Room, RoomKind, SessionId, Speech, Template, UnixMicros, argument,
};
use crate::protocol::{ActionError, Event, Input, Message};
use jiff::tz::TimeZone;
use serde_json::{Map, Value};
use std::{collections::HashMap, num::NonZeroU32};

/// The kind, with its arguments.
#[derive(Debug, Clone)]
pub struct Echo {
    template: Template,
    close_after: Option<NonZeroU32>,
    zone: TimeZone,
}

impl Echo {
    /// `template`: what is sent back, the message itself by default. `close_after`: after so many
    /// answers the connection is closed normally; never by default.
    pub(super) fn from_arguments(arguments: &Map<String, Value>) -> Result<Self, BadArgument> {
        let mut template = argument::message_template("{message}")?;
        let mut close_after = None;
        for (key, value) in arguments {
            match key.as_str() {
                "template" => template = argument::message_template(argument::text(key, value)?)?,
                "close_after" => {
                    let count = argument::number(key, value, 1..=u32::MAX.into())?;
                    close_after = count.try_into().ok().and_then(NonZeroU32::new);
                }
                _ => {
                    let message = "an echo room knows template and close_after";
                    return Err(BadArgument::new(key, message));
                }
            }
        }
        Ok(Self { template, close_after, zone: TimeZone::system() })
    }
}

impl RoomKind for Echo {
    fn name(&self) -> &'static str {
        "echo"
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
        Box::new(EchoRoom { kind: self.clone(), answers: HashMap::new() })
    }
}

struct EchoRoom {
    kind: Echo,
    /// How many answers each session got; only where `close_after` asks.
    answers: HashMap<SessionId, u32>,
}

impl Room for EchoRoom {
    fn apply(
        &mut self,
        action: &Message,
        from: Option<SessionId>,
        when: Moment,
    ) -> Result<Vec<Effect>, ActionError> {
        let mut effects = vec![Effect::Reply(Event::Message(self.kind.template.fill_message(
            action,
            when.at,
            &self.kind.zone,
        )))];
        // Who is in no room, as by plain HTTP, has no connection to be closed.
        let answers = from.and_then(|from| self.answers.get_mut(&from));
        if let (Some(limit), Some(answers)) = (self.kind.close_after, answers) {
            *answers += 1;
            if *answers == limit.get() {
                effects.push(Effect::CloseSender);
            } else if *answers > limit.get() {
                effects.clear();
            }
        }
        Ok(effects)
    }

    fn joined(&mut self, session: SessionId, _at: UnixMicros) -> Vec<Effect> {
        if self.kind.close_after.is_some() {
            self.answers.insert(session, 0);
        }
        Vec::new()
    }

    fn left(&mut self, session: SessionId, _at: UnixMicros) -> Vec<Effect> {
        self.answers.remove(&session);
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::kind;

    const AT: Moment = Moment { seq: 0, at: UnixMicros(0) };

    fn open(arguments: Value) -> Box<dyn Room> {
        let Value::Object(arguments) = arguments else { panic!("a table") };
        kind("echo", &arguments).expect("good arguments").open()
    }

    fn text(text: &str) -> Message {
        Message::Text(text.to_owned().into())
    }

    #[test]
    fn messages_come_back_in_the_template() {
        for (template, answer) in
            [("{message}", "你好"), ("Hello {message}!", "Hello 你好!"), ("x", "x")]
        {
            let mut room = open(serde_json::json!({ "template": template }));
            let effects = room.apply(&text("你好"), Some(SessionId(1)), AT).expect("never refused");
            assert_eq!(effects, [Effect::Reply(Event::Message(text(answer)))]);
        }
    }

    #[test]
    fn bytes_come_back_as_they_are() {
        let mut room = open(serde_json::json!({ "template": "Hello {message}!" }));
        let bytes = Message::Binary(vec![0, 255].into());
        let effects = room.apply(&bytes, Some(SessionId(1)), AT).expect("never refused");
        assert_eq!(effects, [Effect::Reply(Event::Message(bytes))]);
    }

    #[test]
    fn the_connection_is_closed_after_as_many_answers_as_asked() {
        let mut room = open(serde_json::json!({ "close_after": 2 }));
        room.joined(SessionId(1), AT.at);
        room.joined(SessionId(2), AT.at);
        let mut effects = |session| {
            room.apply(&text("a"), Some(SessionId(session)), AT).expect("never refused").len()
        };
        assert_eq!(effects(1), 1, "the first answer");
        assert_eq!(effects(2), 1, "another session counts for itself");
        assert_eq!(effects(1), 2, "the second answer, and the close");
        assert_eq!(effects(1), 0, "nothing after the close");
        room.left(SessionId(1), AT.at);
        room.joined(SessionId(1), AT.at);
        let again = room.apply(&text("a"), Some(SessionId(1)), AT).expect("never refused");
        assert_eq!(again.len(), 1, "who left is forgotten");
    }

    #[test]
    fn the_answers_of_the_first_echo_servers_are_given_to_the_letter() {
        let at = Moment { seq: 0, at: UnixMicros(1_683_499_476_123_456) };
        let local = |at: UnixMicros| {
            let time = jiff::Timestamp::from_microsecond(at.0).expect("in range");
            let time = time.to_zoned(TimeZone::system());
            format!("Data received as \"Ann\".  time: {}", time.strftime("%Y-%m-%d %H:%M:%S%.6f"))
        };
        for (template, answer) in [
            ("Hello {message}!", "Hello Ann!".to_owned()),
            ("server received: {message}", "server received: Ann".to_owned()),
            ("{message} at {time}", "Ann at 2023-05-07T22:44:36.123456Z".to_owned()),
            ("Data received as \"{message}\".  time: {local_time}", local(at.at)),
        ] {
            let mut room = open(serde_json::json!({ "template": template, "close_after": 1 }));
            room.joined(SessionId(1), at.at);
            let effects = room.apply(&text("Ann"), Some(SessionId(1)), at).expect("never refused");
            let reply = Effect::Reply(Event::Message(text(&answer)));
            assert_eq!(effects, [reply, Effect::CloseSender], "{template}");
        }
    }

    #[test]
    fn bad_arguments_are_named() {
        for (arguments, key, part) in [
            (serde_json::json!({ "templat": "x" }), "templat", "knows template"),
            (serde_json::json!({ "template": 1 }), "template", "string"),
            (serde_json::json!({ "template": "{name}" }), "template", "{name}"),
            (serde_json::json!({ "template": "{count}" }), "template", "there are {message}"),
            (serde_json::json!({ "close_after": 0 }), "close_after", "from 1 to 4294967295"),
            (serde_json::json!({ "close_after": 4_294_967_296_u64 }), "close_after", "from 1"),
            (serde_json::json!({ "close_after": -1 }), "close_after", "from 1"),
        ] {
            let Value::Object(table) = arguments else { panic!("a table") };
            let error = Echo::from_arguments(&table).expect_err("must be refused");
            assert_eq!(error.key, key);
            assert!(error.message.contains(part), "{error:?}");
        }
    }
}
