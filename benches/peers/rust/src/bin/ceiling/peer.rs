//! One client's connection.

use std::io::{ErrorKind, Read, Write};

use anyhow::{Result, bail, ensure};
use mio::net::TcpStream;

/// A connection, whose socket never blocks.
pub struct Peer {
    stream: TcpStream,
    /// How far it is.
    pub phase: Phase,
    /// The beginning of a request or a frame whose end has not come yet.
    pub carry: Vec<u8>,
}

/// How far a connection is.
#[derive(Clone, Copy, PartialEq)]
pub enum Phase {
    /// Its request is not all there.
    Handshake,
    /// It was not told anything yet.
    Newcomer,
    /// It gets all events.
    Open,
}

impl Peer {
    /// A connection that was just accepted.
    pub fn new(stream: TcpStream) -> Peer {
        Peer { stream, phase: Phase::Handshake, carry: Vec::new() }
    }

    /// Reads behind what was carried. Answers how much is in the buffer now, or `None` if the
    /// socket is empty.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<Option<usize>> {
        let carried = self.carry.len();
        ensure!(carried < buffer.len(), "a request of more than {carried} bytes");
        buffer[..carried].copy_from_slice(&self.carry);
        loop {
            return match self.stream.read(&mut buffer[carried..]) {
                Ok(0) => bail!(Gone),
                Ok(count) => {
                    self.carry.clear();
                    Ok(Some(carried + count))
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => bail!(Gone),
            };
        }
    }

    /// Writes all of `bytes`. What does not fit is an error, after which the connection must be
    /// closed: nothing is ever left out in silence.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        match self.stream.write(bytes) {
            Ok(written) if written == bytes.len() => Ok(()),
            Ok(_) => bail!("its socket is full: it does not keep up"),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                bail!("its socket is full: it does not keep up")
            }
            Err(_) => bail!(Gone),
        }
    }
}

/// A client left, which is no fault.
#[derive(Debug)]
pub struct Gone;

impl std::fmt::Display for Gone {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("it is gone")
    }
}

impl std::error::Error for Gone {}
