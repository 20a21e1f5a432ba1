//! The ceiling: the least that a server can do, as a measure for what a real one adds.
//!
//! A bare epoll loop on each thread. It knows one room, keeps nothing, has no queues for its clients
//! and no patience: one that does not keep up is closed. Any client can connect.

mod frame;
mod handshake;
mod peer;
mod room;
mod worker;

use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, mpsc};
use std::thread;

use anyhow::{Context, Result};
use clap::Parser;
use mio::{Poll, Waker};
use statesync_peers::{prepare_process, print_ready};

use crate::room::Room;
use crate::worker::{WAKER, Worker};

/// The least that a server of the counter can do
#[derive(Parser)]
struct Options {
    /// Where to listen on 127.0.0.1; 0 is any free port
    #[arg(default_value_t = 0)]
    port: u16,
    /// All actions that came while the last round of writes went on are one write for each client;
    /// otherwise each action is one
    #[arg(long)]
    merge: bool,
    /// The connections are spread over so many threads
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    threads: u16,
}

fn main() -> Result<()> {
    let options = Options::parse();
    prepare_process()?;
    // The listener of the standard library: its backlog is as long as the system allows.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let workers = workers(&options, mio::net::TcpListener::from_std(listener))?;
    print_ready(address);
    let (ended, end) = mpsc::channel();
    for worker in workers {
        let ended = ended.clone();
        thread::spawn(move || ended.send(worker.run()));
    }
    // None ends but by an error, and then it is over for all.
    end.recv().context("a thread was lost")?
}

fn workers(options: &Options, listener: mio::net::TcpListener) -> Result<Vec<Worker>> {
    let threads = usize::from(options.threads);
    let polls = (0..threads).map(|_| Poll::new()).collect::<Result<Vec<_>, _>>()?;
    let wakers = polls.iter().map(|poll| Waker::new(poll.registry(), WAKER));
    let room = Arc::new(Room::new(wakers.collect::<Result<_, _>>()?));
    let mut listener = Some(listener);
    polls
        .into_iter()
        .enumerate()
        .map(|(number, poll)| {
            Worker::new(number, threads, options.merge, room.clone(), poll, listener.take())
        })
        .collect()
}
