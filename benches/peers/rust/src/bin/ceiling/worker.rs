//! One thread: its poll and its clients.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Error, Result, bail};
use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;
use statesync_peers::{change_of, state_event, users_event};

use crate::peer::{Gone, Peer, Phase};
use crate::room::{Moment, Room};
use crate::{frame, handshake};

const EVENTS_PER_TURN: usize = 1024;
const READ_BYTES: usize = 16 * 1024;
/// The token of the listener.
pub const LISTENER: Token = Token(usize::MAX);
/// The token by which other threads wake this one.
pub const WAKER: Token = Token(usize::MAX - 1);

/// A thread of the ceiling.
pub struct Worker {
    number: usize,
    threads: usize,
    merge: bool,
    room: Arc<Room>,
    poll: Poll,
    /// Only the first thread has it, and hands out what comes.
    listener: Option<TcpListener>,
    accepted: usize,
    peers: Slab<Peer>,
    /// Those who have shaken hands and were not told anything yet, with what they are to be
    /// answered.
    newcomers: Vec<(usize, String)>,
    /// What clients asked for and was not done yet.
    changes: Vec<i64>,
    /// When a number of users is to be told.
    presence_due: Option<Instant>,
    // Buffers that are used again and again.
    arrivals: Vec<TcpStream>,
    frames: Vec<u8>,
    buffer: Vec<u8>,
    failed: Vec<(usize, Error)>,
}

impl Worker {
    /// Thread `number` of `threads`.
    pub fn new(
        number: usize,
        threads: usize,
        merge: bool,
        room: Arc<Room>,
        poll: Poll,
        mut listener: Option<TcpListener>,
    ) -> Result<Worker> {
        if let Some(listener) = &mut listener {
            poll.registry().register(listener, LISTENER, Interest::READABLE)?;
        }
        Ok(Worker {
            number,
            threads,
            merge,
            room,
            poll,
            listener,
            accepted: 0,
            peers: Slab::new(),
            newcomers: Vec::new(),
            changes: Vec::new(),
            presence_due: None,
            arrivals: Vec::new(),
            frames: Vec::new(),
            buffer: vec![0; READ_BYTES],
            failed: Vec::new(),
        })
    }

    /// Serves until something fails that is no client's fault.
    pub fn run(mut self) -> Result<()> {
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        loop {
            let timeout = self.presence_due.map(|due| due.duration_since(Instant::now()));
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accept()?,
                    WAKER => {}
                    Token(key) => self.serve(key, event)?,
                }
            }
            self.finish_turn()?;
        }
    }

    fn accept(&mut self) -> Result<()> {
        let Some(listener) = &self.listener else {
            return Ok(());
        };
        loop {
            let stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // It has gone already.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error).context("cannot accept"),
            };
            let thread = self.accepted % self.threads;
            self.accepted += 1;
            if thread == self.number {
                self.arrivals.push(stream);
            } else {
                self.room.hand_over(stream, thread)?;
            }
        }
    }

    /// Serves one client; what it does wrong ends its connection alone.
    fn serve(&mut self, key: usize, event: &Event) -> Result<()> {
        if !self.peers.contains(key) {
            return Ok(());
        }
        if let Err(error) = self.read(key, event.is_read_closed()) {
            self.close(key, error);
        }
        match self.merge {
            true => Ok(()),
            false => self.apply_each(),
        }
    }

    fn read(&mut self, key: usize, ended: bool) -> Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let read = self.read_all(key, ended, &mut buffer);
        self.buffer = buffer;
        read
    }

    /// Reads what is there. A read that did not fill the buffer emptied the socket: the poll tells
    /// when more comes.
    fn read_all(&mut self, key: usize, ended: bool, buffer: &mut [u8]) -> Result<()> {
        while let Some(filled) = self.peers[key].read(buffer)? {
            let used = self.take(key, &mut buffer[..filled])?;
            self.peers[key].carry.extend_from_slice(&buffer[used..filled]);
            if filled < buffer.len() && !ended {
                break;
            }
        }
        Ok(())
    }

    /// Takes what is complete in `bytes`; answers how many bytes that was.
    fn take(&mut self, key: usize, bytes: &mut [u8]) -> Result<usize> {
        let mut used = 0;
        let peer = &mut self.peers[key];
        if peer.phase == Phase::Handshake {
            let Some(request) = handshake::parse(bytes)? else {
                return Ok(0);
            };
            used = request.size;
            peer.phase = Phase::Newcomer;
            self.newcomers.push((key, request.answer));
        }
        while let Some(frame) = frame::parse(&mut bytes[used..])? {
            used += frame.size;
            match frame.opcode {
                frame::TEXT | frame::BINARY => self.changes.push(change_of(frame.payload)?),
                frame::PING => peer.write(&answer(frame::PONG, frame.payload))?,
                frame::PONG => {}
                frame::CLOSE => {
                    peer.write(&answer(frame::CLOSE, frame.payload))?;
                    bail!(Gone);
                }
                opcode => bail!("the opcode {opcode} is not known here"),
            }
        }
        Ok(used)
    }

    /// Each action is one write for each client.
    fn apply_each(&mut self) -> Result<()> {
        let mut changes = std::mem::take(&mut self.changes);
        for change in &changes {
            let moment = self.exchange(&[*change])?;
            self.tell_all(&moment);
        }
        changes.clear();
        self.changes = changes;
        Ok(())
    }

    /// What came in this turn and was not done at once.
    fn finish_turn(&mut self) -> Result<()> {
        if !self.newcomers.is_empty() {
            self.room.count_users(self.newcomers.len(), 0);
        }
        let mut changes = std::mem::take(&mut self.changes);
        let moment = self.exchange(&changes)?;
        changes.clear();
        self.changes = changes;
        // Newcomers know it all already; they are not told again with the others.
        let greeted = self.greet(&moment);
        self.tell_all(&moment);
        for key in greeted {
            self.peers[key].phase = Phase::Open;
        }
        self.admit()
    }

    /// Tells the room what changed, and takes from it what clients here are to be told.
    fn exchange(&mut self, changes: &[i64]) -> Result<Moment> {
        let moment =
            self.room.exchange(self.number, changes, &mut self.frames, &mut self.arrivals)?;
        self.presence_due = moment.presence_due;
        Ok(moment)
    }

    /// Tells everyone who is not new what is to be told.
    fn tell_all(&mut self, moment: &Moment) {
        let frames = std::mem::take(&mut self.frames);
        match self.merge {
            true => self.write_to_all(&frames),
            false => frame::each(&frames).for_each(|frame| self.write_to_all(frame)),
        }
        self.frames = frames;
        if moment.users_told {
            self.room.presence_written();
        }
    }

    /// One write for everyone.
    fn write_to_all(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        for (key, peer) in &mut self.peers {
            if peer.phase == Phase::Open
                && let Err(error) = peer.write(bytes)
            {
                self.failed.push((key, error));
            }
        }
        while let Some((key, error)) = self.failed.pop() {
            self.close(key, error);
        }
    }

    /// Tells newcomers all that they need to know, in one write. Answers who they are.
    fn greet(&mut self, moment: &Moment) -> Vec<usize> {
        let mut greeted = Vec::new();
        for (key, answer) in std::mem::take(&mut self.newcomers) {
            let mut greeting = answer.into_bytes();
            frame::push(&mut greeting, frame::TEXT, users_event(moment.users).as_bytes());
            frame::push(&mut greeting, frame::TEXT, state_event(moment.value).as_bytes());
            match self.peers[key].write(&greeting) {
                Ok(()) => greeted.push(key),
                Err(error) => {
                    // It was counted.
                    self.peers[key].phase = Phase::Open;
                    self.close(key, error);
                }
            }
        }
        greeted
    }

    /// Takes in the connections that were handed to this thread.
    fn admit(&mut self) -> Result<()> {
        for mut stream in self.arrivals.drain(..) {
            // It fails for those who have gone already, and they are noticed below.
            stream.set_nodelay(true).ok();
            let entry = self.peers.vacant_entry();
            self.poll.registry().register(&mut stream, Token(entry.key()), Interest::READABLE)?;
            entry.insert(Peer::new(stream));
        }
        Ok(())
    }

    /// Ends a connection, and says why if the client is to blame.
    fn close(&mut self, key: usize, why: Error) {
        let Some(peer) = self.peers.try_remove(key) else {
            return;
        };
        if !why.is::<Gone>() {
            eprintln!("a client is closed: {why:#}");
        }
        match peer.phase {
            Phase::Handshake => {}
            Phase::Newcomer => self.newcomers.retain(|(newcomer, _)| *newcomer != key),
            Phase::Open => {
                self.room.count_users(0, 1);
                // The next exchange says when it is to be told, should this one be over.
                self.presence_due = Some(Instant::now());
            }
        }
    }
}

fn answer(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame::push(&mut frame, opcode, payload);
    frame
}
