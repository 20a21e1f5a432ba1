//! A crowd: 1,000 clients and 100,000 actions. Each client sees every value once, in order, and all
//! agree at the end.

mod support;

use mio::{Events, Interest, Poll, Token, net::TcpStream};
use std::{
    io::{ErrorKind, Read, Write},
    net::SocketAddr,
    time::Instant,
};
use support::{DEADLINE, RawClient, TestServer, masked, parse_server_frame};

const CLIENTS: usize = 1_000;
/// Each client acts once in a wave, and the next begins when all have seen all of this one: so
/// nobody is ever so far behind that states may be skipped.
const WAVES: i64 = 100;

/// A client in the crowd: it only counts, and checks.
struct Member {
    socket: TcpStream,
    received: Vec<u8>,
    value: i64,
}

impl Member {
    fn join(address: SocketAddr, poll: &Poll, token: usize) -> Self {
        let (client, value) = RawClient::join_counter(address);
        assert_eq!(value, 0, "nobody acted yet");
        let (socket, received) = client.into_parts();
        socket.set_nonblocking(true).expect("a socket option");
        let mut socket = TcpStream::from_std(socket);
        let registered = poll.registry().register(&mut socket, Token(token), Interest::READABLE);
        registered.expect("epoll takes the socket");
        Self { socket, received, value }
    }

    /// Reads what is there. Returns how many states that was.
    fn read(&mut self, number: usize) -> i64 {
        let before = self.value;
        let mut buffer = [0; 64 * 1024];
        loop {
            match self.socket.read(&mut buffer) {
                Ok(0) => panic!("client {number} was cut off at value {}", self.value),
                Ok(count) => self.received.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("client {number}: {error}"),
            }
        }
        let mut at = 0;
        while let Some((frame, length)) = parse_server_frame(&self.received[at..]) {
            at += length;
            self.heed(number, frame.opcode, &frame.payload);
        }
        self.received.drain(..at);
        self.value - before
    }

    fn heed(&mut self, number: usize, opcode: u8, payload: &[u8]) {
        if opcode == 0x9 {
            return self.send(0x8A, payload);
        }
        let text = std::str::from_utf8(payload).expect("events are text");
        let Some(value) = text.strip_prefix("{\"type\":\"state\",\"value\":") else { return };
        let value: i64 = value.trim_end_matches('}').parse().expect("a number");
        assert_eq!(value, self.value + 1, "client {number} must see every value once, in order");
        self.value = value;
    }

    fn send(&mut self, first_byte: u8, payload: &[u8]) {
        self.socket.write_all(&masked(first_byte, payload)).expect("small writes do not block");
    }
}

#[test]
fn a_thousand_clients_see_each_of_100_000_actions_once_and_in_order() {
    let server = TestServer::start("[limits]\nmax_connections = 2000");
    let mut poll = Poll::new().expect("epoll");
    let mut members: Vec<Member> =
        (0..CLIENTS).map(|token| Member::join(server.address, &poll, token)).collect();
    let mut events = Events::with_capacity(CLIENTS);
    for wave in 1..=WAVES {
        members.iter_mut().for_each(|member| member.send(0x81, br#"{"action":"plus"}"#));
        let mut missing = (CLIENTS * CLIENTS) as i64;
        let start = Instant::now();
        while missing > 0 {
            let late = || format!("wave {wave}: {missing} states are missing after {DEADLINE:?}");
            assert!(start.elapsed() < DEADLINE, "{}", late());
            poll.poll(&mut events, Some(DEADLINE)).expect("epoll");
            for event in &events {
                let number = event.token().0;
                missing -= members[number].read(number);
            }
        }
    }
    let values: Vec<i64> = members.iter().map(|member| member.value).collect();
    assert!(values.iter().all(|value| *value == WAVES * CLIENTS as i64), "all agree: {values:?}");
}
