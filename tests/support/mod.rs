//! A real server on a port of its own, and a client that sends and reads raw bytes.

#![allow(dead_code, reason = "each test file uses its part of this module")]

pub mod process;
pub mod pseudo_terminal;

use statesync::{Config, Server};
use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    thread::JoinHandle,
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// How long anything in a test may take. Generous: it is only ever reached by a failure.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// A server in a thread of this process. Stopped when dropped.
pub struct TestServer {
    pub address: SocketAddr,
    /// The first of `server.tls.bind`.
    pub tls_address: Option<SocketAddr>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl TestServer {
    /// Starts the embedded defaults, changed by `toml`, on a port of the system's choice. Without a
    /// `[journal]` of its own, the test has one in memory.
    pub fn start(toml: &str) -> Self {
        let mut toml = match toml.contains("[server]") {
            true => toml.replace("[server]", "[server]\nbind = \"127.0.0.1:0\""),
            false => format!("[server]\nbind = \"127.0.0.1:0\"\n{toml}"),
        };
        if !toml.contains("[journal]") {
            toml = format!("[journal]\nkind = \"memory\"\n{toml}");
        }
        let config = Config::parse("the test's configuration", &toml, []).expect("good TOML");
        let server = Server::bind(config).expect("a free port");
        let address = server.addresses()[0];
        let tls_address = server.tls_addresses().first().copied();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let stopped = async {
                let _ = stopped.await;
            };
            let result = actix_rt::System::new().block_on(server.run(stopped));
            result.expect("the server stopped by itself");
        });
        Self { address, tls_address, stop: Some(stop), thread: Some(thread) }
    }

    /// Stops the server and waits for its end.
    pub fn stop(mut self) {
        self.stop_and_join();
    }

    /// Tells the server to stop and does not wait.
    pub fn begin_stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }

    fn stop_and_join(&mut self) {
        self.begin_stop();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !std::thread::panicking()
        {
            panic!("the server's thread panicked");
        }
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.stop_and_join();
    }
}

/// What a raw client read: one frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// It has the first reserved bit (RFC 7692).
    pub is_compressed: bool,
    pub opcode: u8,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn text(&self) -> &str {
        assert!(!self.is_compressed, "nobody asked for compression: {self:?}");
        std::str::from_utf8(&self.payload).expect("the server sends UTF-8")
    }

    /// The code of a close frame.
    pub fn close_code(&self) -> Option<u16> {
        assert_eq!(self.opcode, 0x8, "expected a close frame, got {self:?}");
        self.payload.first_chunk().map(|code| u16::from_be_bytes(*code))
    }
}

/// A WebSocket client made of bytes.
pub struct RawClient {
    pub socket: TcpStream,
    received: Vec<u8>,
}

pub const HANDSHAKE: &str = "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

impl RawClient {
    /// Connects a socket and says nothing yet.
    pub fn connect(address: SocketAddr) -> Self {
        Self::on(TcpStream::connect(address).expect("the server listens"))
    }

    /// Connects a socket that takes only a few KiB before it has to be read: for clients that are
    /// slow. Its buffer is made small before it connects, for the window's scale is said then.
    pub fn connect_slow(address: SocketAddr) -> Self {
        Self::connect_with_receive_buffer(address, 4096)
    }

    /// Connects a socket whose kernel takes so many bytes for it, as far as the system allows,
    /// however seldom the test's own thread runs.
    pub fn connect_with_receive_buffer(address: SocketAddr, bytes: usize) -> Self {
        let domain = socket2::Domain::for_address(address);
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).expect("a socket");
        socket.set_recv_buffer_size(bytes).expect("a socket option");
        socket.connect(&address.into()).expect("the server listens");
        Self::on(socket.into())
    }

    /// A client on a socket that is connected already.
    pub fn on(socket: TcpStream) -> Self {
        socket.set_read_timeout(Some(DEADLINE)).expect("a socket option");
        socket.set_write_timeout(Some(DEADLINE)).expect("a socket option");
        socket.set_nodelay(true).expect("a socket option");
        Self { socket, received: Vec::new() }
    }

    /// Does the opening handshake for the room at `path`.
    pub fn open(address: SocketAddr, path: &str) -> Self {
        Self::connect(address).shake_hands(path)
    }

    /// Does the opening handshake for `statesync.v1`; `path` may have a query.
    pub fn open_v1(address: SocketAddr, path: &str) -> Self {
        let mut client = Self::connect(address);
        let head = client.ask(path, "Sec-WebSocket-Protocol: statesync.v1\r\n");
        assert!(head.starts_with("HTTP/1.1 101 "), "the upgrade was refused:\n{head}");
        assert!(head.to_ascii_lowercase().contains("protocol: statesync.v1"), "{head}");
        client
    }

    /// Asks for the room at `path`, with these further lines in the request's head. Returns the
    /// head of the answer.
    pub fn ask(&mut self, path: &str, lines: &str) -> String {
        let request = HANDSHAKE.replace("{path}", path);
        let head = request.strip_suffix("\r\n").expect("an empty line ends the head");
        self.send_bytes(format!("{head}{lines}\r\n").as_bytes());
        self.read_head()
    }

    /// Does the opening handshake of the classic protocol on a connected socket.
    pub fn shake_hands(mut self, path: &str) -> Self {
        let head = self.ask(path, "");
        assert!(head.starts_with("HTTP/1.1 101 "), "the upgrade was refused:\n{head}");
        let accept = "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
        assert!(head.to_ascii_lowercase().contains(&accept.to_ascii_lowercase()), "{head}");
        self
    }

    /// Opens the counter at `/` and reads the first `users` and `state`; returns the state.
    pub fn join_counter(address: SocketAddr) -> (Self, i64) {
        let mut client = Self::open(address, "/");
        let users = client.read_event();
        assert_eq!(users["type"], "users", "a newcomer hears users first, not {users}");
        let state = client.read_event();
        assert_eq!(state["type"], "state", "then the state, not {state}");
        let value = state["value"].as_i64().expect("a number");
        (client, value)
    }

    /// The socket, and what was read from it and not taken.
    pub fn into_parts(self) -> (TcpStream, Vec<u8>) {
        (self.socket, self.received)
    }

    /// Opens the room at `path` as soon as the limits let one more in: a place is given back a
    /// little after its connection's end is seen by the client.
    pub fn open_when_there_is_room(address: SocketAddr, path: &str) -> Self {
        Self::ask_until_there_is_room(address, path, "")
    }

    /// The same, with these further lines in the request's head.
    pub fn ask_until_there_is_room(address: SocketAddr, path: &str, lines: &str) -> Self {
        let start = Instant::now();
        loop {
            let mut client = Self::connect(address);
            let head = client.ask(path, lines);
            if head.starts_with("HTTP/1.1 101 ") {
                return client;
            }
            let is_full = head.starts_with("HTTP/1.1 503 ") || head.starts_with("HTTP/1.1 429 ");
            assert!(is_full, "neither let in nor refused for a limit:\n{head}");
            assert!(start.elapsed() < DEADLINE, "no place was given back:\n{head}");
        }
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).expect("the server reads");
    }

    /// Sends one masked frame.
    pub fn send(&mut self, first_byte: u8, payload: &[u8]) {
        self.send_bytes(&masked(first_byte, payload));
    }

    pub fn send_text(&mut self, text: &str) {
        self.send(0x81, text.as_bytes());
    }

    /// Reads the head of an HTTP answer, with its empty line.
    pub fn read_head(&mut self) -> String {
        loop {
            if let Some(end) = self.received.windows(4).position(|four| four == b"\r\n\r\n") {
                let rest = self.received.split_off(end + 4);
                let head = std::mem::replace(&mut self.received, rest);
                return String::from_utf8(head).expect("an HTTP head is ASCII");
            }
            let count = self.fill().expect("an HTTP answer");
            assert!(count > 0, "the connection ended before an answer: {:?}", self.received);
        }
    }

    /// Reads exactly `count` bytes.
    pub fn read_bytes(&mut self, count: usize) -> Vec<u8> {
        while self.received.len() < count {
            let read = self.fill().expect("the server sends on");
            assert!(
                read > 0,
                "the connection ended after {} of {count} bytes",
                self.received.len()
            );
        }
        self.received.drain(..count).collect()
    }

    /// Reads until the server ends the connection.
    pub fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        while self.fill()? > 0 {}
        Ok(std::mem::take(&mut self.received))
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut buffer = [0; 16 * 1024];
        let count = self.socket.read(&mut buffer)?;
        self.received.extend_from_slice(&buffer[..count]);
        Ok(count)
    }

    /// Reads one frame, or `None` at the end of the connection.
    pub fn try_read(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some((frame, length)) = parse_server_frame(&self.received) {
                self.received.drain(..length);
                return Ok(Some(frame));
            }
            if self.fill()? == 0 {
                return Ok(None);
            }
        }
    }

    pub fn read(&mut self) -> Frame {
        let frame = self.try_read().expect("the server answers in time");
        frame.expect("a frame, but the server ended the connection")
    }

    /// Reads the next event, answering pings on the way.
    pub fn read_event(&mut self) -> serde_json::Value {
        loop {
            let frame = self.read();
            match frame.opcode {
                0x1 => return serde_json::from_slice(&frame.payload).expect("events are JSON"),
                0x9 => self.send(0x8A, &frame.payload),
                other => panic!("expected an event, got opcode {other:#x}: {frame:?}"),
            }
        }
    }

    /// Reads events until `wanted` says yes, and returns that one.
    pub fn wait_for(
        &mut self,
        what: &str,
        mut wanted: impl FnMut(&serde_json::Value) -> bool,
    ) -> serde_json::Value {
        let start = Instant::now();
        let mut seen = Vec::new();
        while start.elapsed() < DEADLINE {
            let event = self.read_event();
            if wanted(&event) {
                return event;
            }
            seen.push(event);
        }
        panic!("waited for {what}; saw only {seen:?}");
    }

    pub fn wait_for_users(&mut self, count: usize) {
        self.wait_for(&format!("users {count}"), |event| {
            event["type"] == "users" && event["count"] == count
        });
    }

    pub fn wait_for_state(&mut self, value: i64) {
        self.wait_for(&format!("state {value}"), |event| {
            event["type"] == "state" && event["value"] == value
        });
    }

    /// Ends the connection as a crash would: the kernel sends a reset.
    pub fn reset(self) {
        let socket = socket2::SockRef::from(&self.socket);
        socket.set_linger(Some(Duration::ZERO)).expect("a socket option");
    }

    /// Says that nothing more will be sent.
    pub fn shut_down_write(&self) {
        self.socket.shutdown(Shutdown::Write).expect("the socket is open");
    }
}

/// A client's frame with a mask.
pub fn masked(first_byte: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x12, 0x34, 0x56, 0x78];
    let mut frame = vec![first_byte];
    match payload.len() {
        length @ 0..=125 => frame.push(0x80 | length as u8),
        length @ 126..=0xFFFF => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// The first frame in `bytes` and its length, if it is whole. A server's frames are not masked.
pub fn parse_server_frame(bytes: &[u8]) -> Option<(Frame, usize)> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    assert_eq!(second & 0x80, 0, "a server must not mask");
    assert_eq!(first & 0xB0, 0x80, "every frame of the server is final, without reserved bits");
    let is_compressed = first & 0x40 != 0;
    let (length, start) = match second {
        126 => (u16::from_be_bytes(*bytes.get(2..4)?.first_chunk()?).into(), 4),
        127 => (u64::from_be_bytes(*bytes.get(2..10)?.first_chunk()?) as usize, 10),
        short => (usize::from(short), 2),
    };
    let payload = bytes.get(start..start + length)?.to_vec();
    Some((Frame { is_compressed, opcode: first & 0x0F, payload }, start + length))
}
