//! What `benches/instructions` counts and cannot reach from outside. No part of the interface: it
//! may change, or go, at any time.

use crate::{
    fanout::{Attachment, Audience, HeartbeatTimes, Link, Parcel},
    protocol::{EncodedEvent, WireForm},
    room::{RoomId, SessionId},
    socket::Socket,
    state::Topic,
};
use std::{collections::VecDeque, rc::Rc, sync::Arc, time::Duration};
use tokio::net::TcpStream;

const ROOM: RoomId = RoomId(0);

/// As in the default configuration, in bytes.
const MAX_PENDING_BYTES: usize = 64 * 1024;

/// A worker thread's sessions, all in one room, without actors: only what rounds write to.
#[derive(Debug)]
pub struct Listeners {
    audience: Rc<Audience>,
    /// Each holds its session's seat.
    _attachments: Vec<Attachment>,
}

impl Listeners {
    /// Lets one session that reads `form` in for each socket.
    pub fn new(sockets: impl IntoIterator<Item = TcpStream>, form: WireForm) -> Self {
        // Nothing sweeps here.
        let times = HeartbeatTimes { interval: Duration::MAX, timeout: Duration::MAX };
        let audience = Rc::new(Audience::new(0, MAX_PENDING_BYTES, times));
        let attach = |(number, socket)| {
            let (_, writer) = Socket::Plain(socket).into_split();
            audience.attach(SessionId(number), form, Link::Socket(writer))
        };
        let attachments: Vec<_> = (0..).zip(sockets).map(attach).collect();
        let enter = |attachment: &Attachment| Parcel::Enter(ROOM, attachment.outlet().address());
        audience.deliver(&mut attachments.iter().map(enter).collect(), usize::MAX);
        Self { audience, _attachments: attachments }
    }

    /// One round, in which each of `states` is broadcast.
    pub fn round(&self, states: &[Arc<EncodedEvent>]) {
        let broadcast = |event: &Arc<EncodedEvent>| Parcel::Broadcast {
            room: ROOM,
            topic: Topic::State,
            except: None,
            event: event.clone(),
        };
        let mut parcels: VecDeque<_> = states.iter().map(broadcast).collect();
        self.audience.deliver(&mut parcels, MAX_PENDING_BYTES / 2);
    }
}
