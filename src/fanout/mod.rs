//! A worker thread's sessions and the rounds of writes to them.
//!
//! The [`Fanout`] actor takes all that waits in its [`Inbox`], merges what is for the same room into
//! one piece of bytes, and writes that piece to each session's socket, straight from the round. A
//! session whose socket does not take it keeps the rest in its [`Outbox`].

mod audience;
mod heartbeat;
mod inbox;
mod outbox;
mod outlet;
mod ration;

pub use audience::{Attachment, Audience};
pub use heartbeat::HeartbeatTimes;
pub use inbox::{Inbox, Parcel};
pub use outbox::{MAX_FRAMES_IN_A_WRITE, Outbox};
pub use outlet::{Failure, Link, Outlet};

use actix::{Actor, AsyncContext, Context, Handler, Message, Recipient, fut::ActorFuture};
use std::{
    collections::VecDeque,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{self, Poll},
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

/// The actor that writes for one worker thread.
pub struct Fanout {
    audience: Rc<Audience>,
    inbox: Arc<Inbox>,
    /// How often sessions are looked at for pings and timeouts.
    sweep_interval: Duration,
    taken: VecDeque<Parcel>,
    /// The most that one round broadcasts: what a socket may leave behind must fit an outbox, so
    /// that nobody who reads as fast as it can skips states.
    max_round_bytes: usize,
    /// What the last round left is delivered before more is taken.
    has_rest: bool,
    gathering: Option<Gathering>,
    _vital: Vital,
}

/// Held by an actor that nothing works without: tells when it is gone, by a panic or by its end.
#[derive(Debug)]
pub struct Vital {
    name: &'static str,
    watch: mpsc::UnboundedSender<&'static str>,
}

impl Vital {
    /// Tells `watch` the `name` when dropped.
    pub fn new(name: &'static str, watch: &mpsc::UnboundedSender<&'static str>) -> Self {
        Self { name, watch: watch.clone() }
    }
}

impl Drop for Vital {
    fn drop(&mut self) {
        // Nobody watches any more when the server has stopped.
        let _ = self.watch.send(self.name);
    }
}

/// A round that has not begun: more for it is about to come.
struct Gathering {
    since: Instant,
    /// Done when all other tasks of the thread have had their turn and sockets were looked at.
    others_ran: Pin<Box<dyn Future<Output = ()>>>,
}

impl Gathering {
    fn new(since: Instant) -> Self {
        Self { since, others_ran: Box::pin(tokio::task::yield_now()) }
    }
}

/// So many parcels are enough for a round.
const MAX_GATHERED: usize = 4096;

/// Rounds that take longer than this are worth gathering for: a write to each of some hundred
/// sockets.
const LONG_ROUND: Duration = Duration::from_micros(250);

/// The part of a round's length that may be spent on gathering for the next.
const GATHERING_SHARE: u32 = 8;

impl Fanout {
    /// An actor for `audience`, which is told what to write through `inbox`.
    pub fn new(
        audience: Rc<Audience>,
        inbox: Arc<Inbox>,
        sweep_interval: Duration,
        max_round_bytes: usize,
        vital: Vital,
    ) -> Self {
        let taken = VecDeque::new();
        let (has_rest, gathering, _vital) = (false, None, vital);
        Self {
            audience,
            inbox,
            sweep_interval,
            taken,
            max_round_bytes,
            has_rest,
            gathering,
            _vital,
        }
    }

    /// Takes what waits, and runs a round when it is time.
    fn poll_round(&mut self, task: &mut task::Context<'_>) {
        if !self.has_rest {
            let answered = self.inbox.take(task.waker(), &mut self.taken);
            self.audience.answered(answered);
        }
        if self.taken.is_empty() || self.poll_gathered(task).is_pending() {
            return;
        }
        self.gathering = None;
        let start = Instant::now();
        self.audience.deliver(&mut self.taken, self.max_round_bytes);
        self.inbox.set_last_round(start.elapsed());
        // The sockets have their turn, then what is left here, or waits in the inbox, goes out.
        self.has_rest = !self.taken.is_empty();
        task.waker().wake_by_ref();
    }

    /// Ready when the round should begin. A long round is worth a short wait: what its sockets
    /// answered meanwhile is read first, and the answers to it go out in the same writes. Without
    /// this, half of the senders would always wait for the round of the other half.
    fn poll_gathered(&mut self, task: &mut task::Context<'_>) -> Poll<()> {
        let last_round = self.inbox.last_round();
        if last_round < LONG_ROUND {
            return Poll::Ready(());
        }
        let now = Instant::now();
        let gathering = self.gathering.get_or_insert_with(|| Gathering::new(now));
        loop {
            task::ready!(gathering.others_ran.as_mut().poll(task));
            let is_over = now.duration_since(gathering.since) >= last_round / GATHERING_SHARE;
            let is_enough = self.has_rest || self.taken.len() >= MAX_GATHERED;
            if is_over || is_enough || self.audience.unanswered_actions() == 0 {
                return Poll::Ready(());
            }
            *gathering = Gathering::new(gathering.since);
        }
    }
}

impl Actor for Fanout {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.spawn(Rounds);
        ctx.run_interval(self.sweep_interval, |this, _| this.audience.sweep(Instant::now()));
    }
}

/// Stop reading sessions, and say so when it is done: the first step of a shutdown.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Drain {
    /// Where to say so.
    pub answer_to: Recipient<Drained>,
}

/// A worker thread's sessions are read no more. It stands in the mailbox behind all that they sent.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Drained;

impl Handler<Drain> for Fanout {
    type Result = ();

    fn handle(&mut self, Drain { answer_to }: Drain, _: &mut Self::Context) {
        self.audience.drain();
        answer_to.do_send(Drained);
    }
}

/// Runs a round whenever the inbox wakes the actor.
struct Rounds;

impl ActorFuture<Fanout> for Rounds {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        fanout: &mut Fanout,
        _: &mut Context<Fanout>,
        task: &mut task::Context<'_>,
    ) -> Poll<()> {
        fanout.poll_round(task);
        Poll::Pending
    }
}
