//! One client: its handshake, what it is sent and what it says.

use super::{
    address::Address,
    error::BenchError,
    event::{Event, Reader},
    frame,
    inflate::Compressed,
    options::Protocol,
    traffic::{Kind, View},
};
use mio::{Interest, Registry, Token, net::TcpStream};
use socket2::{Domain, Socket, Type};
use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr},
    time::Instant,
};

/// The example key of RFC 6455, section 1.3, and the answer that belongs to it.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// All reads share one buffer. It holds what one client can be sent while all others are read.
const BUFFER_BYTES: usize = 256 * 1024;
/// A frame may be so large. What `connect` takes as well.
const MAX_FRAME_BYTES: usize = 64 * 1024 * 1024;
/// So much a client keeps of its own buffers while they are empty.
const KEPT_BYTES: usize = 4 * 1024;
/// What the kernel takes for a client that is slow or stalled, about: as little as it allows.
const SMALL_RECEIVE_BUFFER_BYTES: usize = 4 * 1024;
/// What the kernel holds of what a client says, about. By itself it would take megabytes from one
/// whose server does not read: they would count as sent, and keep the server busy long after the end.
const SEND_BUFFER_BYTES: usize = 4 * 1024;
/// Of a refusal, so much is shown.
const SHOWN_BYTES: usize = 500;

/// How clients come in.
pub struct Dial {
    /// Where to.
    pub server: Address,
    /// What they speak.
    pub protocol: Protocol,
    /// With it, each has an identity that begins with this.
    pub identity: Option<String>,
    /// They offer permessage-deflate.
    pub deflate: bool,
    /// So many source addresses on the loopback network.
    pub source_ips: u8,
    /// What the kernel holds for each that reads as fast as it can; `None`: as it likes.
    pub receive_buffer_bytes: Option<usize>,
}

/// What all clients share.
pub struct Tools {
    /// Reads what they are told.
    pub reader: Reader,
    buffer: Vec<u8>,
    compressed: Compressed,
    clock: Instant,
    /// When something was read last, in nanoseconds of [`Tools::clock_ns`].
    pub read_ns: u64,
}

impl Tools {
    /// For clients that speak `protocol`. The clock begins with 0.
    pub fn new(protocol: Protocol) -> Self {
        Self {
            reader: Reader::new(protocol),
            buffer: vec![0; BUFFER_BYTES],
            compressed: Compressed::new(),
            clock: Instant::now(),
            read_ns: 0,
        }
    }

    /// The run's clock, in nanoseconds.
    #[inline]
    pub fn clock_ns(&self) -> u64 {
        self.clock.elapsed().as_nanos() as u64
    }
}

/// Looks on while clients are told things. Called in the middle of a read, so it must be quick.
pub trait Observer {
    /// A client is shown a place.
    fn show(
        &mut self,
        client: usize,
        view: &mut View,
        place: i64,
        now_ns: u64,
    ) -> Result<(), BenchError>;

    /// A client comes in at a place without being shown it.
    fn greet(&mut self, view: &mut View, place: i64) {
        view.place = view.place.max(Some(place));
    }

    /// A client was told how many are here; `before` is what it was told before.
    fn users(&mut self, _view: &View, _before: Option<u64>) {}
}

/// A client on a non-blocking socket.
pub struct Client {
    number: usize,
    stream: TcpStream,
    phase: Phase,
    /// The beginning of a frame whose end has not come yet.
    carry: Vec<u8>,
    /// What the socket has not taken yet.
    out: Vec<u8>,
    /// What it has seen.
    pub view: View,
    /// How many actions it has sent.
    pub sent: u64,
    /// How many of them by the schedule.
    pub scheduled: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Connecting,
    Handshake,
    Open,
    Gone,
}

/// How a connection came to its end.
pub type Ending = String;

impl Client {
    /// Begins to connect. `number` tells the client from others, and is its token in the poll.
    pub fn connect(
        number: usize,
        dial: &Dial,
        view: View,
        registry: &Registry,
    ) -> Result<Self, BenchError> {
        let server = dial.server.socket;
        let receive_buffer_bytes = match view.kind {
            Kind::Slow | Kind::Stalled => Some(SMALL_RECEIVE_BUFFER_BYTES),
            _ => dial.receive_buffer_bytes,
        };
        let mut stream = start_connecting(number, dial, receive_buffer_bytes)
            .map_err(|error| BenchError::Connect { server, error })?;
        registry
            .register(&mut stream, Token(number), Interest::READABLE | Interest::WRITABLE)
            .map_err(|error| BenchError::System("epoll", error))?;
        Ok(Self {
            number,
            stream,
            phase: Phase::Connecting,
            carry: Vec::new(),
            out: Vec::new(),
            view,
            sent: 0,
            scheduled: 0,
        })
    }

    /// Whether the handshake is over, and the connection not.
    #[inline]
    pub fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Whether the connection is over.
    pub fn is_gone(&self) -> bool {
        self.phase == Phase::Gone
    }

    /// The bytes that its socket has not taken yet.
    pub fn unsent_bytes(&self) -> usize {
        self.out.len()
    }

    /// The connection is over.
    pub fn end(&mut self) {
        self.phase = Phase::Gone;
        (self.carry, self.out) = (Vec::new(), Vec::new());
        // It is over whatever this says.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }

    /// Goes on connecting, now that the socket can be written: sends the request.
    pub fn ask_for_upgrade(&mut self, dial: &Dial) -> Result<(), BenchError> {
        if self.phase != Phase::Connecting {
            return Ok(());
        }
        let failed = |error| BenchError::Connect { server: dial.server.socket, error };
        if let Some(error) = self.stream.take_error().map_err(failed)? {
            return Err(failed(error));
        }
        match self.stream.peer_addr() {
            Err(error) if error.kind() == ErrorKind::NotConnected => return Ok(()),
            connected => connected.map_err(failed)?,
        };
        self.stream.set_nodelay(true).map_err(failed)?;
        self.out.extend(self.request(dial).bytes());
        self.phase = Phase::Handshake;
        Ok(())
    }

    fn request(&self, dial: &Dial) -> String {
        let mut path = dial.server.path(self.view.room);
        if dial.protocol == Protocol::SocketIo && path == "/" {
            path = "/socket.io/".to_owned();
        }
        let mut add = |parameter: &str| {
            path.push(if path.contains('?') { '&' } else { '?' });
            path.push_str(parameter);
        };
        if let Some(identity) = &dial.identity {
            add(&format!("client={identity}-{:07}", self.number));
        }
        if dial.protocol == Protocol::SocketIo {
            add("EIO=4&transport=websocket");
        }
        let subprotocol = match dial.protocol {
            Protocol::V1 => "Sec-WebSocket-Protocol: statesync.v1\r\n",
            _ => "",
        };
        let extension = match dial.deflate {
            true => {
                "Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover; \
                 server_no_context_takeover\r\n"
            }
            false => "",
        };
        format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n{subprotocol}{extension}\r\n",
            dial.server.authority
        )
    }

    /// Takes in what waits in the socket, `limit` bytes at most. Returns how the connection ended,
    /// if it did.
    ///
    /// # Errors
    /// What makes the whole run useless: see [`BenchError`].
    pub fn read(
        &mut self,
        limit: usize,
        has_ended: bool,
        dial: &Dial,
        tools: &mut Tools,
        observer: &mut impl Observer,
    ) -> Result<Option<Ending>, BenchError> {
        // There is nothing to read before it is connected.
        let mut left = if self.phase == Phase::Connecting { 0 } else { limit };
        while left > 0 {
            let carried = self.carry.len();
            let end = tools.buffer.len().min(carried.saturating_add(left));
            tools.buffer[..carried].copy_from_slice(&self.carry);
            let count = match self.stream.read(&mut tools.buffer[carried..end]) {
                Ok(0) => return Ok(Some("the server ended it without a close frame".to_owned())),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Ok(Some(error.to_string())),
            };
            tools.read_ns = tools.clock_ns();
            let filled = carried + count;
            left -= count;
            let (used, ending) = self.take(filled, dial, tools, observer)?;
            if ending.is_some() {
                return Ok(ending);
            }
            self.keep(used, filled, tools)?;
            // A read that did not fill the buffer emptied the socket: the poll tells when more
            // comes.
            if filled < end && !has_ended {
                break;
            }
        }
        Ok(None)
    }

    /// Keeps what is not complete for the next read.
    fn keep(&mut self, used: usize, filled: usize, tools: &mut Tools) -> Result<(), BenchError> {
        self.carry.clear();
        if used == filled {
            if self.carry.capacity() > KEPT_BYTES {
                self.carry = Vec::new();
            }
            return Ok(());
        }
        self.carry.extend_from_slice(&tools.buffer[used..filled]);
        if used == 0 && filled == tools.buffer.len() {
            if filled >= MAX_FRAME_BYTES {
                return Err(BenchError::Protocol(format!("a frame of more than {filled} bytes")));
            }
            tools.buffer.resize(2 * filled, 0);
        }
        Ok(())
    }

    /// Takes what is complete in the first `filled` bytes of the buffer; returns how many bytes that
    /// was, and how the server closed the connection, if it did.
    #[inline]
    fn take(
        &mut self,
        filled: usize,
        dial: &Dial,
        tools: &mut Tools,
        observer: &mut impl Observer,
    ) -> Result<(usize, Option<Ending>), BenchError> {
        let Tools { reader, buffer, compressed, read_ns, .. } = tools;
        let bytes = &buffer[..filled];
        let mut used = 0;
        if self.phase == Phase::Handshake {
            let Some(end) = self.check_answer(bytes, dial)? else { return Ok((0, None)) };
            self.phase = Phase::Open;
            used = end;
        }
        while let Some(frame) = frame::parse(&bytes[used..])? {
            used += frame.size;
            match frame.opcode {
                frame::TEXT | frame::BINARY => {
                    let event = match frame.is_compressed {
                        true if !dial.deflate => return Err(unasked_compression()),
                        true => compressed.read(frame.payload, reader)?,
                        false => reader.read(frame.payload)?,
                    };
                    self.take_event(event, *read_ns, observer)?;
                }
                frame::PING => frame::push_masked(&mut self.out, frame::PONG, frame.payload),
                frame::CLOSE => return Ok((used, Some(close_reason(frame.payload)))),
                _ => {}
            }
        }
        Ok((used, None))
    }

    #[inline]
    fn take_event(
        &mut self,
        event: Event,
        now_ns: u64,
        observer: &mut impl Observer,
    ) -> Result<(), BenchError> {
        match event {
            Event::Shown(place) => observer.show(self.number, &mut self.view, place, now_ns)?,
            Event::Greeted(place) => observer.greet(&mut self.view, place),
            Event::Users(count) => {
                let before = self.view.users.replace(count);
                self.view.users_events += 1;
                observer.users(&self.view, before);
            }
            Event::Answer(text) => frame::push_masked(&mut self.out, frame::TEXT, text.as_bytes()),
            Event::Other => {}
        }
        Ok(())
    }

    /// Where the head of the answer ends, once it is there, if it is a good one.
    fn check_answer(&self, bytes: &[u8], dial: &Dial) -> Result<Option<usize>, BenchError> {
        let shown = || String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN_BYTES)]).into_owned();
        let Some(end) = end_of_head(bytes) else { return Ok(None) };
        let head = String::from_utf8_lossy(&bytes[..end]);
        let header = |wanted: &str| {
            let mut headers = head.lines().filter_map(|line| line.split_once(':'));
            let found = headers.find(|(name, _)| name.eq_ignore_ascii_case(wanted));
            found.map(|(_, value)| value.trim().to_owned())
        };
        if !head.starts_with("HTTP/1.1 101 ")
            || header("sec-websocket-accept").as_deref() != Some(ACCEPT)
        {
            return Err(BenchError::Handshake(shown()));
        }
        if dial.protocol == Protocol::V1
            && header("sec-websocket-protocol").as_deref() != Some("statesync.v1")
        {
            return Err(BenchError::Handshake(
                "it does not speak statesync.v1 there: use another --protocol".to_owned(),
            ));
        }
        let extensions = header("sec-websocket-extensions").unwrap_or_default();
        if dial.deflate && !extensions.contains("permessage-deflate") {
            return Err(BenchError::Handshake(
                "it does not compress: leave --deflate out".to_owned(),
            ));
        }
        Ok(Some(end))
    }

    /// Puts a text message behind what is to be sent.
    pub fn say(&mut self, text: &[u8]) {
        frame::push_masked(&mut self.out, frame::TEXT, text);
    }

    /// Puts a close frame (1000) behind what is to be sent.
    pub fn say_goodbye(&mut self) {
        frame::push_masked(&mut self.out, frame::CLOSE, &1000_u16.to_be_bytes());
    }

    /// Writes what is to be sent, as far as the socket takes it. Returns how the connection ended,
    /// if it did.
    #[inline]
    pub fn flush(&mut self) -> Option<Ending> {
        if self.out.is_empty() || matches!(self.phase, Phase::Connecting | Phase::Gone) {
            return None;
        }
        let mut written = 0;
        while written < self.out.len() {
            match self.stream.write(&self.out[written..]) {
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // What the server said before is still to be read, a reason perhaps.
                Err(error) if self.phase == Phase::Open && has_hung_up(&error) => {
                    written = self.out.len();
                }
                Err(error) => return Some(error.to_string()),
            }
        }
        self.out.drain(..written);
        if self.out.is_empty() && self.out.capacity() > KEPT_BYTES {
            self.out = Vec::new();
        }
        None
    }
}

fn has_hung_up(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
}

#[cold]
fn unasked_compression() -> BenchError {
    BenchError::Protocol("a compressed frame, which nobody asked for".to_owned())
}

/// A socket that is being connected. Many clients on the loopback network need more than one source
/// address.
fn start_connecting(
    number: usize,
    dial: &Dial,
    receive_buffer_bytes: Option<usize>,
) -> io::Result<TcpStream> {
    let server = dial.server.socket;
    let socket = Socket::new(Domain::for_address(server), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    if let Some(bytes) = receive_buffer_bytes {
        // Before it connects, for the scale of the window is said then.
        socket.set_recv_buffer_size(bytes)?;
    }
    if dial.source_ips > 1 {
        let source = (number % usize::from(dial.source_ips)) as u32;
        let source = Ipv4Addr::from_bits(Ipv4Addr::LOCALHOST.to_bits() + source);
        socket.bind(&SocketAddr::from((source, 0)).into())?;
    }
    match socket.connect(&server.into()) {
        Err(error)
            if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {}
        connected => connected?,
    }
    Ok(TcpStream::from_std(socket.into()))
}

/// Where the head of an HTTP message ends, if its end is there.
fn end_of_head(bytes: &[u8]) -> Option<usize> {
    const END: &[u8] = b"\r\n\r\n";
    bytes.windows(END.len()).position(|window| window == END).map(|start| start + END.len())
}

fn close_reason(payload: &[u8]) -> Ending {
    match payload.split_first_chunk::<2>() {
        Some((code, reason)) => {
            let code = u16::from_be_bytes(*code);
            format!("close {code} {}", String::from_utf8_lossy(reason)).trim_end().to_owned()
        }
        None => "close without a code".to_owned(),
    }
}
