//! `chat`: people with names, and what they say. Messages are kept, the last ones for newcomers;
//! names belong to sessions and end with them.

mod name;

use super::{
    Admitted, BadArgument, Effect, History, Moment, Room, RoomKind, SessionId, Speech, UnixMicros,
    argument, recent::Recent, template::utc,
};
use crate::protocol::{ActionError, ErrorCode, Event, Input, Message, RoomEvent, action};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashSet};

/// The most messages that newcomers may be told. They come in one piece, for each newcomer anew.
const MAX_HISTORY: u64 = 10_000;

/// The most bytes that a history may have: 64 MiB. It is in memory, and in every snapshot.
const MAX_HISTORY_BYTES: usize = 64 * 1024 * 1024;

/// The kind, with its arguments.
#[derive(Debug, Clone, Copy)]
pub struct Chat {
    history: usize,
    history_bytes: usize,
}

impl Chat {
    /// `history`: so many of the last messages are kept for newcomers; 100 by default.
    /// `history_bytes`: texts and names of these may take so many bytes (UTF-8) together, the oldest
    /// go first; 256 KiB by default.
    pub(super) fn from_arguments(arguments: &Map<String, Value>) -> Result<Self, BadArgument> {
        let mut chat = Self { history: 100, history_bytes: 256 * 1024 };
        for (key, value) in arguments {
            match key.as_str() {
                "history" => chat.history = argument::number(key, value, 0..=MAX_HISTORY)? as usize,
                "history_bytes" => {
                    chat.history_bytes = argument::bytes(key, value, 0..=MAX_HISTORY_BYTES)?;
                }
                _ => return Err(BadArgument::new(key, "a chat knows history and history_bytes")),
            }
        }
        Ok(chat)
    }

    fn room(self, forgotten_until: u64, messages: Vec<Said>) -> ChatRoom {
        let mut room = ChatRoom {
            said: Recent::new(self.history, self.history_bytes),
            forgotten_until,
            sessions: BTreeMap::new(),
            taken: HashSet::new(),
        };
        messages.into_iter().for_each(|said| room.remember(said));
        room
    }
}

/// What a client asks for. It goes from [`RoomKind::decode`] to [`Room::admit`], and is never kept.
#[derive(Debug, Serialize, Deserialize)]
enum Request {
    Login { name: String },
    Say { text: String },
    Logout,
}

/// An action in the journal, as postcard writes it (its wire format 1.0). Journals must be readable
/// for ever: variants and fields stay as they are, and new variants come last.
#[derive(Debug, Serialize, Deserialize)]
enum Deed {
    /// Somebody who was called so said it.
    Say { from: String, text: String },
}

/// What is kept, as postcard writes it. It must be readable for ever, as [`Deed`].
#[derive(Debug, Serialize, Deserialize)]
enum Saved {
    /// The only form so far.
    V1 {
        /// See [`ChatRoom::forgotten_until`].
        forgotten_until: u64,
        /// Oldest first.
        messages: Vec<Said>,
    },
}

/// A message that was said. Part of [`Saved`].
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Said {
    seq: u64,
    at: UnixMicros,
    from: String,
    text: String,
}

impl Said {
    fn event(&self) -> RoomEvent {
        event("message", [("from", &self.from), ("text", &self.text)], self.at)
    }
}

fn event<const N: usize>(
    name: &'static str,
    texts: [(&str, &String); N],
    at: UnixMicros,
) -> RoomEvent {
    let texts = texts.map(|(key, text)| (key.to_owned(), text.as_str().into()));
    let time = ("time".to_owned(), utc(at).into());
    RoomEvent { name, fields: texts.into_iter().chain([time]).collect() }
}

/// What everyone is told. The server adds the position.
fn broadcast(event: RoomEvent) -> Effect {
    Effect::Broadcast(Event::Room { seq: 0, from: None, event })
}

fn encode(action: &impl Serialize) -> Message {
    // Strings and numbers always become bytes.
    Message::Binary(postcard::to_stdvec(action).unwrap_or_default().into())
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Some(value),
        _ => None,
    }
}

/// The error of bytes that this kind did not write.
fn foreign() -> ActionError {
    ActionError::new(ErrorCode::BadJson, "this is no action of a chat")
}

impl RoomKind for Chat {
    fn name(&self) -> &'static str {
        "chat"
    }

    fn speech(&self) -> Speech {
        Speech::Events
    }

    fn is_durable(&self) -> bool {
        true
    }

    fn decode(&self, input: Input) -> Result<Message, ActionError> {
        let (action, _) = input.into_action()?;
        let request = match action::name(&action)? {
            "login" => Request::Login { name: name::read(text(&action, "name")?)? },
            "message" => Request::Say { text: said(text(&action, "text")?)?.to_owned() },
            "logout" => Request::Logout,
            other => {
                return Err(action::unknown(other, "a chat knows login, message and logout"));
            }
        };
        Ok(encode(&request))
    }

    fn open(&self) -> Box<dyn Room> {
        Box::new(self.room(0, Vec::new()))
    }

    fn restore(&self, saved: &[u8]) -> Option<Box<dyn Room>> {
        let Saved::V1 { forgotten_until, messages } = read(saved)?;
        Some(Box::new(self.room(forgotten_until, messages)))
    }
}

fn text<'a>(action: &'a Map<String, Value>, key: &str) -> Result<&'a str, ActionError> {
    let bad = |what| ActionError::new(ErrorCode::BadField, format!("\"{key}\" {what}"));
    match action.get(key) {
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(bad("must be a string")),
        None => Err(bad("is missing")),
    }
}

/// A text as it is: any but none. `limits.max_message` bounds it.
fn said(text: &str) -> Result<&str, ActionError> {
    match text {
        "" => Err(ActionError::new(ErrorCode::BadField, "\"text\" is empty")),
        text => Ok(text),
    }
}

/// The room. Only what was said is kept.
struct ChatRoom {
    /// The last messages.
    said: Recent<Said>,
    /// The position of the last message that is not among them any more; 0 if there is none.
    forgotten_until: u64,
    /// Who is there, and their names if they are logged in.
    sessions: BTreeMap<SessionId, Option<String>>,
    /// The [keys](name::key) of the names of all who are logged in.
    taken: HashSet<String>,
}

impl ChatRoom {
    fn remember(&mut self, said: Said) {
        let bytes = said.from.len() + said.text.len();
        if let Some(gone) = self.said.push(said, bytes) {
            self.forgotten_until = gone.seq;
        }
    }

    fn log_in(
        &mut self,
        session: SessionId,
        name: String,
        at: UnixMicros,
    ) -> Result<Vec<Effect>, ActionError> {
        let refuse = |code, message| Err(ActionError::new(code, message));
        match self.sessions.get_mut(&session) {
            // A name ends with its session: this one has ended, or was never there.
            None => refuse(ErrorCode::NotLoggedIn, "only who is in the room can log in"),
            Some(Some(current)) if *current == name => Ok(Vec::new()),
            Some(Some(_)) => {
                refuse(ErrorCode::BadField, "you are logged in with another name: log out first")
            }
            Some(_) if self.taken.contains(&name::key(&name)) => {
                refuse(ErrorCode::NameTaken, "somebody in the room has this name: take another")
            }
            Some(current) => {
                self.taken.insert(name::key(&name));
                let effect = broadcast(event("joined", [("name", &name)], at));
                *current = Some(name);
                Ok(vec![effect])
            }
        }
    }

    /// Somebody who is not logged in has what they want.
    fn log_out(&mut self, session: SessionId, at: UnixMicros) -> Vec<Effect> {
        match self.sessions.get_mut(&session).and_then(Option::take) {
            Some(name) => {
                self.taken.remove(&name::key(&name));
                vec![broadcast(event("left", [("name", &name)], at))]
            }
            None => Vec::new(),
        }
    }
}

impl Room for ChatRoom {
    fn history(&self, since: Option<u64>) -> History {
        let is_new = |said: &&Said| since.is_none_or(|since| said.seq > since);
        let events = self.said.iter().filter(is_new).map(|said| (said.seq, said.event()));
        let is_incomplete = since.is_some_and(|since| self.forgotten_until > since);
        History { events: events.collect(), is_incomplete }
    }

    fn names(&self) -> Option<Vec<String>> {
        Some(self.sessions.values().flatten().cloned().collect())
    }

    fn save(&self) -> Vec<u8> {
        let messages = self.said.iter().cloned().collect();
        let saved = Saved::V1 { forgotten_until: self.forgotten_until, messages };
        // Strings and numbers always become bytes.
        postcard::to_stdvec(&saved).unwrap_or_default()
    }

    fn joined(&mut self, session: SessionId, _at: UnixMicros) -> Vec<Effect> {
        self.sessions.entry(session).or_default();
        Vec::new()
    }

    fn left(&mut self, session: SessionId, at: UnixMicros) -> Vec<Effect> {
        let effects = self.log_out(session, at);
        self.sessions.remove(&session);
        effects
    }

    fn admit(
        &mut self,
        action: Message,
        from: SessionId,
        at: UnixMicros,
    ) -> Result<Admitted, ActionError> {
        match read(action.as_bytes()).ok_or_else(foreign)? {
            Request::Login { name } => self.log_in(from, name, at).map(Admitted::Done),
            Request::Logout => Ok(Admitted::Done(self.log_out(from, at))),
            Request::Say { text } => match self.sessions.get(&from) {
                Some(Some(name)) => {
                    Ok(Admitted::Ordered(encode(&Deed::Say { from: name.clone(), text })))
                }
                _ => Err(ActionError::new(ErrorCode::NotLoggedIn, "log in with a name first")),
            },
        }
    }

    fn apply(
        &mut self,
        action: &Message,
        _from: Option<SessionId>,
        when: Moment,
    ) -> Result<Vec<Effect>, ActionError> {
        let Deed::Say { from, text } = read(action.as_bytes()).ok_or_else(foreign)?;
        let said = Said { seq: when.seq, at: when.at, from, text };
        let event = said.event();
        self.remember(said);
        Ok(vec![broadcast(event)])
    }
}

#[cfg(test)]
mod tests;
