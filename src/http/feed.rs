//! A way into a room for the program that the server runs in: a price feed, a sensor, a job.

use crate::{
    protocol::{ActionError, Event, Message},
    room::{RoomKind, SessionId},
    server::{Act, Post, StateServer},
    state::{Deed, Place, Sender, SessionAddress},
};
use actix::Addr;
use std::{
    error::Error,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::watch;

/// Pushes messages into one room, as a client would, without a connection. Made by
/// [`crate::Server::feed`]; clones push into the same room.
#[derive(Debug, Clone)]
pub struct Feed {
    pub(super) place: Place,
    pub(super) kind: Arc<dyn RoomKind>,
    pub(super) next_session: Arc<AtomicU64>,
    /// The server, once it runs.
    pub(super) server: watch::Receiver<Option<Addr<StateServer>>>,
}

/// Why a message did not get into the room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FeedError {
    /// The room refuses it. Mend the message, or the moment.
    Refused(ActionError),
    /// The server has stopped. Nothing can be pushed any more.
    Stopped,
}

impl Error for FeedError {}

impl fmt::Display for FeedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => write!(f, "the room refuses it: {error}"),
            Self::Stopped => f.write_str("the server has stopped"),
        }
    }
}

impl Feed {
    /// Pushes a message and waits until it has its place in the order and, in durable rooms, is kept.
    /// Before the server runs, it waits for that. What pushes faster than this is done has to decide
    /// what to leave out.
    ///
    /// # Errors
    /// Why it did not get in.
    pub async fn push(&self, message: Message) -> Result<(), FeedError> {
        let action = self.kind.decode_message(message).map_err(FeedError::Refused)?;
        let mut started = self.server.clone();
        let server =
            started.wait_for(Option::is_some).await.map_err(|_| FeedError::Stopped)?.clone();
        let id = SessionId(self.next_session.fetch_add(1, Ordering::Relaxed));
        let session = SessionAddress::outside(id);
        let sender = Some(Sender { session, id: None, verdict: None });
        let (place, deed) = (Some(self.place.clone()), Deed::Apply(action));
        let act = Act { place, sender, client: None, deed, cost: 0, permit: None };
        let told = server.ok_or(FeedError::Stopped)?.send(Post { act }).await;
        let refusal =
            told.map_err(|_| FeedError::Stopped)?.into_iter().find_map(|event| match event {
                Event::Error(refused) => Some(refused.error),
                _ => None,
            });
        refusal.map_or(Ok(()), |error| Err(FeedError::Refused(error)))
    }
}
