//! One WebSocket, by a library that others wrote.

use std::{
    io::{self, ErrorKind},
    net::{SocketAddr, TcpStream},
    time::Duration,
};
use tungstenite::{
    ClientRequestBuilder, Error, HandshakeError, Message, WebSocket, protocol::WebSocketConfig,
};

/// How long a handshake may take: a stalled one is given up.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a turn of a client waits for something to read.
const TURN: Duration = Duration::from_millis(4);

pub struct Connection(WebSocket<TcpStream>);

/// What was there to read.
pub enum Heard {
    Nothing,
    /// A ping: no message, but a sign of life.
    Life,
    Text(String),
    Ended(Option<u16>),
}

/// Why there is no connection.
pub enum NotOpened {
    Lost,
    Status(u16),
    Odd(String),
}

impl Connection {
    /// Opens `target` (a path, perhaps with a query), with the subprotocol or without.
    pub fn open(address: SocketAddr, target: &str, is_v1: bool) -> Result<Self, NotOpened> {
        let stream = connect(address).map_err(|_| NotOpened::Lost)?;
        let uri = format!("ws://{address}{target}").parse().expect("a URI");
        let mut request = ClientRequestBuilder::new(uri);
        if is_v1 {
            request = request.with_sub_protocol("statesync.v1");
        }
        let config = WebSocketConfig::default().read_buffer_size(16 * 1024);
        match tungstenite::client::client_with_config(request, stream, Some(config)) {
            Ok((socket, _)) => {
                socket.get_ref().set_read_timeout(Some(TURN)).map_err(|_| NotOpened::Lost)?;
                Ok(Self(socket))
            }
            Err(HandshakeError::Interrupted(_)) => Err(NotOpened::Lost),
            Err(HandshakeError::Failure(error)) => Err(match error {
                Error::Http(response) => NotOpened::Status(response.status().as_u16()),
                error if is_lost(&error) => NotOpened::Lost,
                error => NotOpened::Odd(error.to_string()),
            }),
        }
    }

    /// Reads one message, or waits for a short turn.
    pub fn read(&mut self) -> Heard {
        match self.0.read() {
            Ok(Message::Text(text)) => Heard::Text(text.to_string()),
            Ok(Message::Close(frame)) => {
                let _ = self.0.flush();
                Heard::Ended(frame.map(|frame| frame.code.into()))
            }
            Ok(Message::Ping(_) | Message::Pong(_)) => Heard::Life,
            Ok(other) => Heard::Text(format!("a frame that is no text: {other:?}")),
            Err(Error::Io(error)) if is_timeout(&error) => Heard::Nothing,
            Err(error) if is_lost(&error) => Heard::Ended(None),
            Err(error) => Heard::Text(format!("a broken frame: {error}")),
        }
    }

    /// Sends as far as there is a connection; its end is heard by reading.
    pub fn send(&mut self, text: String) {
        let _ = self.0.send(Message::text(text));
    }

    /// Ends it as a crash does: with a reset, and whatever was on its way is gone.
    pub fn reset(self) {
        let socket = socket2::SockRef::from(self.0.get_ref());
        let _ = socket.set_linger(Some(Duration::ZERO));
    }
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// The connection was cut, however that looks from here.
fn is_lost(error: &Error) -> bool {
    use tungstenite::error::ProtocolError::{HandshakeIncomplete, ResetWithoutClosingHandshake};
    matches!(
        error,
        Error::Io(_)
            | Error::ConnectionClosed
            | Error::AlreadyClosed
            | Error::Protocol(HandshakeIncomplete | ResetWithoutClosingHandshake)
    )
}
