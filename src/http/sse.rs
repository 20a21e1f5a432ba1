//! Server-sent events (WHATWG HTML, section 9.2): the same events for those without WebSocket.
//!
//! The actor runs inside the response body: it is polled when the socket takes more, and not at
//! all while the client does not read. Its outbox is bounded meanwhile, and the kernel ends a
//! stalled peer (`TCP_USER_TIMEOUT`), which drops the body, the actor and its [`Presence`].

use super::api;
use crate::{
    fanout::{Attachment, Link},
    protocol::WireForm,
    server::{Refresh, StateServer},
    session::{Plan, Presence, Worker},
};
use actix::{Actor, ActorContext, Addr, AsyncContext, fut::ActorFuture};
use actix_web::{HttpResponse, HttpResponseBuilder, http::header};
use actix_web_actors::HttpContext;
use bytes::Bytes;
use std::{
    pin::Pin,
    task::{self, Poll},
    time::{Duration, Instant},
};

/// What an event source sees first: come back after a second if the connection is lost.
const PREAMBLE: &[u8] = b"retry: 1000\n\n";

/// One event stream.
struct EventStream {
    plan: Plan,
    server: Addr<StateServer>,
    attachment: Attachment,
    presence: Option<Presence>,
    spins: Spins,
}

/// Counts the times that a body is polled though it has nothing to say. actix-http polls without
/// end while a client sends requests behind the one that is being answered; such a client goes.
#[derive(Default)]
struct Spins {
    second: Option<Instant>,
    count: u32,
}

impl Spins {
    /// Far more than sockets and timers cause, far less than a busy loop makes.
    const MAX_IN_A_SECOND: u32 = 5_000;

    fn is_spinning(&mut self, now: Instant) -> bool {
        match self.second {
            Some(start) if now.duration_since(start) < Duration::from_secs(1) => self.count += 1,
            _ => (self.second, self.count) = (Some(now), 0),
        }
        self.count > Self::MAX_IN_A_SECOND
    }
}

/// Answers with the events of `plan`'s room. `origin` is the page's, which the gate let pass.
pub fn respond(plan: Plan, worker: &Worker, origin: Option<&header::HeaderValue>) -> HttpResponse {
    let attachment = worker.seat(WireForm::EventStream, Link::Body);
    attachment.outlet().end_at(plan.ends_at);
    let stream = EventStream {
        plan,
        server: worker.server.clone(),
        attachment,
        presence: None,
        spins: Spins::default(),
    };
    builder(origin).streaming(HttpContext::create(stream))
}

/// Answers HEAD: nobody would read the events, so nobody enters the room.
pub fn head(origin: Option<&header::HeaderValue>) -> HttpResponse {
    // Without a length, which an event stream has not.
    builder(origin).body(actix_web::body::None::new())
}

fn builder(origin: Option<&header::HeaderValue>) -> HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    api::allow_origin(&mut response, origin);
    response
        .insert_header((header::CONTENT_TYPE, "text/event-stream; charset=utf-8"))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::VARY, "Accept, Upgrade, Origin"))
        // nginx would hold events back otherwise.
        .insert_header(("x-accel-buffering", "no"));
    response
}

impl Actor for EventStream {
    type Context = HttpContext<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let session = self.attachment.outlet().address();
        log::debug!("session {}: an event stream", session.id.0);
        ctx.write(Bytes::from_static(PREAMBLE));
        self.presence = Some(Presence::enter(&self.server, &self.plan, session));
        ctx.spawn(Drive);
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        log::debug!("session {}: the event stream ended", self.attachment.outlet().address().id.0);
    }
}

/// Moves events from the outlet to the body whenever the body is polled.
struct Drive;

impl ActorFuture<EventStream> for Drive {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        stream: &mut EventStream,
        ctx: &mut HttpContext<EventStream>,
        task: &mut task::Context<'_>,
    ) -> Poll<()> {
        let outlet = stream.attachment.outlet();
        outlet.set_waker(task.waker());
        let events = outlet.take_all();
        let is_spinning = events.is_none() && stream.spins.is_spinning(Instant::now());
        if let Some(events) = events {
            ctx.write(events);
        }
        if outlet.must_ask_for_state() {
            stream.server.do_send(Refresh { session: outlet.address() });
        }
        if is_spinning {
            let id = outlet.address().id.0;
            log::debug!("session {id}: its requests keep the server spinning");
        } else if outlet.close_requested().is_none() && outlet.take_failure().is_none() {
            return Poll::Pending;
        }
        stream.presence = None;
        ctx.stop();
        Poll::Ready(())
    }
}
