//! How many connections there are, in all and from each address, and how fast they come and act.

mod rates;

use rates::AddressRates;
pub use rates::{Allowance, Rates};

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::watch;

/// The count of connections and its limits. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Connections(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    max: usize,
    /// 0: no limit.
    max_per_address: usize,
    by_address: Mutex<HashMap<IpAddr, usize>>,
    count: watch::Sender<usize>,
    rates: Rates,
    knocks: Option<AddressRates>,
    handshakes: Option<AddressRates>,
    actions: Option<AddressRates>,
}

/// Why a connection was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// `limits.max_connections` is reached.
    Server,
    /// `limits.max_connections_per_address` is reached.
    Address,
}

impl Connections {
    /// No connections yet. `max_per_address` 0 is no limit.
    pub fn new(max: usize, max_per_address: usize, rates: Rates) -> Self {
        let by_address = Mutex::default();
        let count = watch::Sender::new(0);
        let knocks = AddressRates::new(rates.connections_per_second_per_address);
        let handshakes = AddressRates::new(rates.connections_per_second_per_address);
        let actions = AddressRates::new(rates.actions_per_second_per_address);
        Self(Arc::new(Shared {
            max,
            max_per_address,
            by_address,
            count,
            rates,
            knocks,
            handshakes,
            actions,
        }))
    }

    /// Whether `address` may begin a TLS handshake now, which costs a signature.
    ///
    /// # Errors
    /// After how long it may.
    pub fn shake_hands(&self, address: IpAddr) -> Result<(), Duration> {
        self.0.handshakes.as_ref().map_or(Ok(()), |rates| rates.take(network(address)))
    }

    /// Whether `address` may begin a session, or ask for a room, now.
    ///
    /// # Errors
    /// After how long it may.
    pub fn knock(&self, address: IpAddr) -> Result<(), Duration> {
        self.0.knocks.as_ref().map_or(Ok(()), |knocks| knocks.take(network(address)))
    }

    /// Lets a connection from `address` in, until the permit is dropped.
    ///
    /// # Errors
    /// Which limit is reached.
    pub fn admit(&self, address: IpAddr) -> Result<Permit, Full> {
        let address = network(address);
        let shared = &*self.0;
        let mut by_address = shared.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let from_address = by_address.get(&address).copied().unwrap_or(0);
        if *shared.count.borrow() >= shared.max {
            return Err(Full::Server);
        }
        if shared.max_per_address > 0 && from_address >= shared.max_per_address {
            return Err(Full::Address);
        }
        by_address.insert(address, from_address + 1);
        shared.count.send_modify(|count| *count += 1);
        Ok(Permit { connections: self.clone(), address })
    }

    /// Returns once there are no connections.
    pub async fn all_gone(&self) {
        // An error means that the sender is gone, and with it all connections; self holds it.
        let _ = self.0.count.subscribe().wait_for(|count| *count == 0).await;
    }

    /// How many connections there are.
    pub fn count(&self) -> usize {
        *self.0.count.borrow()
    }
}

/// What counts as one address: one of IPv4, or the /64 that an IPv6 host is commonly given whole.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 => v4,
    }
}

/// One connection's place; given up on drop, however the connection ends.
#[derive(Debug)]
pub struct Permit {
    connections: Connections,
    address: IpAddr,
}

impl Permit {
    /// What the connection may do how fast; `None` if it is not limited.
    pub fn allowance(&self) -> Option<Allowance> {
        Allowance::new(self.connections.0.rates, self.connections.0.actions.is_some())
    }

    /// Whether the connection's address may act once more now.
    ///
    /// # Errors
    /// After how long it may.
    pub fn act(&self) -> Result<(), Duration> {
        self.connections.0.actions.as_ref().map_or(Ok(()), |actions| actions.take(self.address))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let shared = &*self.connections.0;
        let mut by_address = shared.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        match by_address.get_mut(&self.address) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(by_address.remove(&self.address)),
        }
        shared.count.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn limits_hold_and_permits_come_back() {
        let connections = Connections::new(3, 2, Rates::default());
        let first = connections.admit(ip("10.0.0.1")).expect("room");
        let _second = connections.admit(ip("10.0.0.1")).expect("room");
        assert_eq!(connections.admit(ip("10.0.0.1")).unwrap_err(), Full::Address);
        let _other = connections.admit(ip("10.0.0.2")).expect("room");
        assert_eq!(connections.admit(ip("10.0.0.3")).unwrap_err(), Full::Server);
        drop(first);
        assert_eq!(connections.count(), 2);
        connections.admit(ip("10.0.0.1")).expect("room again");
    }

    #[test]
    fn no_address_is_kept_once_its_connections_are_gone() {
        let connections = Connections::new(10, 0, Rates::default());
        drop(connections.admit(ip("10.0.0.1")).expect("room"));
        assert!(connections.0.by_address.lock().expect("no panic").is_empty());
    }

    #[test]
    fn an_ipv6_host_is_its_64_bit_network_and_a_mapped_address_is_ipv4() {
        let connections = Connections::new(10, 1, Rates::default());
        let _permit = connections.admit(ip("2001:db8:1:2::1")).expect("room");
        assert_eq!(connections.admit(ip("2001:db8:1:2:ffff::9")).unwrap_err(), Full::Address);
        let _permit = connections.admit(ip("::ffff:10.0.0.1")).expect("room");
        assert_eq!(connections.admit(ip("10.0.0.1")).unwrap_err(), Full::Address);
    }
}
