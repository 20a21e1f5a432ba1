//! From an accepted TCP connection to a [`Socket`]: its options, and the TLS handshake.
//!
//! Handshakes on their way count among the worker's HTTP connections, which are bounded.

use super::{listener, upgrade};
use crate::{
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
const SPEAKS_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    content-type: application/json\r\ncache-control: no-store\r\nconnection: close\r\n\
    content-length: 110\r\n\r\n\
    {\"type\":\"error\",\"code\":\"tls_required\",\"message\":\"this address speaks TLS: use https:// or \
    wss:// in place of http\"}";

/// What is done with each connection of a listener.
#[derive(Clone)]
pub struct Accepting {
    /// The TLS that the listener speaks, if it does.
    pub tls: Option<TlsAcceptor>,
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
        upgrade::write_and_drain(&mut tcp, SPEAKS_TLS).await?;
        return Err(io::Error::new(ErrorKind::InvalidData, "the client speaks no TLS"));
    }
    let limit = |tls: &mut rustls::ServerConnection| tls.set_buffer_limit(Some(MAX_HELD_BYTES));
    match tls.accept_with(tcp, limit).into_fallible().await {
        Ok(stream) => Ok(Socket::Tls(Box::new(stream))),
        Err((error, mut tcp)) => {
            // The alert is sent; unread bytes would turn it into a reset.
            upgrade::write_and_drain(&mut tcp, b"").await?;
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_plain_http_has_the_length_that_it_says() {
        let text = std::str::from_utf8(SPEAKS_TLS).expect("ASCII");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.contains(&format!("content-length: {}\r\n", body.len()) as &str) || head.ends_with(&format!("content-length: {}", body.len())), "{}", body.len());
        let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(body["code"], "tls_required");
    }
}
