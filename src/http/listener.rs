//! Listening sockets, and the options of accepted ones.

use socket2::{Domain, SockRef, Socket, Type};
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, ToSocketAddrs},
    time::Duration,
};
use tokio::net::TcpStream;

/// Connections that the kernel completes before they are accepted: room for a burst of joins.
/// Linux cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Bytes that the kernel holds for a connection without having sent them. What sits there is old:
/// a low mark keeps the newest state near the wire (`TCP_NOTSENT_LOWAT`).
#[cfg(target_os = "linux")]
const NOT_SENT_LOW_WATER_BYTES: u32 = 16 * 1024;

/// Bytes that the kernel takes from a client before the session reads them: as many as it reads at
/// once. By itself the kernel would let this grow to megabytes, and an action that waits there is as
/// late as the thousands before it. Linux doubles it, for what it costs itself. A client that is
/// 100 ms away can send some 300 KiB a second through it.
const RECEIVE_BUFFER_BYTES: usize = 16 * 1024;

/// An address that can be connected to, for one that stands for all of the machine's.
pub fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Refuses whoever comes from now on. actix-server only stops accepting: the kernel would let
/// connections in, to hang there until the process ends.
pub fn close_door(listener: &TcpListener) {
    // Systems that cannot do this say so; there connections wait until the end.
    let _ = SockRef::from(listener).shutdown(Shutdown::Both);
}

/// Sets an accepted socket's options. One that fails is not worth a connection: it is logged.
pub fn prepare(socket: &TcpStream, user_timeout: Duration) {
    let socket = SockRef::from(socket);
    let mut results = vec![("TCP_NODELAY", socket.set_tcp_nodelay(true))];
    #[cfg(target_os = "linux")]
    {
        results.push(("TCP_USER_TIMEOUT", socket.set_tcp_user_timeout(Some(user_timeout))));
        let low_water = socket.set_tcp_notsent_lowat(NOT_SENT_LOW_WATER_BYTES);
        results.push(("TCP_NOTSENT_LOWAT", low_water));
    }
    #[cfg(not(target_os = "linux"))]
    let _ = user_timeout;
    for (option, result) in results {
        if let Err(error) = result {
            log::debug!("{option}: {error}");
        }
    }
}

/// Leaves an upgraded connection to its session's own heartbeat. The kernel's timeout counts from
/// the first byte that a full receiver could not take, and a receiver that is slow but steady is
/// seldom less than full: it would be cut off.
pub fn leave_to_heartbeat(socket: &TcpStream) {
    #[cfg(target_os = "linux")]
    if let Err(error) = SockRef::from(socket).set_tcp_user_timeout(None) {
        log::debug!("TCP_USER_TIMEOUT: {error}");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = socket;
}

/// Opens every address that `address` means. A port 0 is chosen once and is the same for all.
pub fn listen(address: &str) -> io::Result<Vec<TcpListener>> {
    let mut listeners: Vec<TcpListener> = Vec::new();
    let mut addresses: Vec<SocketAddr> = address.to_socket_addrs()?.collect();
    // IPv4 first: that is the address people see.
    addresses.sort_by_key(SocketAddr::is_ipv6);
    addresses.dedup();
    let mut failure = None;
    for mut address in addresses {
        if let (0, Some(first)) = (address.port(), listeners.first()) {
            address.set_port(first.local_addr()?.port());
        }
        match listen_on(address) {
            Ok(listener) => listeners.push(listener),
            // A name may have addresses that this machine does not: "localhost" without IPv6.
            Err(error) if is_missing(&error) => failure = Some(error),
            Err(error) => return Err(error),
        }
    }
    match (listeners.is_empty(), failure) {
        (true, failure) => Err(failure.unwrap_or(io::ErrorKind::AddrNotAvailable.into())),
        (false, _) => Ok(listeners),
    }
}

/// Whether the machine lacks the address, or its whole family.
fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}

fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // A restarted server must get its port back while old connections linger. (On Windows the
    // option means something else: two servers on one port.)
    #[cfg(not(windows))]
    socket.set_reuse_address(true)?;
    // Before it listens: accepted sockets inherit it, and the window that they offer follows from it.
    socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}
