//! One client: its handshake, the frames it gets, the order it has to see them in.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result, bail, ensure};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, Socket, Type};

use crate::address::Address;
use crate::event::Event;
use crate::frame;

/// The example key of RFC 6455, and the answer that belongs to it.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// The `Sec-WebSocket-Accept` that a server must answer [`KEY`] with.
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// So many clients share a source address on the loopback network: fewer than there are ports for
/// one address.
const CLIENTS_PER_SOURCE: usize = 20_000;

/// Looks on while clients get their events.
///
/// It is called in the middle of a read, so it must be quick.
pub trait Observer {
    /// `client` was shown a value. `before` is the one it knew, which is always lower.
    fn state(&mut self, client: &mut Client, before: Option<i64>, value: i64) -> Result<()>;

    /// `client` was told how many are here.
    fn users(&mut self, _client: &mut Client, _before: Option<u64>, _count: u64) -> Result<()> {
        Ok(())
    }
}

/// What the clients of a load speak.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speech {
    /// The classic protocol.
    Classic,
    /// `statesync.v1`, without an identity.
    V1,
    /// `statesync.v1`, each with an identity and numbered actions.
    Numbered,
}

/// A client on a non-blocking socket.
pub struct Client {
    number: usize,
    speech: Speech,
    /// How many actions it has sent.
    sent: u64,
    stream: TcpStream,
    phase: Phase,
    /// The beginning of a frame whose end has not come yet.
    carry: Vec<u8>,
    /// The last value it was shown.
    pub value: Option<i64>,
    /// The last number of users it was told.
    pub users: Option<u64>,
    /// How many `users` events it got.
    pub users_events: u64,
    /// A sender: the value that answers its last action.
    pub awaited: Option<i64>,
}

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    Connecting,
    Handshake,
    Open,
}

impl Client {
    /// Begins to connect. `number` tells the client from others, and is its token in the poll.
    pub fn connect(
        number: usize,
        server: &Address,
        speech: Speech,
        registry: &Registry,
    ) -> Result<Client> {
        let mut stream = start_connecting(number, server.socket).context("cannot connect")?;
        registry.register(&mut stream, Token(number), Interest::READABLE | Interest::WRITABLE)?;
        Ok(Client {
            number,
            speech,
            sent: 0,
            stream,
            phase: Phase::Connecting,
            carry: Vec::new(),
            value: None,
            users: None,
            users_events: 0,
            awaited: None,
        })
    }

    /// Whether the handshake is over.
    pub fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Goes on connecting, now that the socket can be read or written.
    pub fn shake_hands(
        &mut self,
        server: &Address,
        registry: &Registry,
        buffer: &mut [u8],
        observer: &mut impl Observer,
    ) -> Result<()> {
        if self.phase == Phase::Connecting && !self.ask_for_upgrade(server)? {
            return Ok(());
        }
        self.read(false, buffer, observer)?;
        if self.is_open() {
            // From here on a client only waits for something to read, and writes come through at
            // once or fail.
            registry.reregister(&mut self.stream, Token(self.number), Interest::READABLE)?;
        }
        Ok(())
    }

    /// Sends the request; answers whether the socket was connected already.
    fn ask_for_upgrade(&mut self, server: &Address) -> Result<bool> {
        if let Some(error) = self.stream.take_error()? {
            return Err(error).with_context(|| {
                format!("client {} cannot connect to {}", self.number, server.socket)
            });
        }
        match self.stream.peer_addr() {
            Err(error) if error.kind() == ErrorKind::NotConnected => return Ok(false),
            connected => connected?,
        };
        self.stream.set_nodelay(true)?;
        let Address { authority, path, .. } = server;
        let query = match self.speech {
            Speech::Classic | Speech::V1 => String::new(),
            Speech::Numbered => format!("?client=client-of-the-load-{:06}", self.number),
        };
        let subprotocol = match self.speech {
            Speech::Classic => "",
            Speech::V1 | Speech::Numbered => "Sec-WebSocket-Protocol: statesync.v1\r\n",
        };
        let request = format!(
            "GET {path}{query} HTTP/1.1\r\nHost: {authority}\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\
             {subprotocol}\r\n"
        );
        self.write(request.as_bytes())?;
        self.phase = Phase::Handshake;
        Ok(true)
    }

    /// Takes in everything that waits in the socket. `buffer` is lent for the time of the call;
    /// `ended` tells that the server sends nothing more.
    pub fn read(
        &mut self,
        ended: bool,
        buffer: &mut [u8],
        observer: &mut impl Observer,
    ) -> Result<()> {
        loop {
            let carried = self.carry.len();
            buffer[..carried].copy_from_slice(&self.carry);
            let filled = match self.stream.read(&mut buffer[carried..]) {
                Ok(0) => bail!("the server ended the connection of client {}", self.number),
                Ok(count) => carried + count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    return Err(error)
                        .with_context(|| format!("client {} cannot read", self.number));
                }
            };
            let used = self.take(&buffer[..filled], observer)?;
            ensure!(
                used > 0 || filled < buffer.len(),
                "client {} was sent a frame of {filled} bytes or more",
                self.number
            );
            self.carry.clear();
            self.carry.extend_from_slice(&buffer[used..filled]);
            // A read that did not fill the buffer emptied the socket: the poll tells when more
            // comes.
            if filled < buffer.len() && !ended {
                return Ok(());
            }
        }
    }

    /// Takes what is complete in `bytes`; answers how many bytes that was.
    fn take(&mut self, bytes: &[u8], observer: &mut impl Observer) -> Result<usize> {
        let mut used = 0;
        if self.phase == Phase::Handshake {
            let Some(end) = end_of_head(bytes) else {
                return Ok(0);
            };
            self.check_answer(&bytes[..end])?;
            self.phase = Phase::Open;
            used = end;
        }
        while let Some(frame) = frame::parse(&bytes[used..])? {
            used += frame.size;
            match frame.opcode {
                frame::TEXT => self.take_event(Event::parse(frame.payload)?, observer)?,
                frame::PING => self.write(&frame::masked(frame::PONG, frame.payload))?,
                frame::CLOSE => bail!(
                    "the server closed client {}: {}",
                    self.number,
                    close_reason(frame.payload)
                ),
                _ => {}
            }
        }
        Ok(used)
    }

    fn check_answer(&self, head: &[u8]) -> Result<()> {
        let head = String::from_utf8_lossy(head);
        let accepted = head.starts_with("HTTP/1.1 101 ")
            && head.lines().filter_map(|line| line.split_once(':')).any(|(name, value)| {
                name.eq_ignore_ascii_case("sec-websocket-accept") && value.trim() == ACCEPT
            });
        ensure!(accepted, "the server refused client {} with:\n{head}", self.number);
        Ok(())
    }

    fn take_event(&mut self, event: Event, observer: &mut impl Observer) -> Result<()> {
        match event {
            Event::State(value) => {
                let before = self.value.replace(value);
                if let Some(before) = before
                    && value <= before
                {
                    bail!(
                        "client {} was shown the value {value} after {before}: it can only rise",
                        self.number
                    );
                }
                observer.state(self, before, value)
            }
            Event::Users(count) => {
                let before = self.users.replace(count);
                self.users_events += 1;
                observer.users(self, before, count)
            }
            Event::Other => Ok(()),
        }
    }

    /// Sends its next action.
    pub fn plus(&mut self) -> Result<()> {
        self.sent += 1;
        let action = match self.speech {
            Speech::Classic | Speech::V1 => r#"{"action":"plus"}"#.to_owned(),
            Speech::Numbered => format!(r#"{{"action":"plus","id":{}}}"#, self.sent),
        };
        self.write(&frame::masked(frame::TEXT, action.as_bytes()))
    }

    /// Writes a frame, whole: a client has so little to say that its socket always has room.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self
            .stream
            .write(bytes)
            .with_context(|| format!("client {} cannot write", self.number))?;
        ensure!(
            written == bytes.len(),
            "client {} has no room left in its socket: the server does not read",
            self.number
        );
        Ok(())
    }
}

/// A socket that is being connected. Many clients on the loopback network need more than one source
/// address.
fn start_connecting(number: usize, server: SocketAddr) -> std::io::Result<TcpStream> {
    let source = number / CLIENTS_PER_SOURCE;
    let SocketAddr::V4(address) = server else {
        return TcpStream::connect(server);
    };
    if source == 0 || !address.ip().is_loopback() {
        return TcpStream::connect(server);
    }
    let source =
        Ipv4Addr::from_bits(Ipv4Addr::LOCALHOST.to_bits() + u32::try_from(source).unwrap_or(0));
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.bind(&SocketAddr::from((source, 0)).into())?;
    // Connecting on loopback does not take long enough to be worth doing without blocking.
    socket.connect(&server.into())?;
    socket.set_nonblocking(true)?;
    Ok(TcpStream::from_std(socket.into()))
}

/// Where the head of an HTTP message ends, if its end is there.
pub fn end_of_head(bytes: &[u8]) -> Option<usize> {
    const END: &[u8] = b"\r\n\r\n";
    bytes.windows(END.len()).position(|window| window == END).map(|start| start + END.len())
}

fn close_reason(payload: &[u8]) -> String {
    match payload.split_first_chunk::<2>() {
        Some((code, reason)) => {
            format!("{} {}", u16::from_be_bytes(*code), String::from_utf8_lossy(reason))
        }
        None => "without a code".to_owned(),
    }
}
