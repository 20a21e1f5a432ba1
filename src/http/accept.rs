//! From an accepted TCP connection to a [`Socket`]: its options, and the TLS handshake.
//!
//! Handshakes on their way count among the worker's HTTP connections, which are bounded.

use super::{listener, upgrade};
use crate::{
    connections::Connections,
    logging::log_limited,
    socket::{MAX_HELD_BYTES, Socket},
};
use actix_http::error::DispatchError;
use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
    time::Duration,
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsAcceptor;

/// What a client that speaks no TLS is told on an address that does.
const TLS_REQUIRED: &str = r#"{"type":"error","code":"tls_required","message":"this address speaks TLS: write https:// or wss://"}"#;

/// What is done with each connection of a listener.
#[derive(Clone)]
pub struct Accepting {
    /// The TLS that the listener speaks, if it does.
    pub tls: Option<TlsAcceptor>,
    /// How fast an address may begin TLS handshakes.
    pub connections: Connections,
    /// How long the TLS handshake may take.
    pub handshake_timeout: Duration,
    /// See [`listener::prepare`].
    pub user_timeout: Duration,
}

impl Accepting {
    /// Makes a socket of a connection, and says where it comes from.
    ///
    /// # Errors
    /// Why there is none; it is logged already.
    pub async fn accept(
        self,
        tcp: TcpStream,
    ) -> Result<(Socket, Option<SocketAddr>), DispatchError> {
        listener::prepare(&tcp, self.user_timeout);
        let peer = tcp.peer_addr().ok();
        let Some(tls) = self.tls else { return Ok((Socket::Plain(tcp), peer)) };
        if let Some(Err(_)) = peer.map(|peer| self.connections.shake_hands(peer.ip())) {
            // Without TLS there are no words for it.
            log_limited!(log::Level::Info, "refused: an address begins too many TLS handshakes");
            return Err(DispatchError::Io(ErrorKind::ConnectionRefused.into()));
        }
        let handshake = timeout(self.handshake_timeout, shake_hands(&tls, tcp));
        let result = handshake.await.unwrap_or(Err(ErrorKind::TimedOut.into()));
        let socket = result.inspect_err(|error| {
            log::debug!("a TLS handshake failed: {error}");
        });
        Ok((socket.map_err(DispatchError::Io)?, peer))
    }
}

async fn shake_hands(tls: &TlsAcceptor, mut tcp: TcpStream) -> io::Result<Socket> {
    let mut first = [0];
    tcp.peek(&mut first).await?;
    // Methods are upper-case letters; a TLS handshake begins with 22 (RFC 8446, section 5.1).
    if first[0].is_ascii_uppercase() {
        log_limited!(log::Level::Info, "refused: a request without TLS on an address that has it");
        let length = TLS_REQUIRED.len();
        let answer = format!(
            "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n\
             content-length: {length}\r\n\r\n{TLS_REQUIRED}"
        );
        upgrade::write_and_drain(&mut tcp, answer.as_bytes()).await?;
        return Err(io::Error::new(ErrorKind::InvalidData, "the client speaks no TLS"));
    }
    let limit = |tls: &mut rustls::ServerConnection| tls.set_buffer_limit(Some(MAX_HELD_BYTES));
    match tls.accept_with(tcp, limit).into_fallible().await {
        Ok(stream) => Ok(Socket::Tls(Box::new(stream))),
        Err((error, mut tcp)) => {
            if error.kind() == ErrorKind::InvalidData {
                log_limited!(log::Level::Info, "refused: a TLS handshake failed: {error}");
            }
            // The alert is sent; unread bytes would turn it into a reset.
            upgrade::write_and_drain(&mut tcp, b"").await?;
            Err(error)
        }
    }
}
