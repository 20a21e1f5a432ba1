//! The way out to one session: shared by its actor and the rounds of its thread.

use super::{
    MAX_FRAMES_IN_A_WRITE, Outbox,
    audience::{Common, Turn},
    heartbeat::{Heartbeat, HeartbeatTimes, Verdict},
    ration::Ration,
};
use crate::{
    protocol::{CloseCode, WireForm, frame},
    socket::WriteHalf,
    state::{SessionAddress, Topic},
};
use bytes::Bytes;
use std::{
    cell::{Cell, RefCell},
    io::{self, IoSlice},
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Instant,
};

/// Actions that are on their way to the `StateServer` hold so much credit, in bytes, before their
/// session is read on: enough that a batch never waits for it, and it bounds the mailbox.
pub const MAX_IN_FLIGHT_BYTES: usize = 64 * 1024;

/// What an action costs besides its bytes: its places in the mailbox, in a batch and in an inbox.
/// So at most 64 small actions of a session are on their way.
pub const ACTION_OVERHEAD_BYTES: usize = 1024;

/// What an outlet writes to.
#[derive(Debug)]
pub enum Link {
    /// A socket that rounds write to directly.
    Socket(WriteHalf),
    /// A response body that takes what is there whenever it is polled.
    Body,
}

/// One session's way out.
#[derive(Debug)]
pub struct Outlet {
    address: SessionAddress,
    common: Rc<Common>,
    form: WireForm,
    link: Link,
    outbox: RefCell<Outbox>,
    /// Wakes the session's task.
    waker: RefCell<Option<Waker>>,
    heartbeat: Cell<Heartbeat>,
    in_flight_bytes: Cell<usize>,
    /// The session's task waits for the last answer.
    awaits_answers: Cell<bool>,
    /// The session is not read for now, for a reason of its own.
    is_held: Cell<bool>,
    /// When the client's right to be here ends.
    ends_at: Cell<Option<Instant>>,
    /// It skipped changes, and has asked for the state.
    asked_for_state: Cell<bool>,
    /// The server wants the session closed.
    close_requested: Cell<Option<CloseCode>>,
    /// Nothing is sent any more: a close frame was queued.
    is_closed: Cell<bool>,
    failure: RefCell<Option<Failure>>,
    pub(super) hall: Cell<Option<super::audience::Place>>,
    /// How many frames of the current turn the session has been given.
    pub(super) turn_mark: Cell<usize>,
    ration: Cell<Ration>,
    /// A state was skipped in the current turn.
    has_skipped: Cell<bool>,
}

/// Why a session ends without a closing handshake.
#[derive(Debug)]
pub enum Failure {
    /// Its socket cannot be written to.
    Write(io::Error),
    /// No sign of life in time.
    Dead,
}

impl Outlet {
    pub(super) fn new(
        form: WireForm,
        link: Link,
        max_pending_bytes: usize,
        address: SessionAddress,
        common: Rc<Common>,
    ) -> Self {
        Self {
            address,
            common,
            form,
            link,
            outbox: RefCell::new(Outbox::new(max_pending_bytes)),
            waker: RefCell::new(None),
            heartbeat: Cell::new(Heartbeat::new(Instant::now())),
            in_flight_bytes: Cell::new(0),
            awaits_answers: Cell::new(false),
            is_held: Cell::new(false),
            ends_at: Cell::new(None),
            asked_for_state: Cell::new(false),
            close_requested: Cell::new(None),
            is_closed: Cell::new(false),
            failure: RefCell::new(None),
            hall: Cell::new(None),
            turn_mark: Cell::new(0),
            ration: Cell::default(),
            has_skipped: Cell::new(false),
        }
    }

    /// The form the session reads.
    pub fn form(&self) -> WireForm {
        self.form
    }

    /// Where the session is reached.
    pub fn address(&self) -> SessionAddress {
        self.address
    }

    /// The task to wake when the session has something to do.
    pub fn set_waker(&self, waker: &Waker) {
        match &mut *self.waker.borrow_mut() {
            Some(old) => old.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }

    pub(super) fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Queues a frame of the session's own: an answer, a pong. [`Outlet::poll_flush`] sends it.
    pub fn queue(&self, frame: Bytes) {
        self.queue_event(frame, None);
    }

    pub(super) fn queue_event(&self, frame: Bytes, topic: Option<Topic>) {
        self.push(&frame, 0, topic);
    }

    /// Queues the last frame; what comes after it is dropped.
    pub fn queue_close(&self, frame: Bytes) {
        self.queue(frame);
        self.is_closed.set(true);
    }

    fn push(&self, frame: &Bytes, sent: usize, topic: Option<Topic>) {
        if !self.is_closed.get() {
            if sent == 0 {
                self.trace(frame);
            }
            let overflow = self.outbox.borrow_mut().push(frame.clone(), sent, topic);
            match overflow {
                Some(Topic::Message) => self.request_close(CloseCode::TOO_SLOW),
                Some(Topic::State | Topic::Users) => self.has_skipped.set(true),
                // It may be the task's turn to ask for the state, when all else is sent.
                Some(Topic::Change) => self.wake(),
                None => {}
            }
        }
    }

    /// What may not be skipped was lost on the way here.
    pub(super) fn lose(&self, topic: Topic) {
        match topic {
            Topic::Change => {
                self.outbox.borrow_mut().lose_changes();
                self.wake();
            }
            Topic::Message => self.request_close(CloseCode::TOO_SLOW),
            Topic::State | Topic::Users => {}
        }
    }

    /// The session gets changes again: it is told the state next.
    pub(super) fn resume(&self) {
        self.outbox.borrow_mut().resume();
        self.asked_for_state.set(false);
    }

    /// Whether the session has to ask for the state now: it skipped changes, and what is left of
    /// those before is sent. Said once.
    pub fn must_ask_for_state(&self) -> bool {
        let outbox = self.outbox.borrow();
        outbox.is_behind() && outbox.is_empty() && !self.asked_for_state.replace(true)
    }

    /// Whether the session may be read: not before the room has greeted it, so that nothing is
    /// answered ahead of that, and not while its answers, or its actions, pile up.
    pub fn may_read(&self) -> bool {
        self.hall.get().is_some()
            && !self.is_draining()
            && !self.is_held.get()
            && self.in_flight_bytes.get() < MAX_IN_FLIGHT_BYTES
            && !self.outbox.borrow().is_full_of_answers()
    }

    /// Whether the server stops, and takes nothing in any more.
    pub fn is_draining(&self) -> bool {
        self.common.is_draining.get()
    }

    /// Stops or resumes reading. The client's silence means nothing meanwhile.
    pub fn hold(&self, is_held: bool) {
        self.is_held.set(is_held);
        self.heard();
    }

    /// Closes the session when the client's right to be here ends, a sweep later at most.
    pub fn end_at(&self, ends_at: Option<Instant>) {
        self.ends_at.set(ends_at);
    }

    /// Takes credit for an action of `length` bytes and says how much, for it to be given back.
    pub fn take_credit(&self, length: usize) -> usize {
        let cost = length + ACTION_OVERHEAD_BYTES;
        let unanswered = &self.common.unanswered_actions;
        unanswered.set(unanswered.get() + 1);
        self.in_flight_bytes.set(self.in_flight_bytes.get() + cost);
        cost
    }

    /// Whether every action of the session was answered. If not, its task is woken when they are.
    pub fn is_answered(&self) -> bool {
        self.awaits_answers.set(true);
        self.in_flight_bytes.get() == 0
    }

    pub(super) fn give_credit_back(&self, cost: usize) {
        let before = self.in_flight_bytes.get();
        self.in_flight_bytes.set(before.saturating_sub(cost));
        if self.awaits_answers.get() && self.in_flight_bytes.get() == 0 {
            self.wake();
        }
        if before >= MAX_IN_FLIGHT_BYTES {
            // Not the client was silent, but the server did not listen.
            self.heard();
            self.wake();
        }
    }

    /// Bytes came from the client.
    pub fn heard(&self) {
        self.change_heartbeat(|heartbeat| heartbeat.heard(Instant::now()));
    }

    /// The client does not take what is there for it.
    fn blocked(&self) {
        self.change_heartbeat(|heartbeat| heartbeat.blocked(Instant::now()));
    }

    fn accepted(&self, waits: bool) {
        self.change_heartbeat(|heartbeat| heartbeat.accepted(Instant::now(), waits));
    }

    fn change_heartbeat(&self, change: impl FnOnce(&mut Heartbeat)) {
        let mut heartbeat = self.heartbeat.get();
        change(&mut heartbeat);
        self.heartbeat.set(heartbeat);
    }

    /// Pings the session, or lets it go, if it is time.
    pub(super) fn sweep(&self, now: Instant, times: HeartbeatTimes) {
        if self.ends_at.get().is_some_and(|end| end <= now) {
            self.ends_at.set(None);
            self.request_close(CloseCode::UNAUTHORIZED);
        }
        if self.in_flight_bytes.get() >= MAX_IN_FLIGHT_BYTES || self.is_held.get() {
            // Not the client is silent, but the server does not listen before it has answered.
            self.heard();
        }
        match self.heartbeat.get().check(now, times) {
            Verdict::Alive => {}
            // A body that is not polled says nothing about its client: that is the kernel's to judge.
            Verdict::Dead if matches!(self.link, Link::Body) => {}
            Verdict::Dead => self.fail(Failure::Dead),
            Verdict::Ping => {
                match self.form {
                    WireForm::WebSocket | WireForm::V1 | WireForm::Deflated(..) => {
                        self.queue(frame::encode(frame::Opcode::Ping, b""));
                        self.change_heartbeat(|heartbeat| heartbeat.pinged(now));
                    }
                    // An event stream cannot answer. A comment line keeps proxies from forgetting
                    // it, and ends it if it is not acknowledged (TCP_USER_TIMEOUT).
                    WireForm::EventStream => {
                        self.queue(Bytes::from_static(b":\n\n"));
                        self.change_heartbeat(|heartbeat| heartbeat.heard(now));
                    }
                }
                self.flush_or_wake();
            }
        }
    }

    fn fail(&self, failure: Failure) {
        self.failure.borrow_mut().get_or_insert(failure);
        self.is_closed.set(true);
        self.wake();
    }

    /// Asks the session to close with `code` after what is queued.
    pub(super) fn request_close(&self, code: CloseCode) {
        if self.close_requested.get().is_none() {
            self.close_requested.set(Some(code));
        }
        self.wake();
    }

    /// The code the server wants the session closed with, if it does.
    pub fn close_requested(&self) -> Option<CloseCode> {
        self.close_requested.get()
    }

    /// Why the session cannot go on, if it cannot. Given once.
    pub fn take_failure(&self) -> Option<Failure> {
        self.failure.borrow_mut().take()
    }

    /// Queues what the session has not been given of this turn. Its mark says how much it has; it
    /// is 0 outside of a round.
    pub(super) fn catch_up(&self, frames: &[(Topic, Bytes)]) {
        let mark = self.turn_mark.replace(frames.len());
        for (topic, frame) in &frames[mark..] {
            self.push(frame, 0, Some(*topic));
        }
    }

    /// Ends the turn for the session: what it has not been given goes out, in one write if its
    /// socket takes it. Returns whether the session is told only the newest from here on.
    pub(super) fn offer(&self, turn: &Turn) -> bool {
        match &self.link {
            _ if self.is_closed.get() => {}
            _ if self.skips(turn) => self.offer_newest(turn),
            Link::Socket(socket) if self.takes_whole_turn(socket) => {
                let is_empty = self.outbox.borrow().is_empty();
                match is_empty {
                    true => self.write_now(socket, turn),
                    false => self.write_behind(socket, turn),
                }
            }
            _ => {
                self.catch_up(&turn.frames);
                self.flush_or_wake();
            }
        }
        self.turn_mark.set(0);
        if self.has_skipped.take() {
            self.ration.set(self.ration.get().skipped(turn.at));
        }
        self.ration.get().is_newest()
    }

    /// Whether the session is told only the newest of this turn.
    fn skips(&self, turn: &Turn) -> bool {
        let mut ration = self.ration.get();
        if ration.is_newest() && self.has_taken_all() {
            ration = ration.caught_up(turn.at);
            self.ration.set(ration);
        }
        ration.is_newest()
    }

    fn has_taken_all(&self) -> bool {
        let holds_bytes = matches!(&self.link, Link::Socket(socket) if socket.holds_bytes());
        !holds_bytes && self.outbox.borrow().is_empty()
    }

    /// Ends the turn for a session that does not keep up: of states and counts it is given the
    /// newest, and what waits of them goes.
    fn offer_newest(&self, turn: &Turn) {
        let mark = self.turn_mark.get();
        for index in turn.kept().iter().filter(|index| **index >= mark) {
            let (topic, frame) = &turn.frames[*index];
            self.push(frame, 0, Some(*topic));
        }
        self.outbox.borrow_mut().drop_superseded();
        self.flush_or_wake();
    }

    /// Whether the turn may go out as it is, in one write with the little that is queued: nothing of
    /// it was given, is held back, or is a change that builds on one that was skipped.
    fn takes_whole_turn(&self, socket: &WriteHalf) -> bool {
        let outbox = self.outbox.borrow();
        let is_open = self.turn_mark.get() == 0 && !socket.holds_bytes();
        is_open && !outbox.is_behind() && outbox.len() < MAX_FRAMES_IN_A_WRITE
    }

    fn write_now(&self, socket: &WriteHalf, turn: &Turn) {
        match socket.try_write(turn.merged()) {
            Ok(sent) if sent == turn.merged().len() => self.took_all(socket, turn),
            Ok(sent) => self.keep_rest(turn, sent),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.keep_rest(turn, 0),
            Err(error) => self.fail(Failure::Write(error)),
        }
    }

    /// The same behind what is queued, in one write.
    fn write_behind(&self, socket: &WriteHalf, turn: &Turn) {
        let mut outbox = self.outbox.borrow_mut();
        let mut slices = [IoSlice::new(&[]); MAX_FRAMES_IN_A_WRITE];
        let queued = outbox.len();
        outbox.fill(&mut slices[..queued]);
        let queued_bytes: usize = slices[..queued].iter().map(|slice| slice.len()).sum();
        slices[queued] = IoSlice::new(turn.merged());
        let sent = match socket.try_write_vectored(&slices[..=queued]) {
            Ok(sent) => sent,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return self.fail(Failure::Write(error)),
        };
        outbox.advance(sent.min(queued_bytes));
        drop(outbox);
        if sent > 0 {
            let takes_all = sent == queued_bytes + turn.merged().len();
            self.accepted(!takes_all || socket.holds_bytes());
        }
        match sent.saturating_sub(queued_bytes) {
            all if all == turn.merged().len() => self.took_all(socket, turn),
            part => self.keep_rest(turn, part),
        }
    }

    /// The socket took a turn, though TLS may hold the end of it.
    fn took_all(&self, socket: &WriteHalf, turn: &Turn) {
        turn.frames.iter().for_each(|(_, frame)| self.trace(frame));
        if socket.holds_bytes() {
            self.blocked();
            self.wake();
        }
    }

    /// Queues what the socket did not take of a turn.
    fn keep_rest(&self, turn: &Turn, mut sent: usize) {
        for (topic, frame) in &turn.frames {
            if sent < frame.len() {
                self.push(frame, sent, Some(*topic));
            } else {
                self.trace(frame);
            }
            sent = sent.saturating_sub(frame.len());
        }
        self.blocked();
        self.wake();
    }

    /// Shows a frame that goes out, if anybody looks.
    fn trace(&self, frame: &Bytes) {
        if log::log_enabled!(log::Level::Trace) {
            let shown = match self.form {
                WireForm::EventStream => format!("{frame:?}"),
                _ => frame::describe(frame),
            };
            log::trace!("session {}: > {shown}", self.address.id.0);
        }
    }

    /// Sends what is queued, from a round: what the socket does not take, its task sends.
    pub(super) fn flush_or_wake(&self) {
        if let Link::Body = self.link {
            self.blocked();
            return self.wake();
        }
        match self.flush() {
            Ok(true) => {}
            Ok(false) => {
                self.blocked();
                self.wake();
            }
            Err(error) => self.fail(Failure::Write(error)),
        }
    }

    /// Writes until the outbox is empty (true) or the socket takes no more.
    fn flush(&self) -> io::Result<bool> {
        let Link::Socket(socket) = &self.link else { return Ok(true) };
        let mut outbox = self.outbox.borrow_mut();
        loop {
            if socket.holds_bytes() {
                // What is queued stays there until the socket has taken what was encrypted before.
                if socket.try_send_held()? > 0 {
                    self.accepted(socket.holds_bytes() || !outbox.is_empty());
                }
                if socket.holds_bytes() {
                    return Ok(false);
                }
            }
            if outbox.is_empty() {
                return Ok(true);
            }
            let mut slices = [IoSlice::new(&[]); MAX_FRAMES_IN_A_WRITE];
            let filled = outbox.fill(&mut slices);
            match socket.try_write_vectored(&slices[..filled]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(sent) => {
                    outbox.advance(sent);
                    self.accepted(!outbox.is_empty() || socket.holds_bytes());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends what is queued, from the session's task. Ready when all is sent; else the task is
    /// woken when the socket takes more.
    ///
    /// # Errors
    /// The socket's, which ends the session.
    pub fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Link::Socket(socket) = &self.link else { return Poll::Ready(Ok(())) };
        while !self.flush()? {
            self.blocked();
            // Ready here means that the socket took more meanwhile.
            std::task::ready!(socket.poll_write_ready(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Takes all that is queued for a body.
    pub fn take_all(&self) -> Option<Bytes> {
        let mut outbox = self.outbox.borrow_mut();
        if outbox.is_empty() {
            return None;
        }
        self.accepted(false);
        Some(outbox.take_all())
    }

    /// Says to the client, from the session's task, that nothing more comes (TLS's word, then
    /// FIN). Ready when it is said.
    ///
    /// # Errors
    /// The socket's; it is closed then anyway.
    pub fn poll_shut_down(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Link::Socket(socket) = &self.link else { return Poll::Ready(Ok(())) };
        socket.close_notify();
        std::task::ready!(self.poll_flush(cx))?;
        Poll::Ready(socket.shut_down())
    }
}
