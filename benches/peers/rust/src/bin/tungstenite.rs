//! tokio-tungstenite: a task for each connection, a broadcast channel from the room to all of them.

use std::future;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::{Context, Result};
use clap::Parser;
use futures_util::{SinkExt, StreamExt};
use statesync_peers::{
    PRESENCE_INTERVAL, change_of, prepare_process, print_ready, state_event, users_event,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{Notify, broadcast};
use tokio::time::sleep;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_async_with_config};

/// So many events may wait for a connection; one that is further behind skips to the newest.
const MOST_WAITING: usize = 1024;
/// It is made with each connection. Actions have some 20 bytes.
const READ_BUFFER_BYTES: usize = 2048;
/// It grows as needed, and is written when it has so much, or when nothing more waits.
const WRITE_BUFFER_BYTES: usize = 16 * 1024;
const LONGEST_MESSAGE_BYTES: usize = 64 * 1024;

/// The counter with tokio-tungstenite
#[derive(Parser)]
struct Options {
    /// Where to listen on 127.0.0.1; 0 is any free port
    #[arg(default_value_t = 0)]
    port: u16,
    /// Worker threads of tokio
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    threads: u16,
}

fn main() -> Result<()> {
    let options = Options::parse();
    prepare_process()?;
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(usize::from(options.threads))
        .enable_all()
        .build()?;
    // A task and not the runtime's main future, which would run on a thread beside the workers.
    runtime.block_on(runtime.spawn(serve(options.port)))?
}

async fn serve(port: u16) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    print_ready(listener.local_addr()?);
    let room = Arc::new(Room::new());
    tokio::spawn(tell_presence(room.clone()));
    loop {
        let (stream, _) = listener.accept().await.context("cannot accept")?;
        let room = room.clone();
        tokio::spawn(async move {
            // Whatever it is, it concerns this connection alone.
            converse(stream, &room).await.ok();
        });
    }
}

struct Room {
    counter: Mutex<Counter>,
    /// Each event is made once; a clone of it shares the text.
    events: broadcast::Sender<Message>,
    presence: Notify,
}

#[derive(Default)]
struct Counter {
    value: i64,
    users: usize,
}

impl Room {
    fn new() -> Room {
        let counter = Mutex::new(Counter::default());
        Room { counter, events: broadcast::Sender::new(MOST_WAITING), presence: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Counter> {
        self.counter.lock().expect("nothing panics while it has the counter")
    }

    fn change(&self, change: i64) {
        let mut counter = self.lock();
        counter.value += change;
        // Under the lock, so that values are sent in order. That nobody may be there is no error.
        self.events.send(Message::text(state_event(counter.value))).ok();
    }

    /// How things are, and what comes from here on.
    fn look(&self) -> ([Message; 2], broadcast::Receiver<Message>) {
        let counter = self.lock();
        let now = [users_event(counter.users), state_event(counter.value)].map(Message::text);
        (now, self.events.subscribe())
    }

    fn enter(&self) -> Presence<'_> {
        self.lock().users += 1;
        self.presence.notify_one();
        Presence(self)
    }
}

/// Counts its connection for as long as it lives.
struct Presence<'a>(&'a Room);

impl Drop for Presence<'_> {
    fn drop(&mut self) {
        self.0.lock().users -= 1;
        self.0.presence.notify_one();
    }
}

/// Tells all how many are here: at once when it was quiet, and not too often.
async fn tell_presence(room: Arc<Room>) {
    loop {
        room.presence.notified().await;
        {
            let counter = room.lock();
            room.events.send(Message::text(users_event(counter.users))).ok();
        }
        sleep(PRESENCE_INTERVAL).await;
    }
}

async fn converse(stream: TcpStream, room: &Room) -> Result<(), Error> {
    stream.set_nodelay(true)?;
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_message_size(Some(LONGEST_MESSAGE_BYTES));
    let mut socket = accept_async_with_config(stream, Some(config)).await?;
    let _presence = room.enter();
    let mut events = greet(&mut socket, room).await?;
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Ok(event) => write_waiting(&mut socket, event, &mut events, room).await?,
                // It skips to the newest.
                Err(RecvError::Lagged(_)) => events = greet(&mut socket, room).await?,
                Err(RecvError::Closed) => future::pending().await,
            },
            message = socket.next() => match message {
                Some(message) => take(message?, room),
                None => return Ok(()),
            },
        }
    }
}

/// Tells how things are: to a newcomer, and to one that has missed some.
async fn greet(
    socket: &mut WebSocketStream<TcpStream>,
    room: &Room,
) -> Result<broadcast::Receiver<Message>, Error> {
    let (now, events) = room.look();
    for event in now {
        socket.feed(event).await?;
    }
    socket.flush().await?;
    Ok(events)
}

/// Writes an event and those that wait behind it, with one write if they fit the buffer.
async fn write_waiting(
    socket: &mut WebSocketStream<TcpStream>,
    event: Message,
    events: &mut broadcast::Receiver<Message>,
    room: &Room,
) -> Result<(), Error> {
    socket.feed(event).await?;
    loop {
        match events.try_recv() {
            Ok(event) => socket.feed(event).await?,
            Err(TryRecvError::Lagged(_)) => *events = greet(socket, room).await?,
            Err(TryRecvError::Empty | TryRecvError::Closed) => return socket.flush().await,
        }
    }
}

/// Pings and closes are answered by the library. What is no action is ignored.
fn take(message: Message, room: &Room) {
    let action = match &message {
        Message::Text(text) => text.as_bytes(),
        Message::Binary(bytes) => bytes,
        _ => return,
    };
    if let Ok(change) = change_of(action) {
        room.change(change);
    }
}
