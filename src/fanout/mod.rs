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

pub use audience::{Attachment, Audience};
pub use inbox::{Inbox, Parcel};
pub use heartbeat::HeartbeatTimes;
pub use outbox::{MAX_FRAMES_IN_A_WRITE, Outbox};
pub use outlet::{Failure, Link, Outlet};

use actix::{Actor, AsyncContext, Context, Handler, Message, Recipient, fut::ActorFuture};
use std::{
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{self, Poll},
    time::{Duration, Instant},
};

/// The actor that writes for one worker thread.
pub struct Fanout {
    audience: Rc<Audience>,
    inbox: Arc<Inbox>,
    /// How often sessions are looked at for pings and timeouts.
    sweep_interval: Duration,
    taken: Vec<Parcel>,
}

impl Fanout {
    /// An actor for `audience`, which is told what to write through `inbox`.
    pub fn new(audience: Rc<Audience>, inbox: Arc<Inbox>, sweep_interval: Duration) -> Self {
        Self { audience, inbox, sweep_interval, taken: Vec::new() }
    }

    fn round(&mut self, task: &mut task::Context<'_>) {
        self.inbox.take(task.waker(), &mut self.taken);
        if self.taken.is_empty() {
            return;
        }
        let start = Instant::now();
        self.audience.deliver(&mut self.taken);
        self.inbox.set_last_round(start.elapsed());
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
pub struct Drained {
    /// The worker thread.
    pub worker: u16,
}

impl Handler<Drain> for Fanout {
    type Result = ();

    fn handle(&mut self, Drain { answer_to }: Drain, _: &mut Self::Context) {
        self.audience.drain();
        answer_to.do_send(Drained { worker: self.audience.worker() });
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
        fanout.round(task);
        Poll::Pending
    }
}
