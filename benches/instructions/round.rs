//! One round of writes to a thousand sessions of a room: real TCP connections on the loopback, from
//! a broadcast that is encoded already to the system call for each.

use super::{Case, Work};
use anyhow::{Context, Result, ensure};
use statesync::{
    microbench::Listeners,
    protocol::{EncodedEvent, Event, WireForm},
};
use std::{io::Read, net::Ipv4Addr, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
};

pub const CASES: &[Case] = &[
    Case { name: "round of 1 state", unit: "a session", units: SESSIONS, prepare: || writing(1) },
    Case {
        name: "round of 40 states",
        unit: "a session",
        units: SESSIONS,
        prepare: || writing(40),
    },
];

const SESSIONS: u64 = 1_000;
const FORM: WireForm = WireForm::WebSocket;

struct Writing {
    listeners: Listeners,
    states: Vec<Arc<EncodedEvent>>,
    /// What the sessions' clients read from.
    clients: Vec<std::net::TcpStream>,
    /// What sockets are registered with.
    _runtime: Runtime,
}

fn writing(states: u64) -> Result<Box<dyn Work>> {
    let runtime = Builder::new_current_thread().enable_io().build()?;
    let (sockets, clients) = runtime.block_on(connect())?;
    let state = |value: u64| Event::State { seq: value, value: value.into() };
    let states =
        (1_000_000..1_000_000 + states).map(|value| EncodedEvent::new(state(value)).into());
    Ok(Box::new(Writing {
        listeners: Listeners::new(sockets, FORM),
        states: states.collect(),
        clients,
        _runtime: runtime,
    }))
}

async fn connect() -> Result<(Vec<TcpStream>, Vec<std::net::TcpStream>)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let (mut sockets, mut clients) = (Vec::new(), Vec::new());
    for _ in 0..SESSIONS {
        let client = TcpStream::connect(listener.local_addr()?).await?;
        let (socket, _) = listener.accept().await?;
        // A round writes only to sockets that are known to take bytes.
        socket.writable().await?;
        sockets.push(socket);
        clients.push(client.into_std()?);
    }
    Ok((sockets, clients))
}

impl Work for Writing {
    fn run(&mut self) {
        self.listeners.round(&self.states);
    }

    fn check(&mut self) -> Result<()> {
        let round: Vec<_> = self.states.iter().map(|event| event.bytes(FORM).as_ref()).collect();
        let due = [round.concat(), round.concat()].concat();
        for client in &mut self.clients {
            let mut read = vec![0; due.len()];
            client.set_nonblocking(false)?;
            // Only if the rounds were not written.
            client.set_read_timeout(Some(Duration::from_secs(10)))?;
            client.read_exact(&mut read).context("a client was not sent the two rounds")?;
            ensure!(read == due, "a client was sent something else");
        }
        Ok(())
    }
}
