//! What the state wants to be told, and to whom.

use crate::{
    protocol::{CloseCode, Event},
    room::{RoomId, SessionId},
};

/// Where a session is reached: the thread that serves it and its seat there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionAddress {
    /// Its number; a seat is given away again, a number is not.
    pub id: SessionId,
    /// The worker thread's index.
    pub worker: u16,
    /// The seat in that thread's audience.
    pub seat: u32,
}

impl SessionAddress {
    /// The worker of those who are served by no worker thread: an HTTP request waits for its answer
    /// at the `StateServer` itself.
    const OUTSIDE: u16 = u16::MAX;

    /// The address of one who only acts, and is in no room.
    pub fn outside(id: SessionId) -> Self {
        Self { id, worker: Self::OUTSIDE, seat: 0 }
    }

    /// Whether it is one who only acts.
    pub fn is_outside(self) -> bool {
        self.worker == Self::OUTSIDE
    }
}

/// What may become of an event for a client that cannot keep up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Topic {
    /// Only the newest of these matters: the room's state.
    State,
    /// Only the newest of these matters: how many users there are.
    Users,
    /// It builds on the one before: all or none. Without them, the client needs the state.
    Change,
    /// It must not be skipped: rather the client is closed, and comes back for it.
    Message,
}

/// What is to be told, and to whom. The order of deliveries is the order in which each session
/// gets them.
#[derive(Debug, Clone, PartialEq)]
pub enum Delivery {
    /// From here on the session gets what the room broadcasts.
    Enter {
        /// The room.
        room: RoomId,
        /// The newcomer.
        session: SessionAddress,
    },
    /// From here on the session gets changes again: it is told the state next.
    Resume {
        /// The session.
        session: SessionAddress,
    },
    /// To every session in the room.
    Broadcast {
        /// The room.
        room: RoomId,
        /// What may become of it.
        topic: Topic,
        /// But not to this one.
        except: Option<SessionAddress>,
        /// The event.
        event: Event,
    },
    /// To one session.
    Direct {
        /// The session.
        session: SessionAddress,
        /// What may become of it. Without one it is an answer: it is kept, and while too many wait
        /// the session is not read.
        topic: Option<Topic>,
        /// The event.
        event: Event,
    },
    /// The session is closed after all that was delivered to it before.
    Close {
        /// The session.
        session: SessionAddress,
        /// Why.
        code: CloseCode,
    },
}

impl Delivery {
    /// An answer to one session.
    pub fn answer(session: SessionAddress, event: Event) -> Self {
        Self::Direct { session, topic: None, event }
    }
}
