//! The opening handshake.

use anyhow::{Context, Result};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

const MOST_HEADERS: usize = 64;

/// A request that is all there.
pub struct Request {
    /// What to answer.
    pub answer: String,
    /// The bytes that it takes.
    pub size: usize,
}

/// Reads a request, or `None` as long as it is not all there.
pub fn parse(bytes: &[u8]) -> Result<Option<Request>> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(size) = request.parse(bytes)? else {
        return Ok(None);
    };
    let key = request
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("Sec-WebSocket-Key"))
        .context("a request that is no opening handshake")?;
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        derive_accept_key(key.value)
    );
    Ok(Some(Request { answer, size }))
}
