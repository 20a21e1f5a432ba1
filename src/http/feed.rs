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
/// [`crate::Server::feed`]; clones push into the same room. It may be moved to any thread, and may
/// be [allowed](RoomKind::decode_fed) what clients are not.
#[derive(Debug, Clone)]
pub struct Feed {
    pub(super) place: Place,
    pub(super) kind: Arc<dyn RoomKind>,
    pub(super) next_session: Arc<AtomicU64>,
    /// The server, while it runs. Closed when it has stopped.
    pub(super) running: watch::Receiver<Option<Addr<StateServer>>>,
}

/// Why a message did not get into the room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FeedError {
    /// The room refuses it. Mend the message, or the moment.
    Refused(ActionError),
    /// The server has stopped, or was dropped. Nothing can be pushed any more. Whether a message that
    /// was under way at that moment got in is not known.
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
    /// what to leave out. It needs no runtime of its own: any executor will do.
    ///
    /// A room that speaks in events takes an action here, as JSON text; an `id` in it means nothing.
    ///
    /// # Errors
    /// Why it did not get in.
    pub async fn push(&self, message: impl Into<Message>) -> Result<(), FeedError> {
        let action = self.kind.decode_fed_message(message.into()).map_err(FeedError::Refused)?;
        let mut running = self.running.clone();
        // Not while the server stops, either: it would have no end.
        let started = running.wait_for(Option::is_some).await.map_err(|_| FeedError::Stopped)?;
        let server = started.clone().ok_or(FeedError::Stopped)?;
        drop(started);
        let told = tokio::select! {
            biased;
            told = server.send(Post { act: self.act(action) }) => told,
            // A server that has stopped answers nothing any more.
            _ = running.wait_for(|_| false) => return Err(FeedError::Stopped),
        };
        let refusal = told.map_err(|_| FeedError::Stopped)?.into_iter().find_map(refusal);
        refusal.map_or(Ok(()), |error| Err(FeedError::Refused(error)))
    }

    fn act(&self, action: Message) -> Act {
        let id = SessionId(self.next_session.fetch_add(1, Ordering::Relaxed));
        let session = SessionAddress::outside(id);
        let sender = Some(Sender { session, id: None, verdict: None });
        let (place, deed) = (Some(self.place.clone()), Deed::Apply(action));
        Act { place, sender, client: None, deed, cost: 0, permit: None }
    }
}

fn refusal(event: Event) -> Option<ActionError> {
    match event {
        Event::Error(refused) => Some(refused.error),
        _ => None,
    }
}
