//! A client's socket, plain or TLS, first as one for HTTP, then as two halves for a session.
//!
//! A round writes to a session's socket without the session's task, so nothing here polls for
//! writing but [`WriteHalf::poll_write_ready`], which is the task's. What goes out by TLS is
//! encrypted before the kernel takes it, and cannot be taken back then. So that a slow client gets
//! the newest and not what was new when it got stuck, at most one record of it is held at a time.

use rustls::ServerConnection;
use std::{
    cell::RefCell,
    io::{self, ErrorKind, IoSlice, Read, Write},
    net::Shutdown,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};
use tokio_rustls::server::TlsStream;

/// The most that is encrypted before the kernel has taken it: what fits into one record (RFC 8446,
/// section 5.1).
pub const MAX_HELD_BYTES: usize = 16 * 1024;

/// An accepted socket whose TLS handshake, if it has one, is done.
#[derive(Debug)]
pub enum Socket {
    /// TCP alone.
    Plain(TcpStream),
    /// TLS, set to hold at most [`MAX_HELD_BYTES`].
    Tls(Box<TlsStream<TcpStream>>),
}

impl Socket {
    /// The TCP connection, for its options.
    pub fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => tls.get_ref().0,
        }
    }

    /// Splits it for a session, which reads and writes at its own times. The halves belong to one
    /// thread.
    pub fn into_split(self) -> (ReadHalf, WriteHalf) {
        let (tcp, tls) = match self {
            Self::Plain(tcp) => (tcp, None),
            Self::Tls(stream) => {
                let (tcp, tls) = stream.into_inner();
                (tcp, Some(Rc::new(RefCell::new(tls))))
            }
        };
        let (reader, writer) = tcp.into_split();
        (
            ReadHalf { tcp: reader, tls: tls.clone(), took_bytes: false },
            WriteHalf { tcp: writer, tls },
        )
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buffer),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}

/// Both halves' TLS.
type Tls = Rc<RefCell<ServerConnection>>;

/// What a session reads from.
#[derive(Debug)]
pub struct ReadHalf {
    tcp: OwnedReadHalf,
    tls: Option<Tls>,
    took_bytes: bool,
}

impl ReadHalf {
    /// The TCP connection, for its options.
    pub fn tcp(&self) -> &TcpStream {
        self.tcp.as_ref()
    }

    /// Reads what there is. Nothing is the end: of TCP, or what TLS says about it (a peer may end
    /// TCP without a word of TLS).
    ///
    /// # Errors
    /// The socket's, or `InvalidData` for what is not TLS.
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(tls) = &self.tls else { return Pin::new(&mut self.tcp).poll_read(cx, buffer) };
        let tls = &mut *tls.borrow_mut();
        loop {
            match tls.reader().read(buffer.initialize_unfilled()) {
                Ok(count) => {
                    buffer.advance(count);
                    self.took_bytes = false;
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
            match tls.read_tls(&mut PolledTcp { tcp: &mut self.tcp, cx }) {
                Ok(count) => self.took_bytes |= count > 0,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
            if let Err(error) = tls.process_new_packets() {
                // Its alert tells the peer why, if the socket takes it.
                let _ = tls.write_tls(&mut TriedTcp(self.tcp.as_ref()));
                return Poll::Ready(Err(io::Error::new(ErrorKind::InvalidData, error)));
            }
        }
    }

    /// Whether bytes came since the last call that are not a whole record yet: a sign of life, but
    /// nothing to be read.
    pub fn has_taken_bytes(&mut self) -> bool {
        std::mem::take(&mut self.took_bytes)
    }
}

/// What rounds and a session write to. A write takes what goes without waiting.
#[derive(Debug)]
pub struct WriteHalf {
    tcp: OwnedWriteHalf,
    tls: Option<Tls>,
}

impl WriteHalf {
    /// Writes and returns how many bytes were taken. Of these, TLS may still hold some.
    ///
    /// # Errors
    /// `WouldBlock` if none is taken now, which is always so while bytes are held; the socket's.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match &self.tls {
            None => self.tcp.try_write(bytes),
            Some(tls) => self.encrypt(&mut tls.borrow_mut(), &mut [IoSlice::new(bytes)]),
        }
    }

    /// The same with bytes in pieces.
    ///
    /// # Errors
    /// As [`WriteHalf::try_write`].
    pub fn try_write_vectored(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        match &self.tls {
            None => self.tcp.try_write_vectored(pieces),
            Some(tls) => self.encrypt(&mut tls.borrow_mut(), &mut pieces.to_vec()),
        }
    }

    /// Whether bytes that were taken, or words of TLS itself, have not reached the kernel yet.
    pub fn holds_bytes(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.borrow().wants_write())
    }

    /// Hands the kernel what is held and returns how many bytes it took.
    ///
    /// # Errors
    /// The socket's.
    pub fn try_send_held(&self) -> io::Result<usize> {
        match &self.tls {
            None => Ok(0),
            Some(tls) => self.send(&mut tls.borrow_mut()),
        }
    }

    /// Ready when the kernel takes more. Only for the session's task, which is woken then.
    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tcp.as_ref().poll_write_ready(cx)
    }

    /// Has TLS say that nothing more comes; held until it is sent.
    pub fn close_notify(&self) {
        if let Some(tls) = &self.tls {
            tls.borrow_mut().send_close_notify();
        }
    }

    /// Has TCP say so.
    ///
    /// # Errors
    /// The socket's; it is closed then anyway.
    pub fn shut_down(&self) -> io::Result<()> {
        socket2::SockRef::from(self.tcp.as_ref()).shutdown(Shutdown::Write)
    }

    /// Encrypts and sends a record at a time, until the kernel takes no more.
    fn encrypt(
        &self,
        tls: &mut ServerConnection,
        mut pieces: &mut [IoSlice<'_>],
    ) -> io::Result<usize> {
        self.send(tls)?;
        let mut taken = 0;
        while !tls.wants_write() {
            let count = tls.writer().write_vectored(pieces)?;
            if count == 0 {
                return Ok(taken);
            }
            taken += count;
            IoSlice::advance_slices(&mut pieces, count);
            self.send(tls)?;
        }
        if taken == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(taken) }
    }

    fn send(&self, tls: &mut ServerConnection) -> io::Result<usize> {
        let mut sent = 0;
        while tls.wants_write() {
            match tls.write_tls(&mut TriedTcp(self.tcp.as_ref())) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(sent)
    }
}

/// Reads as rustls does it, and has the task woken when there is more.
struct PolledTcp<'a, 'b> {
    tcp: &'a mut OwnedReadHalf,
    cx: &'a mut Context<'b>,
}

impl Read for PolledTcp<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(buffer);
        match Pin::new(&mut *self.tcp).poll_read(self.cx, &mut buffer) {
            Poll::Ready(result) => result.map(|()| buffer.filled().len()),
            Poll::Pending => Err(ErrorKind::WouldBlock.into()),
        }
    }
}

/// Writes as rustls does it, and has nobody woken.
struct TriedTcp<'a>(&'a TcpStream);

impl Write for TriedTcp<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(pieces)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
