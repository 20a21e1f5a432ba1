//! The ceiling: the least that a server on one thread can do, as a measure for what a real one
//! adds.
//!
//! It knows one room, takes every data frame for a `plus`, has no outboxes, and ends when a client
//! does not keep up.

use std::io::{ErrorKind, Read, Write};
use std::net::Ipv4Addr;

use anyhow::{Context, Result, bail, ensure};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

use crate::client::{ACCEPT, end_of_head};
use crate::frame;

const EVENTS_PER_TURN: usize = 1024;
const READ_BYTES: usize = 16 * 1024;
const LISTENER: Token = Token(usize::MAX);

/// When the ceiling writes.
#[derive(Clone, Copy, Debug, PartialEq, clap::ValueEnum)]
pub enum Kind {
    /// Every action is one write for each client.
    Plain,
    /// All actions that came while the last round of writes went on are one write for each client.
    Merged,
}

/// Serves until it is killed, or a client does not keep up.
pub fn serve(kind: Kind) -> Result<()> {
    let mut listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0).into())?;
    let poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    println!("the ceiling is ready: http://{}/", listener.local_addr()?);
    let mut ready = Events::with_capacity(EVENTS_PER_TURN);
    let mut ceiling = Ceiling {
        kind,
        listener,
        poll,
        peers: Slab::new(),
        newcomers: Vec::new(),
        someone_left: false,
        value: 0,
        waiting: Vec::new(),
        buffer: vec![0; READ_BYTES],
    };
    loop {
        ceiling.turn(&mut ready)?;
    }
}

struct Ceiling {
    kind: Kind,
    listener: TcpListener,
    poll: Poll,
    peers: Slab<Peer>,
    /// Those who have shaken hands and were not told anything yet.
    newcomers: Vec<usize>,
    someone_left: bool,
    value: i64,
    /// Frames that are to be written to everyone.
    waiting: Vec<u8>,
    buffer: Vec<u8>,
}

struct Peer {
    stream: TcpStream,
    phase: Phase,
    /// The beginning of a request or a frame whose end has not come yet.
    carry: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    Handshake,
    Newcomer,
    Open,
}

impl Ceiling {
    fn turn(&mut self, ready: &mut Events) -> Result<()> {
        match self.poll.poll(ready, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            polled => polled?,
        }
        for event in ready.iter() {
            match event.token() {
                LISTENER => self.accept()?,
                Token(key) => self.read(key)?,
            }
        }
        self.write_waiting()?;
        self.tell_presence()
    }

    fn accept(&mut self) -> Result<()> {
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("cannot accept"),
            };
            stream.set_nodelay(true)?;
            let entry = self.peers.vacant_entry();
            self.poll.registry().register(&mut stream, Token(entry.key()), Interest::READABLE)?;
            entry.insert(Peer { stream, phase: Phase::Handshake, carry: Vec::new() });
        }
    }

    /// Reads until nothing is left, which makes the poll tell of what comes next.
    fn read(&mut self, key: usize) -> Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        while let Some(filled) = self.peers[key].read(&mut buffer)? {
            if filled == 0 {
                self.forget(key);
                break;
            }
            self.take(key, &buffer[..filled])?;
        }
        self.buffer = buffer;
        Ok(())
    }

    /// Takes what a client sent.
    fn take(&mut self, key: usize, bytes: &[u8]) -> Result<()> {
        let peer = &mut self.peers[key];
        let mut used = 0;
        if peer.phase == Phase::Handshake {
            if let Some(end) = end_of_head(bytes) {
                used = end;
                peer.phase = Phase::Newcomer;
                let answer = format!(
                    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                     Connection: Upgrade\r\nSec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
                );
                peer.write(answer.as_bytes())?;
                self.newcomers.push(key);
            }
        } else {
            used = self.take_frames(bytes)?;
        }
        self.peers[key].carry.extend_from_slice(&bytes[used..]);
        Ok(())
    }

    fn take_frames(&mut self, bytes: &[u8]) -> Result<usize> {
        let mut used = 0;
        while let Some(frame) = frame::parse(&bytes[used..])? {
            used += frame.size;
            match frame.opcode {
                frame::TEXT | frame::BINARY => self.plus()?,
                frame::CLOSE | frame::PONG => {}
                opcode => bail!("the ceiling does not know the opcode {opcode}"),
            }
        }
        Ok(used)
    }

    fn plus(&mut self) -> Result<()> {
        self.value += 1;
        let event = format!(r#"{{"type":"state","value":{}}}"#, self.value);
        frame::push_unmasked(&mut self.waiting, frame::TEXT, event.as_bytes());
        match self.kind {
            Kind::Plain => self.write_waiting(),
            Kind::Merged => Ok(()),
        }
    }

    fn forget(&mut self, key: usize) {
        let peer = self.peers.remove(key);
        match peer.phase {
            Phase::Handshake => {}
            Phase::Newcomer => self.newcomers.retain(|newcomer| *newcomer != key),
            Phase::Open => self.someone_left = true,
        }
    }

    /// One write for everyone.
    fn write_waiting(&mut self) -> Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        for (_, peer) in &mut self.peers {
            if peer.phase == Phase::Open {
                peer.write(&self.waiting)?;
            }
        }
        self.waiting.clear();
        Ok(())
    }

    /// Tells all how many are here, once for all who came and went in this turn, and newcomers the
    /// value.
    fn tell_presence(&mut self) -> Result<()> {
        if self.newcomers.is_empty() && !self.someone_left {
            return Ok(());
        }
        for key in &self.newcomers {
            self.peers[*key].phase = Phase::Open;
        }
        let count = self.peers.iter().filter(|(_, peer)| peer.phase == Phase::Open).count();
        frame::push_unmasked(
            &mut self.waiting,
            frame::TEXT,
            format!(r#"{{"type":"users","count":{count}}}"#).as_bytes(),
        );
        self.write_waiting()?;
        let state = format!(r#"{{"type":"state","value":{}}}"#, self.value);
        let mut frame = Vec::new();
        frame::push_unmasked(&mut frame, frame::TEXT, state.as_bytes());
        for key in self.newcomers.drain(..) {
            self.peers[key].write(&frame)?;
        }
        self.someone_left = false;
        Ok(())
    }
}

impl Peer {
    /// Reads behind what was carried. Answers how much is in the buffer now: nothing if the client
    /// is gone, `None` if the socket is empty.
    fn read(&mut self, buffer: &mut [u8]) -> Result<Option<usize>> {
        let carried = self.carry.len();
        ensure!(
            carried < buffer.len(),
            "a client sent a request or a frame of more than {carried} bytes"
        );
        buffer[..carried].copy_from_slice(&self.carry);
        match self.stream.read(&mut buffer[carried..]) {
            Ok(0) => Ok(Some(0)),
            Ok(count) => {
                self.carry.clear();
                Ok(Some(carried + count))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(_) => Ok(Some(0)),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        match self.stream.write(bytes) {
            Ok(written) => ensure!(
                written == bytes.len(),
                "a client's socket is full: the load does not keep up"
            ),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                bail!("a client's socket is full: the load does not keep up")
            }
            // It is gone; its own socket tells when it is read.
            Err(_) => {}
        }
        Ok(())
    }
}
