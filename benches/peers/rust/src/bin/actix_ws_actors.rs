//! actix-web-actors as its examples have it: an actor for each session, and one for the room, which
//! sends each event to each of them. This is what a first version would look like.

use std::collections::HashMap;
use std::net::{Ipv4Addr, TcpListener};

use actix::{
    Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, ContextFutureSpawner,
    Handler, Message, Recipient, StreamHandler, WrapFuture,
};
use actix_web::web::{Data, Payload, get};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use actix_web_actors::ws;
use anyhow::Result;
use bytestring::ByteString;
use clap::Parser;
use statesync_peers::{
    PRESENCE_INTERVAL, change_of, prepare_process, print_ready, state_event, users_event,
};

/// The counter with actix-web-actors
#[derive(Parser)]
struct Options {
    /// Where to listen on 127.0.0.1; 0 is any free port
    #[arg(default_value_t = 0)]
    port: u16,
    /// Workers of actix-web. The room has a thread of its own beside them
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    threads: u16,
}

#[actix_web::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    prepare_process()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port))?;
    let address = listener.local_addr()?;
    let room = Room::default().start();
    let app = move || App::new().app_data(Data::new(room.clone())).route("/", get().to(join));
    let server = HttpServer::new(app)
        .workers(usize::from(options.threads))
        .tcp_nodelay(true)
        .disable_signals()
        .listen(listener)?
        .run();
    print_ready(address);
    Ok(server.await?)
}

async fn join(
    request: HttpRequest,
    stream: Payload,
    room: Data<Addr<Room>>,
) -> actix_web::Result<HttpResponse> {
    ws::start(Session { number: 0, room: room.get_ref().clone() }, &request, stream)
}

/// An event for one session.
#[derive(Message)]
#[rtype(result = "()")]
struct Event(ByteString);

/// A session is there. It is told its number.
#[derive(Message)]
#[rtype(result = "usize")]
struct Enter(Recipient<Event>);

/// A session has gone.
#[derive(Message)]
#[rtype(result = "()")]
struct Leave(usize);

/// Somebody wants to change the value.
#[derive(Message)]
#[rtype(result = "()")]
struct Change(i64);

#[derive(Default)]
struct Room {
    value: i64,
    sessions: HashMap<usize, Recipient<Event>>,
    last_number: usize,
    /// Whether all are to be told soon how many are here.
    presence_due: bool,
}

impl Room {
    fn tell_all(&self, event: String) {
        let event = ByteString::from(event);
        for session in self.sessions.values() {
            session.do_send(Event(event.clone()));
        }
    }

    /// Many who come and go at once are told of once.
    fn presence_changed(&mut self, context: &mut Context<Self>) {
        if !self.presence_due {
            self.presence_due = true;
            context.run_later(PRESENCE_INTERVAL, |room, _| {
                room.presence_due = false;
                room.tell_all(users_event(room.sessions.len()));
            });
        }
    }
}

impl Actor for Room {
    type Context = Context<Self>;
}

impl Handler<Enter> for Room {
    type Result = usize;

    fn handle(&mut self, Enter(session): Enter, context: &mut Self::Context) -> usize {
        self.last_number += 1;
        for event in [users_event(self.sessions.len() + 1), state_event(self.value)] {
            session.do_send(Event(event.into()));
        }
        self.sessions.insert(self.last_number, session);
        self.presence_changed(context);
        self.last_number
    }
}

impl Handler<Leave> for Room {
    type Result = ();

    fn handle(&mut self, Leave(number): Leave, context: &mut Self::Context) {
        self.sessions.remove(&number);
        self.presence_changed(context);
    }
}

impl Handler<Change> for Room {
    type Result = ();

    fn handle(&mut self, Change(change): Change, _: &mut Self::Context) {
        self.value += change;
        self.tell_all(state_event(self.value));
    }
}

struct Session {
    /// What the room knows it by.
    number: usize,
    room: Addr<Room>,
}

impl Session {
    /// What is no action is ignored.
    fn act(&self, action: &[u8]) {
        if let Ok(change) = change_of(action) {
            self.room.do_send(Change(change));
        }
    }
}

impl Actor for Session {
    type Context = ws::WebsocketContext<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        let enter = Enter(context.address().recipient());
        self.room
            .send(enter)
            .into_actor(self)
            .then(|number, session, context| {
                match number {
                    Ok(number) => session.number = number,
                    Err(_) => context.stop(),
                }
                actix::fut::ready(())
            })
            .wait(context);
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        self.room.do_send(Leave(self.number));
    }
}

impl Handler<Event> for Session {
    type Result = ();

    fn handle(&mut self, Event(event): Event, context: &mut Self::Context) {
        context.text(event);
    }
}

impl StreamHandler<Result<ws::Message, ws::ProtocolError>> for Session {
    fn handle(
        &mut self,
        message: Result<ws::Message, ws::ProtocolError>,
        context: &mut Self::Context,
    ) {
        match message {
            Ok(ws::Message::Text(text)) => self.act(text.as_bytes()),
            Ok(ws::Message::Binary(bytes)) => self.act(&bytes),
            Ok(ws::Message::Ping(payload)) => context.pong(&payload),
            Ok(ws::Message::Pong(_) | ws::Message::Nop) => {}
            Ok(ws::Message::Close(reason)) => {
                context.close(reason);
                context.stop();
            }
            // Fragments are not known here.
            Ok(ws::Message::Continuation(_)) | Err(_) => context.stop(),
        }
    }
}
