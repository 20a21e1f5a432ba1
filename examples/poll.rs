//! The room that docs/rooms.md walks through: a poll. Its answers are kept, and everyone sees them.
//!
//! ```sh
//! cargo run --example poll
//! cargo run -- connect localhost:6789
//! {"action":"vote","for":"tea"}
//! ```

use serde_json::{Map, Value, json};
use statesync::{
    Config, Server,
    protocol::{ActionError, ErrorCode, Input, Message},
    room::{BadArgument, Effect, Moment, Room, RoomKind, SessionId, Speech},
};
use std::{collections::BTreeMap, error::Error, sync::Arc};

#[derive(Debug)]
struct Poll;

impl RoomKind for Poll {
    fn name(&self) -> &'static str {
        "poll"
    }

    fn speech(&self) -> Speech {
        Speech::Events
    }

    fn is_durable(&self) -> bool {
        true
    }

    fn decode(&self, input: Input) -> Result<Message, ActionError> {
        let (action, _) = input.into_action()?;
        let text = |key| action.get(key).and_then(Value::as_str);
        match (text("action"), text("for")) {
            (Some("vote"), Some(answer)) if answer.len() <= 40 => Ok(answer.into()),
            (Some("vote"), _) => {
                Err(ActionError::new(ErrorCode::BadField, "\"for\" is a text of 40 bytes at most"))
            }
            _ => Err(ActionError::new(ErrorCode::UnknownAction, "a poll knows vote")),
        }
    }

    fn open(&self) -> Box<dyn Room> {
        Box::new(Votes::default())
    }

    fn restore(&self, saved: &[u8]) -> Option<Box<dyn Room>> {
        Some(Box::new(Votes(serde_json::from_slice(saved).ok()?)))
    }
}

#[derive(Default)]
struct Votes(BTreeMap<String, u64>);

impl Room for Votes {
    fn state(&self) -> Option<Value> {
        Some(json!(self.0))
    }

    fn save(&self) -> Vec<u8> {
        json!(self.0).to_string().into_bytes()
    }

    fn apply(
        &mut self,
        action: &Message,
        _from: Option<SessionId>,
        _when: Moment,
    ) -> Result<Vec<Effect>, ActionError> {
        let answer = String::from_utf8_lossy(action.as_bytes()).into_owned();
        if self.0.len() == 20 && !self.0.contains_key(&answer) {
            return Err(ActionError::new(ErrorCode::OutOfRange, "20 answers are enough"));
        }
        *self.0.entry(answer).or_default() += 1;
        Ok(vec![Effect::State(json!(self.0))])
    }
}

fn poll(arguments: &Map<String, Value>) -> Result<Arc<dyn RoomKind>, BadArgument> {
    match arguments.keys().next() {
        None => Ok(Arc::new(Poll)),
        Some(key) => Err(BadArgument::new(key, "a poll has no arguments")),
    }
}

const CONFIG: &str = r#"
    [journal]
    path = "statesync-data/poll"

    [[room]]
    path = "/"
    kind = "poll"
"#;

fn main() -> Result<(), Box<dyn Error>> {
    let config = Config::parse("main.rs", CONFIG, std::env::vars())?;
    let server = Server::builder(config).room_kind("poll", poll).bind()?;
    println!("statesync is ready: {}", server.entrance().unwrap_or_default());
    let stop = async { drop(actix_rt::signal::ctrl_c().await) };
    Ok(actix_rt::System::new().block_on(server.run(stop))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each message, and what it makes of the votes: `None` if it is refused.
    #[test]
    fn votes_are_counted() {
        let mut room = Poll.open();
        for (message, votes) in [
            (r#"{"action":"vote","for":"tea"}"#, Some(json!({"tea": 1}))),
            (r#"{"action":"vote","for":"tea","id":2}"#, Some(json!({"tea": 2}))),
            (r#"{"action":"vote","for":"milk"}"#, Some(json!({"milk": 1, "tea": 2}))),
            (r#"{"action":"vote"}"#, None),
            (r#"{"action":"veto","for":"tea"}"#, None),
            ("tea", None),
        ] {
            let kind: &dyn RoomKind = &Poll;
            let action = kind.decode_message(message.into());
            let effects = action.and_then(|action| room.apply(&action, None, Moment::default()));
            assert_eq!(effects.ok(), votes.map(|votes| vec![Effect::State(votes)]), "{message}");
        }
        let restored = Poll.restore(&room.save()).expect("what was saved");
        assert_eq!(restored.state(), room.state());
    }
}
