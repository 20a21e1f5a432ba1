//! One conversation, over as many connections as it takes.

use super::{
    dial::{self, Dialer, Open},
    ending::Ending,
    options::ConnectArguments,
};
use bytes::Bytes;
use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use statesync::protocol::close::CloseCode;
use std::{
    cell::Cell,
    pin::pin,
    time::{Duration, Instant},
};
use tokio::{
    sync::mpsc::{Receiver, Sender},
    time::{MissedTickBehavior, interval_at, sleep, timeout},
};
use tokio_tungstenite::tungstenite::{
    Error, Message, Utf8Bytes,
    error::ProtocolError,
    http::header::SEC_WEBSOCKET_PROTOCOL,
    protocol::{CloseFrame, frame::coding::CloseCode as WireCode},
};

/// No message may be longer, in either direction: it is in memory as a whole.
pub const MAX_MESSAGE: usize = 64 * 1024 * 1024;

/// How many lines may wait to be sent, and how many news to be shown.
pub const WAITING: usize = 64;

/// The waits before coming back, as in `web/statesync.js`: the first is at most this long, each
/// further one twice that, but not more than the longest.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// A connection that lasts so long makes the waits short again.
const STABLE_AFTER: Duration = Duration::from_secs(5);

/// What there is to show.
#[derive(Debug)]
pub enum News {
    /// There is a connection, with this subprotocol.
    Connected { subprotocol: Option<String> },
    /// A text message.
    Text(Utf8Bytes),
    /// A binary message.
    Binary(Bytes),
    /// A ping of the server; told only with `--ping`.
    Ping,
    /// A pong, and how long after its ping it came, if that was the last of ours.
    Pong { after: Option<Duration> },
    /// There is no connection; the next attempt is after the wait.
    Waiting { ending: Ending, wait: Duration },
}

/// What to connect to, and the two ends of the conversation.
pub struct Session<'a> {
    pub arguments: &'a ConnectArguments,
    pub dialer: &'a Dialer,
    pub reconnects: bool,
    /// How long the connection stays open after the last line.
    pub linger: Duration,
    /// Lines to send. Their end closes the connection.
    pub lines: Receiver<String>,
    pub news: Sender<News>,
}

impl Session<'_> {
    /// Connects, talks, and comes back, until that is over.
    pub async fn run(mut self) -> Ending {
        let mut was_connected = false;
        let mut failures = 0;
        loop {
            let start = Instant::now();
            let ending = self.attempt(&mut was_connected).await;
            if !self.reconnects || !ending.comes_back(was_connected) {
                return ending;
            }
            if start.elapsed() >= STABLE_AFTER {
                failures = 0;
            }
            let wait = longest_wait(failures).mul_f64(fastrand::f64());
            failures += 1;
            self.tell(News::Waiting { ending, wait }).await;
            sleep(wait).await;
        }
    }

    async fn attempt(&mut self, was_connected: &mut bool) -> Ending {
        let limit = self.arguments.timeout;
        let too_late = || {
            let limit = humantime::format_duration(limit);
            Ending::Unreachable(format!("nothing was answered in {limit} (--timeout)"))
        };
        let request = match self.arguments.request() {
            Ok(request) => request,
            Err(error) => return Ending::Unreachable(error),
        };
        let mut socket = match timeout(limit, self.dialer.socket()).await {
            Ok(Ok(socket)) => socket,
            Ok(Err(ending)) => return ending,
            Err(_) => return too_late(),
        };
        let error = match timeout(limit, dial::open(&mut socket, request)).await {
            Ok(Ok((websocket, response))) => {
                *was_connected = true;
                let subprotocol = response.headers().get(SEC_WEBSOCKET_PROTOCOL);
                let subprotocol =
                    subprotocol.map(|name| String::from_utf8_lossy(name.as_bytes()).into_owned());
                self.tell(News::Connected { subprotocol }).await;
                return self.talk(websocket).await;
            }
            Ok(Err(error)) => error,
            Err(_) => return too_late(),
        };
        timeout(limit, dial::failed(error, &mut socket)).await.unwrap_or_else(|_| too_late())
    }

    /// Nobody listens any more only when all is over.
    async fn tell(&self, news: News) {
        let _ = self.news.send(news).await;
    }

    /// Sends and receives until the connection ends. Receiving never waits for sending, or two
    /// ends that both wait to be read would wait forever.
    async fn talk(&mut self, websocket: Open<'_>) -> Ending {
        let (sink, stream) = websocket.split();
        let shared = Shared::default();
        let receiver = Incoming {
            stream,
            news: self.news.clone(),
            shared: &shared,
            shows_pings: self.arguments.ping.is_some(),
            timeout: self.arguments.timeout,
        };
        let mut receiving = pin!(receiver.receive());
        let sender = Outgoing { sink, ping: self.arguments.ping, linger: self.linger };
        let sending = sender.send(&mut self.lines, &shared);
        tokio::select! {
            ending = &mut receiving => return ending,
            // Closed by us. Or sending failed; what was received still tells why.
            () = sending => {}
        }
        let limit = self.arguments.timeout;
        timeout(limit, receiving).await.unwrap_or(Ending::Unanswered(limit))
    }
}

fn longest_wait(failures: u32) -> Duration {
    FIRST_WAIT.saturating_mul(2u32.saturating_pow(failures)).min(LONGEST_WAIT)
}

/// What the two directions of a connection know of each other.
#[derive(Default)]
struct Shared {
    is_closed_by_us: Cell<bool>,
    last_ping: Cell<Option<(u32, Instant)>>,
}

struct Outgoing<'a> {
    sink: SplitSink<Open<'a>, Message>,
    ping: Option<Duration>,
    linger: Duration,
}

impl Outgoing<'_> {
    /// Sends lines and pings; after the last line, a close.
    async fn send(mut self, lines: &mut Receiver<String>, shared: &Shared) {
        let mut number = 0;
        let mut pings = self.ping.map(|period| {
            let mut pings = interval_at(tokio::time::Instant::now() + period, period);
            pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
            pings
        });
        let mut ping_is_due = async || match &mut pings {
            Some(pings) => drop(pings.tick().await),
            None => std::future::pending().await,
        };
        loop {
            let message = tokio::select! {
                line = lines.recv() => match line {
                    Some(line) => Message::text(line),
                    None => break,
                },
                () = ping_is_due() => {
                    number += 1;
                    shared.last_ping.set(Some((number, Instant::now())));
                    Message::Ping(Bytes::copy_from_slice(&number.to_be_bytes()))
                }
            };
            if self.sink.send(message).await.is_err() {
                return;
            }
        }
        sleep(self.linger).await;
        shared.is_closed_by_us.set(true);
        let close = CloseFrame { code: WireCode::Normal, reason: Utf8Bytes::default() };
        // If that fails, the connection is lost, and receiving says so.
        let _ = self.sink.send(Message::Close(Some(close))).await;
    }
}

struct Incoming<'a, 'b> {
    stream: SplitStream<Open<'a>>,
    news: Sender<News>,
    shared: &'b Shared,
    shows_pings: bool,
    timeout: Duration,
}

impl Incoming<'_, '_> {
    async fn receive(mut self) -> Ending {
        loop {
            let news = match self.stream.next().await {
                Some(Ok(Message::Text(text))) => News::Text(text),
                Some(Ok(Message::Binary(bytes))) => News::Binary(bytes),
                Some(Ok(Message::Ping(_))) if self.shows_pings => News::Ping,
                Some(Ok(Message::Pong(payload))) if self.shows_pings => self.pong(&payload),
                Some(Ok(Message::Close(frame))) => return self.closed(frame).await,
                Some(Ok(_)) => continue,
                Some(Err(error)) => return broken(error),
                None => return Ending::Lost("it ended without a close".into()),
            };
            // Nobody listens any more only when all is over.
            let _ = self.news.send(news).await;
        }
    }

    fn pong(&self, payload: &[u8]) -> News {
        let last = self.shared.last_ping.get();
        let of_last = last.filter(|(number, _)| number.to_be_bytes() == payload);
        News::Pong { after: of_last.map(|(_, sent)| sent.elapsed()) }
    }

    /// Reading on sends the answer to the close, and waits for the server to hang up.
    async fn closed(&mut self, frame: Option<CloseFrame>) -> Ending {
        let by_us = self.shared.is_closed_by_us.get();
        let _ = timeout(self.timeout, self.stream.next()).await;
        let (code, reason) = match frame {
            Some(frame) => (Some(CloseCode(frame.code.into())), frame.reason.to_string()),
            None => (None, String::new()),
        };
        Ending::Closed { code, reason, by_us }
    }
}

fn broken(error: Error) -> Ending {
    match error {
        Error::Io(error) => Ending::Lost(error.to_string()),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            Ending::Lost("it ended without a close".into())
        }
        error => Ending::NotUnderstood(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_stay_bounded() {
        let seconds: Vec<u64> = (0..7).map(|failures| longest_wait(failures).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(longest_wait(u32::MAX), LONGEST_WAIT);
    }
}
