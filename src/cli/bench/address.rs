//! Where a server is.

use super::error::BenchError;
use std::net::{SocketAddr, ToSocketAddrs};

/// What stands for a room's number in a URL.
const ROOM: &str = "{room}";

/// A WebSocket URL, and the socket address that it leads to.
#[derive(Clone, Debug)]
pub struct Address {
    /// Where to connect to.
    pub socket: SocketAddr,
    /// Host and port as in the URL.
    pub authority: String,
    /// Path and query, at least `/`.
    path: String,
}

impl Address {
    /// Takes a URL apart and looks up its host.
    ///
    /// # Errors
    /// [`BenchError::Argument`] if it is none that begins with `ws://`, or its host has no address.
    pub fn parse(url: &str) -> Result<Self, BenchError> {
        let Some(rest) = url.strip_prefix("ws://").or_else(|| url.strip_prefix("http://")) else {
            return Err(BenchError::Argument(format!(
                "--url {url}: a URL such as ws://localhost:6789/ is expected, without TLS"
            )));
        };
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { socket: resolve(authority)?, authority: authority.to_owned(), path })
    }

    /// Path and query of the room with this number, counted from 0.
    pub fn path(&self, room: usize) -> String {
        self.path.replace(ROOM, &(room + 1).to_string())
    }

    /// Whether each room has a path of its own.
    pub fn has_rooms(&self) -> bool {
        self.path.contains(ROOM)
    }
}

fn resolve(authority: &str) -> Result<SocketAddr, BenchError> {
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let with_port = if has_port { authority.to_owned() } else { format!("{authority}:80") };
    let addresses: Vec<_> = with_port.to_socket_addrs().into_iter().flatten().collect();
    // localhost may be both, and servers listen on 127.0.0.1 first.
    let first = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first()).copied();
    first.ok_or_else(|| {
        BenchError::Argument(format!("--url: there is no address for {authority:?}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_and_rooms_are_numbered_from_1() {
        let address = Address::parse("ws://127.0.0.1:81/rooms/{room}?a=b").expect("a good URL");
        assert_eq!(address.socket, SocketAddr::from(([127, 0, 0, 1], 81)));
        assert_eq!(address.authority, "127.0.0.1:81");
        assert_eq!(address.path(0), "/rooms/1?a=b");
        assert!(address.has_rooms());
        let address = Address::parse("ws://127.0.0.1").expect("a good URL");
        assert_eq!((address.socket.port(), address.path(0).as_str()), (80, "/"));
        assert!(!address.has_rooms());
    }

    #[test]
    fn what_is_no_url_without_tls_is_refused() {
        for url in ["wss://localhost/", "localhost:6789", "ws://no-such-host.invalid/"] {
            assert!(matches!(Address::parse(url), Err(BenchError::Argument(_))), "{url}");
        }
    }
}
