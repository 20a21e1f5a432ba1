//! The [`Session`] actor: one WebSocket connection, on its raw socket.
//!
//! Frames come in and become actions for the [`StateServer`]; what its outlet holds goes out. It
//! knows no HTTP: the opening handshake is done when it starts.

use crate::{
    auth::Access,
    connections::{Allowance, Permit},
    fanout::{Attachment, Audience, Failure, Link, Outlet},
    logging::log_limited,
    protocol::{
        ActionError, ClientKey, CloseCode, Compression, Dialect, ErrorCode, Event, Input, Message,
        Refused, WireForm, action,
        deflate::Inflater,
        encoded,
        frame::{self, Decoder, FrameError, Incoming, Opcode},
        json,
    },
    room::{RoomKind, SessionId, Speech},
    server::{Act, Join, Leave, Refresh, StateServer},
    socket::{ReadHalf, Socket},
    state::{Deed, Place, Sender, SessionAddress, Visitor},
};
use actix::{Actor, ActorContext, Addr, AsyncContext, Context, fut::ActorFuture};
use bytes::{Buf, Bytes, BytesMut};
use serde_json::{Map, Value};
use socket2::SockRef;
use std::{
    cell::RefCell,
    fmt, io,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{self, Poll},
    time::{Duration, Instant},
};
use tokio::{io::ReadBuf, time::Sleep};

/// Bytes read from a socket at once. One buffer serves a whole thread. It also bounds what one
/// reading may bring before a session's limits are looked at again, as messages too: inflated, a
/// few bytes are a thousand times as many.
const READ_BUFFER_BYTES: usize = 16 * 1024;

/// Readings of one session before the others of its thread have their turn: one that sends as fast
/// as it can must not delay them.
const READS_IN_A_TURN: usize = 2;

thread_local! {
    static READ_BUFFER: RefCell<Box<[u8]>> =
        RefCell::new(vec![0; READ_BUFFER_BYTES].into_boxed_slice());
    static INFLATER: RefCell<Inflater> = RefCell::default();
}

/// What the sessions of one worker thread share.
#[derive(Debug, Clone)]
pub struct Worker {
    /// The thread's sessions.
    pub audience: Rc<Audience>,
    /// Where joins, leaves and actions go.
    pub server: Addr<StateServer>,
    /// The next session's number; the same counter for all threads.
    pub next_session: Arc<AtomicU64>,
    /// How long the peer has to answer a close frame.
    pub close_timeout: Duration,
    /// The largest message a client may send.
    pub max_message_bytes: usize,
    /// How messages are compressed with clients that can; `None` if they never are.
    pub compression: Option<Compression>,
}

impl Worker {
    /// A seat for a new session that writes to `link` in `form`.
    pub fn seat(&self, form: WireForm, link: Link) -> Attachment {
        self.audience.attach(self.next_session_id(), form, link)
    }

    /// A number that nobody has had.
    pub fn next_session_id(&self) -> SessionId {
        SessionId(self.next_session.fetch_add(1, Ordering::Relaxed))
    }
}

/// What the gates decided about a connection. The permit goes with the session, so that the
/// connection counts until its last byte.
#[derive(Debug)]
pub struct Plan {
    /// The room.
    pub place: Place,
    /// Its kind.
    pub kind: Arc<dyn RoomKind>,
    /// What the client speaks.
    pub dialect: Dialect,
    /// How messages are compressed, if that was agreed.
    pub compression: Option<Compression>,
    /// Who the client says it is.
    pub client: Option<ClientKey>,
    /// Whose the connection is, and what it may do.
    pub access: Access,
    /// When that ends, by the clock that does not jump.
    pub ends_at: Option<Instant>,
    /// The position up to which it knows what was said.
    pub since: Option<u64>,
    /// The connection's place in the limits. Each of its actions holds it as well: what a session
    /// leaves behind on its way to the journal counts as a connection.
    pub permit: Arc<Permit>,
}

/// Being in a room: told to the [`StateServer`] when it begins and, on drop, when it ends, however
/// it ends.
#[derive(Debug)]
pub struct Presence {
    server: Addr<StateServer>,
    visitor: Visitor,
}

impl Presence {
    /// Enters the room of `plan` as `session`.
    pub fn enter(server: &Addr<StateServer>, plan: &Plan, session: SessionAddress) -> Self {
        let Plan { dialect, client, since, .. } = *plan;
        let visitor = Visitor { session, dialect, client, since };
        log::debug!("session {}: joins {}", session.id.0, plan.place.path);
        server.do_send(Join { place: plan.place.clone(), visitor });
        Self { server: server.clone(), visitor }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.server.do_send(Leave { visitor: self.visitor });
    }
}

/// One WebSocket connection.
#[derive(Debug)]
pub struct Session {
    reader: ReadHalf,
    decoder: Decoder,
    /// What is to be read before the socket: frames that came together with the handshake, or that
    /// a reading left for the next one, and what waits while the session is held.
    early: BytesMut,
    dialogue: Dialogue,
}

/// What a session says and how far it is; all of it but the reading.
#[derive(Debug)]
struct Dialogue {
    plan: Plan,
    server: Addr<StateServer>,
    attachment: Attachment,
    presence: Option<Presence>,
    phase: Phase,
    /// How fast it may act; `None` if it is not limited.
    allowance: Option<Allowance>,
    /// Why nothing more is taken in for now.
    held: Option<Held>,
    /// The peer sends nothing any more.
    is_at_eof: bool,
    close_timeout: Duration,
    /// The close frame, until all that the client sent before is answered.
    close_frame: Option<Bytes>,
    /// When a session that is closing is let go.
    deadline: Option<Pin<Box<Sleep>>>,
}

/// What comes before anything else of the session is looked at.
#[derive(Debug)]
enum Held {
    /// A refusal, until all that was sent before is answered: answers come in order.
    Refusal(Bytes),
    /// A message that came too soon, until its time. In a room of plain text nobody could be told to
    /// wait; a sender that is read more slowly waits by itself, and nothing is lost.
    Message(Message, Pin<Box<Sleep>>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Frames come in and go out.
    Open,
    /// The server sent its close frame and waits for the peer's.
    Closing,
    /// Nothing that comes in matters any more. The last frames go out, then FIN; bytes are read
    /// only to be dropped, for unread bytes would turn the close into a reset (RFC 6455, 7.1.1).
    Finishing,
    /// FIN is sent.
    Finished,
}

/// Why a session ended.
#[derive(Debug)]
enum Departure {
    /// After a closing handshake.
    Closed,
    /// The peer ended the connection without one.
    Eof,
    /// The socket failed.
    Io(io::Error),
    /// No sign of life in time.
    Dead,
    /// The peer did not end the connection in time.
    CloseTimeout,
}

impl fmt::Display for Departure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("closed"),
            Self::Eof => f.write_str("ended by the peer without a close frame"),
            Self::Io(error) => write!(f, "lost: {error}"),
            Self::Dead => f.write_str("dead: no sign of life in heartbeat.timeout"),
            Self::CloseTimeout => f.write_str("let go: the peer did not close in close_timeout"),
        }
    }
}

impl Session {
    /// Starts a session on a socket whose opening handshake is done. `early` is what was read from
    /// it beyond the handshake.
    pub fn start_on(socket: Socket, early: BytesMut, plan: Plan, worker: &Worker) {
        let (reader, writer) = socket.into_split();
        // An empty buffer keeps what it once held, for as long as the session lasts.
        let early = if early.is_empty() { BytesMut::new() } else { early };
        let form = WireForm::of_session(plan.dialect, plan.compression);
        let decoder = match plan.compression {
            Some(_) => Decoder::inflating(worker.max_message_bytes),
            None => Decoder::new(worker.max_message_bytes),
        };
        let attachment = worker.seat(form, Link::Socket(writer));
        attachment.outlet().end_at(plan.ends_at);
        let session = Self {
            reader,
            decoder,
            early,
            dialogue: Dialogue {
                allowance: plan.permit.allowance(),
                plan,
                server: worker.server.clone(),
                attachment,
                presence: None,
                phase: Phase::Open,
                held: None,
                is_at_eof: false,
                close_timeout: worker.close_timeout,
                close_frame: None,
                deadline: None,
            },
        };
        session.start();
    }

    /// Drops what the peer does not take, and tells it so with a reset: an ordinary close would
    /// leave the bytes, and the connection, to the kernel for minutes.
    fn reset_on_close(&self) {
        let socket = SockRef::from(self.reader.tcp());
        if let Err(error) = socket.set_linger(Some(Duration::ZERO)) {
            log::debug!("session {}: SO_LINGER: {error}", self.dialogue.id());
        }
    }

    /// Reads, answers and writes as far as the socket goes.
    fn drive(&mut self, cx: &mut task::Context<'_>) -> Poll<Departure> {
        let mut reads_left = READS_IN_A_TURN;
        self.dialogue.outlet().set_waker(cx.waker());
        if let Some(failure) = self.dialogue.outlet().take_failure() {
            return Poll::Ready(failure.into());
        }
        loop {
            self.dialogue.heed_close_request();
            if let Poll::Ready(departure) = self.read(cx, &mut reads_left) {
                return Poll::Ready(departure);
            }
            let was_paused = !self.dialogue.may_read();
            self.dialogue.let_go(cx);
            if let Poll::Ready(Err(error)) = self.dialogue.write(cx) {
                return Poll::Ready(Departure::Io(error));
            }
            if !(was_paused && self.dialogue.may_read()) {
                return self.dialogue.poll_end(cx);
            }
        }
    }

    /// Reads until the socket has no more, the session may not be read, or it is the others' turn.
    fn read(&mut self, cx: &mut task::Context<'_>, reads_left: &mut usize) -> Poll<Departure> {
        READ_BUFFER.with_borrow_mut(|buffer| {
            while self.dialogue.may_read() {
                if *reads_left == 0 {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                *reads_left -= 1;
                if !self.early.is_empty() {
                    self.take_in_early();
                    continue;
                }
                let mut read = ReadBuf::new(buffer);
                let Poll::Ready(result) = self.reader.poll_read(cx, &mut read) else {
                    if self.reader.has_taken_bytes() {
                        self.dialogue.outlet().heard();
                    }
                    return Poll::Pending;
                };
                match result {
                    Ok(()) if read.filled().is_empty() => {
                        self.dialogue.is_at_eof = true;
                        return match self.dialogue.phase {
                            Phase::Open | Phase::Closing => Poll::Ready(Departure::Eof),
                            // What is still to be sent is sent first.
                            Phase::Finishing | Phase::Finished => Poll::Pending,
                        };
                    }
                    Ok(()) => {
                        let bytes = read.filled_mut();
                        let used = self.take_in(bytes);
                        self.early.extend_from_slice(&bytes[used..]);
                    }
                    Err(error) => return Poll::Ready(Departure::Io(error)),
                }
            }
            Poll::Pending
        })
    }

    /// Takes in a part of what is to be read before the socket.
    fn take_in_early(&mut self) {
        let length = self.early.len().min(READ_BUFFER_BYTES);
        let mut part = self.early.split_to(length);
        let used = self.take_in(&mut part);
        part.advance(used);
        part.unsplit(std::mem::take(&mut self.early));
        if !part.is_empty() {
            self.early = part;
        }
    }

    /// Decodes bytes and acts on what they say. Returns how many were used: not all if the session is
    /// held, or if what they say is so much that others have their turn first.
    fn take_in(&mut self, bytes: &mut [u8]) -> usize {
        self.dialogue.outlet().heard();
        let used = INFLATER.with_borrow_mut(|inflater| {
            let used = self.decode(bytes, inflater);
            inflater.trim();
            used
        });
        self.decoder.drop_handed_out();
        match used {
            Ok(used) => used,
            Err(error) => {
                self.dialogue.give_up(error);
                bytes.len()
            }
        }
    }

    fn decode(&mut self, bytes: &mut [u8], inflater: &mut Inflater) -> Result<usize, FrameError> {
        let (mut used, mut brought_bytes) = (0, 0);
        while used < bytes.len() && self.dialogue.reads_frames() {
            if self.dialogue.held.is_some() || brought_bytes >= READ_BUFFER_BYTES {
                return Ok(used);
            }
            let (count, event) = self.decoder.next(&mut bytes[used..], inflater)?;
            if let Some(event) = event {
                brought_bytes += event.message_bytes();
                self.dialogue.heed(event);
            }
            used += count;
        }
        // Who is leaving says nothing any more that matters.
        Ok(bytes.len())
    }
}

impl Dialogue {
    fn outlet(&self) -> &Outlet {
        self.attachment.outlet()
    }

    fn id(&self) -> u64 {
        self.outlet().address().id.0
    }

    fn reads_frames(&self) -> bool {
        matches!(self.phase, Phase::Open | Phase::Closing)
    }

    /// A session that is closing is read in any case: its peer's answer is waited for.
    fn may_read(&self) -> bool {
        !self.is_at_eof && (self.phase != Phase::Open || self.outlet().may_read())
    }

    fn heed(&mut self, event: Incoming<'_>) {
        log::trace!("session {}: < {event}", self.id());
        match event {
            Incoming::Text(text) => self.act(Message::Text(text.into())),
            Incoming::Binary(bytes) => self.act(Message::Binary(Bytes::copy_from_slice(bytes))),
            // A session that is closing is read whatever it owes, so it must not owe more.
            Incoming::Ping(payload) if self.phase == Phase::Open => {
                self.outlet().queue(frame::encode(Opcode::Pong, payload));
            }
            Incoming::Ping(_) | Incoming::Pong(_) | Incoming::Fragment(_) => {}
            Incoming::Close(close) => self.answer_close(close),
        }
    }

    fn act(&mut self, message: Message) {
        if self.phase != Phase::Open {
            return;
        }
        let turn = self.take_turn();
        if self.plan.kind.speech() == Speech::Plain {
            return match turn {
                Ok(()) => self.act_plainly(message),
                Err(wait) => self.hold(Held::Message(message, Box::pin(tokio::time::sleep(wait)))),
            };
        }
        let read = self.read_action(&message);
        if let Err(wait) = turn {
            let id = read.ok().and_then(|(_, id)| id);
            return self.refuse_for_now(id, wait);
        }
        let (action, id) = match read {
            Ok(read) => read,
            Err(error) => return self.refuse(error, None),
        };
        if !self.plan.access.rights.act {
            // Not in the order: who may only read must not fill the journal.
            let error = ActionError::new(ErrorCode::Forbidden, "you may not act in this room");
            return self.refuse(error, id);
        }
        match self.plan.kind.decode(Input::Action(action, self.plan.dialect)) {
            Ok(action) => self.send(id, Deed::Apply(action), None),
            // What is no action uses up its number all the same, so it has its place in the order.
            Err(error) if id.is_some() && self.plan.client.is_some() => {
                self.send(id, Deed::Refuse, Some(error));
            }
            Err(error) => self.refuse(error, id),
        }
    }

    fn act_plainly(&self, message: Message) {
        if !self.plan.access.rights.act {
            let error = ActionError::new(ErrorCode::Forbidden, "no right to act in this room");
            return self.refuse(error, None);
        }
        match self.plan.kind.decode(Input::Plain(message)) {
            Ok(action) => self.send(None, Deed::Apply(action), None),
            Err(error) => self.refuse(error, None),
        }
    }

    /// Takes the turn of one action.
    ///
    /// # Errors
    /// After how long there is one.
    fn take_turn(&self) -> Result<(), Duration> {
        self.allowance.as_ref().map_or(Ok(()), |allowance| allowance.take(&self.plan.permit))
    }

    /// Tells the client when to send an action again that came too soon, and lets it go if it has
    /// not heeded that.
    fn refuse_for_now(&mut self, id: Option<u64>, wait: Duration) {
        if self.allowance.as_ref().is_some_and(Allowance::is_flooding) {
            return self.close(CloseCode::FLOOD);
        }
        let message = "more actions than the server takes from you: wait, then send this one again";
        let error = ActionError::new(ErrorCode::RateLimited, message);
        self.log_refusal(&error);
        // At most some seconds; rounded up, so that who waits so long does not come too soon.
        let retry_after_ms = Some(wait.as_millis() as u64 + 1);
        let event = Event::Error(Refused { retry_after_ms, ..Refused::new(error, id) });
        let frame = encoded::encode(&event, self.outlet().form());
        match self.outlet().is_answered() {
            true => self.outlet().queue(frame),
            false => self.hold(Held::Refusal(frame)),
        }
    }

    /// Takes nothing in until `held` is let go.
    fn hold(&mut self, held: Held) {
        self.outlet().hold(true);
        self.held = Some(held);
    }

    /// Lets go what was held, if its time has come. Else the task is woken when it has.
    fn let_go(&mut self, cx: &mut task::Context<'_>) {
        match self.held.take() {
            Some(Held::Refusal(frame)) if self.outlet().is_answered() => {
                self.outlet().hold(false);
                self.outlet().queue(frame);
            }
            Some(Held::Message(message, mut time)) if !self.outlet().is_draining() => {
                while time.as_mut().poll(cx).is_ready() {
                    match self.take_turn() {
                        Ok(()) => {
                            self.outlet().hold(false);
                            return self.act_plainly(message);
                        }
                        // Others of its address were faster.
                        Err(wait) => time = Box::pin(tokio::time::sleep(wait)),
                    }
                }
                self.held = Some(Held::Message(message, time));
            }
            held => self.held = held,
        }
    }

    /// Reads what all actions have in common: they are objects, and may have a number.
    fn read_action(
        &self,
        message: &Message,
    ) -> Result<(Map<String, Value>, Option<u64>), ActionError> {
        let action = json::object(message)?;
        let id = match self.plan.dialect {
            Dialect::Classic => None,
            Dialect::V1 => action::id(&action)?,
        };
        Ok((action, id))
    }

    /// Sends an action to be put in order.
    fn send(&self, id: Option<u64>, deed: Deed, fault: Option<ActionError>) {
        if let Some(fault) = &fault {
            self.log_refusal(fault);
        }
        let length = match &deed {
            Deed::Apply(action) => action.as_bytes().len(),
            _ => 0,
        };
        let cost = self.outlet().take_credit(length);
        let verdict = fault.map(Err);
        let sender = Some(Sender { session: self.outlet().address(), id, verdict });
        let (client, permit) = (self.plan.client, Some(self.plan.permit.clone()));
        self.server.do_send(Act { place: None, sender, client, deed, cost, permit });
    }

    fn log_refusal(&self, error: &ActionError) {
        log_limited!(log::Level::Warn, "session {}: refused {error}", self.id());
    }

    /// Tells the client what was wrong with what it sent.
    fn refuse(&self, error: ActionError, id: Option<u64>) {
        self.log_refusal(&error);
        if self.plan.kind.speech() == Speech::Events {
            let event = Event::Error(Refused::new(error, id));
            self.outlet().queue(encoded::encode(&event, self.outlet().form()));
        }
    }

    /// The peer closes, or answers our close.
    fn answer_close(&mut self, close: Option<(u16, &str)>) {
        log::debug!("session {}: the peer sent close {close:?}", self.id());
        if self.phase == Phase::Open {
            // The same code comes back; none if there was none (RFC 6455, section 5.5.1).
            let answer = match close {
                Some((code, _)) => frame::encode_close(CloseCode(code), ""),
                None => frame::encode(Opcode::Close, b""),
            };
            self.close_frame = Some(answer);
        }
        self.leave(Phase::Finishing);
    }

    /// What the peer sent has no meaning: say why, and end.
    fn give_up(&mut self, error: FrameError) {
        let code = error.close_code();
        log::debug!("session {}: closing with {code}: {error}", self.id());
        if self.phase == Phase::Open {
            self.close_frame = Some(frame::encode_close(code, &error.to_string()));
        }
        self.leave(Phase::Finishing);
    }

    /// Starts the closing handshake if the server wants the session closed.
    fn heed_close_request(&mut self) {
        if let (Phase::Open, Some(code)) = (self.phase, self.outlet().close_requested()) {
            self.close(code);
        }
    }

    /// Starts the closing handshake.
    fn close(&mut self, code: CloseCode) {
        log::debug!("session {}: closing with {code}", self.id());
        self.close_frame = Some(frame::encode_close(code, code.meaning()));
        self.leave(Phase::Closing);
    }

    /// Counts the session out and gives it `close_timeout` to end.
    fn leave(&mut self, phase: Phase) {
        self.presence = None;
        self.phase = phase;
        // Nothing that comes in is an action any more.
        if let Some(Held::Refusal(frame)) = self.held.take() {
            self.outlet().queue(frame);
        }
        self.outlet().hold(false);
        let timeout = self.close_timeout;
        self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
    }

    fn write(&mut self, cx: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        if self.close_frame.is_some()
            && self.outlet().is_answered()
            && let Some(frame) = self.close_frame.take()
        {
            self.outlet().queue_close(frame);
        }
        task::ready!(self.outlet().poll_flush(cx))?;
        if self.outlet().must_ask_for_state() {
            self.server.do_send(Refresh { session: self.outlet().address() });
        }
        if self.close_frame.is_none() && self.phase == Phase::Finishing {
            task::ready!(self.outlet().poll_shut_down(cx))?;
            self.phase = Phase::Finished;
        }
        Poll::Ready(Ok(()))
    }

    /// Ready when nothing is left to be done, or the time for it is over.
    fn poll_end(&mut self, cx: &mut task::Context<'_>) -> Poll<Departure> {
        if self.is_at_eof && self.phase == Phase::Finished {
            return Poll::Ready(Departure::Closed);
        }
        match &mut self.deadline {
            Some(deadline) => deadline.as_mut().poll(cx).map(|()| Departure::CloseTimeout),
            None => Poll::Pending,
        }
    }
}

impl From<Failure> for Departure {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Write(error) => Self::Io(error),
            Failure::Dead => Self::Dead,
        }
    }
}

impl Actor for Session {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let dialogue = &mut self.dialogue;
        let session = dialogue.outlet().address();
        dialogue.presence = Some(Presence::enter(&dialogue.server, &dialogue.plan, session));
        ctx.spawn(Drive);
    }
}

/// Drives the session until it ends.
struct Drive;

impl ActorFuture<Session> for Drive {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        session: &mut Session,
        ctx: &mut Context<Session>,
        task: &mut task::Context<'_>,
    ) -> Poll<()> {
        let departure = task::ready!(session.drive(task));
        log::debug!("session {}: {departure}", session.dialogue.id());
        if let Departure::Dead | Departure::CloseTimeout = departure {
            session.reset_on_close();
        }
        ctx.stop();
        Poll::Ready(())
    }
}
