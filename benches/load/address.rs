//! Where a server is.

use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

use anyhow::{Context, Error, Result, bail};

/// A WebSocket URL, and the socket address that it leads to.
#[derive(Clone, Debug)]
pub struct Address {
    /// Where to connect to.
    pub socket: SocketAddr,
    /// Host and port as in the URL.
    pub authority: String,
    /// Path and query, at least `/`.
    pub path: String,
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(url: &str) -> Result<Address> {
        let Some(rest) = url.strip_prefix("ws://") else {
            bail!("a URL such as ws://localhost:6789/ is expected, without TLS");
        };
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let socket = resolve(authority)?;
        Ok(Address { socket, authority: authority.to_owned(), path })
    }
}

fn resolve(authority: &str) -> Result<SocketAddr> {
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let with_port = if has_port { authority.to_owned() } else { format!("{authority}:80") };
    let mut addresses =
        with_port.to_socket_addrs().with_context(|| format!("no address for {authority:?}"))?;
    addresses.next().with_context(|| format!("no address for {authority:?}"))
}
