//! Worker threads: each its audience and its `Fanout`.

use super::Rooms;
use crate::{
    auth::Auth,
    config::{self, Config},
    connections::Connections,
    fanout::{Audience, Drain, Drained, Fanout, HeartbeatTimes, Inbox, Vital},
    protocol::Compression,
    server::StateServer,
    session::Worker,
};
use actix::{Actor, Addr};
use std::{
    cell::OnceCell,
    collections::HashMap,
    rc::Rc,
    sync::{
        Arc, LazyLock, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::{mpsc, watch};

/// Sets up worker threads.
#[derive(Clone)]
pub struct WorkerFactory(pub(super) Arc<WorkerParts>);

/// The `StateServer`, which starts on the thread that uses it first.
pub(super) type LazyServer =
    LazyLock<Addr<StateServer>, Box<dyn FnOnce() -> Addr<StateServer> + Send>>;

/// What all workers are made from.
pub struct WorkerParts {
    pub(super) config: Arc<Config>,
    pub(super) rooms: Arc<Rooms>,
    pub(super) auth: Auth,
    pub(super) connections: Connections,
    pub(super) epoch: String,
    pub(super) server: LazyServer,
    pub(super) inboxes: Vec<Arc<Inbox>>,
    pub(super) next_worker: AtomicU64,
    pub(super) next_session: Arc<AtomicU64>,
    /// Told when a `Fanout` is gone.
    pub(super) watch: mpsc::UnboundedSender<&'static str>,
    pub(super) fanouts: Mutex<HashMap<usize, Addr<Fanout>>>,
    /// For feeds: the server, while it runs.
    pub(super) running: Weak<watch::Sender<Option<Addr<StateServer>>>>,
}

thread_local! {
    /// This thread's worker. A thread serves one server, but may do so for several listeners.
    static WORKER: OnceCell<Worker> = const { OnceCell::new() };
}

/// What the config says about compression, as the core takes it.
fn compression(config: &config::Compression) -> Option<Compression> {
    config.enabled.then_some(Compression {
        window_bits: config.window_bits,
        level: config.level,
        memory_level: config.memory_level,
        // At most 64 MiB.
        min_bytes: config.min_size_bytes as u32,
    })
}

impl WorkerFactory {
    /// This thread's worker, made at the first call.
    pub fn worker(&self) -> Worker {
        WORKER.with(|worker| worker.get_or_init(|| self.start_worker()).clone())
    }

    fn start_worker(&self) -> Worker {
        let parts = &*self.0;
        let config = &parts.config;
        let times = HeartbeatTimes {
            interval: config.heartbeat.interval,
            timeout: config.heartbeat.timeout,
        };
        // A thread that replaces one that died comes too late: the server stops without its Fanout.
        let index = parts.next_worker.fetch_add(1, Ordering::Relaxed) as usize;
        let index = index % parts.inboxes.len();
        // At most 1,024 workers.
        let audience = Audience::new(index as u16, config.delivery.max_pending_bytes, times);
        let audience = Rc::new(audience);
        // Often enough that a timeout is late by a quarter at most; a sweep is cheap.
        let sweep = times.interval.min(times.timeout) / 4;
        let sweep = sweep.clamp(Duration::from_millis(5), Duration::from_secs(1));
        let vital = Vital::new("fan-out", &parts.watch);
        let inbox = parts.inboxes[index].clone();
        let max_round_bytes = config.delivery.max_pending_bytes / 2;
        let fanout = Fanout::new(audience.clone(), inbox, sweep, max_round_bytes, vital).start();
        parts.fanouts.lock().unwrap_or_else(PoisonError::into_inner).insert(index, fanout);
        let server = parts.server.clone();
        if let Some(running) = parts.running.upgrade() {
            running.send_replace(Some(server.clone()));
        }
        Worker {
            audience,
            server,
            next_session: parts.next_session.clone(),
            close_timeout: config.server.close_timeout,
            max_message_bytes: config.limits.max_message_bytes,
            compression: compression(&config.compression),
        }
    }

    /// Begins the end: every session is read no more, answered, and closed.
    pub fn drain(&self) {
        let fanouts = self.0.fanouts.lock().unwrap_or_else(PoisonError::into_inner);
        for worker in 0..self.0.inboxes.len() {
            let answer_to = self.0.server.clone().recipient();
            match fanouts.get(&worker).filter(|fanout| fanout.connected()) {
                Some(fanout) => fanout.do_send(Drain { answer_to }),
                // A thread that is gone reads no sessions.
                None => answer_to.do_send(Drained),
            }
        }
    }
}
