//! The edge: listening sockets, worker threads, one `App` with its routes and the gates before a
//! session.
//!
//! [`Server::bind`] opens everything that can fail, [`Server::run`] serves until it is told to
//! stop.

mod accept;
mod api;
mod certificate;
mod credential;
mod feed;
mod gates;
mod listener;
mod pages;
mod refusal;
mod routes;
mod sse;
mod unread;
mod upgrade;
mod worker;

pub use crate::auth::Unauthorized;
pub use certificate::TlsError;
pub use feed::{Feed, FeedError};
pub use refusal::Refusal;

/// What the fuzz targets (`tests/fuzz`) need besides: everything that reads a request's head and is
/// pure. They drive it with heads that no test would think of. No part of the API.
#[doc(hidden)]
pub mod head {
    pub use super::{
        api::client,
        credential::{Masked, find},
        gates::*,
    };
    pub use crate::auth::{Auth, UnixSeconds};
}

use crate::{
    auth::Auth,
    config::{Config, Problem, Rights},
    connections::{Connections, Rates},
    fanout::{Inbox, Vital},
    room::{BadArgument, Constructor, Kinds, PathPattern, RoomKind},
    server::{CloseSessions, Finish, Recovered, StartupError, StateServer, Times},
    state::{Place, RoomPlan},
};
use accept::Accepting;
use actix::{Actor, Addr, Arbiter};
use actix_http::{HttpService, KeepAlive};
use actix_service::{IntoServiceFactory, ServiceFactoryExt, fn_service, map_config};
use actix_web::dev::AppConfig;
use rustls::ServerConfig;
use std::{
    collections::HashMap,
    fmt,
    fs::File,
    future::Future,
    io::{self, Read},
    net::{SocketAddr, TcpListener},
    sync::{Arc, LazyLock, Mutex, atomic::AtomicU64},
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::TlsAcceptor;
use worker::{LazyServer, WorkerFactory, WorkerParts};

/// Broadcasts that wait for one worker thread before older ones give way to newer: what 256 clients
/// may have on their way if each sends ahead as far as its credit goes. Some megabytes.
const MAX_WAITING_BROADCASTS: usize = 16 * 1024;

/// HTTP connections that are no sessions, for each worker thread: pages, refusals, handshakes on
/// their way. They are short.
const MAX_HTTP_CONNECTIONS_PER_WORKER: usize = 4096;

/// The time that the accepting thread has to heed a pause, of which it says nothing. Doors that
/// close before would be errors in its log.
const PAUSE_TIME: Duration = Duration::from_millis(100);

/// What the journal gets for its end in any case.
const JOURNAL_TIME: Duration = Duration::from_millis(500);

/// Why a server did not start.
#[derive(Debug)]
pub enum StartError {
    /// Rooms in the configuration are wrong.
    Rooms(Vec<Problem>),
    /// The certificate cannot be used, or its key.
    Tls(TlsError),
    /// Tokens or keys cannot be used.
    Auth(Vec<Problem>),
    /// The journal cannot be used.
    Journal(StartupError),
    /// An address cannot be listened on.
    Bind {
        /// As it stands in `server.bind` or `server.tls.bind`.
        address: String,
        /// What the system said.
        error: io::Error,
    },
}

impl std::error::Error for StartError {}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rooms(problems) | Self::Auth(problems) => {
                let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
                f.write_str(&lines.join("\n"))
            }
            Self::Tls(error) => error.fmt(f),
            Self::Journal(error) => error.fmt(f),
            Self::Bind { address, error } if error.kind() == io::ErrorKind::AddrInUse => write!(
                f,
                "cannot listen on {address}: the port is in use; stop what uses it or set \
                 server.bind (for TLS server.tls.bind) to another"
            ),
            Self::Bind { address, error } => write!(f, "cannot listen on {address}: {error}"),
        }
    }
}

/// Why a server stopped though nobody asked it to.
#[derive(Debug)]
pub enum RunError {
    /// An actor that nothing works without is gone: a bug, in a room perhaps. The log has the panic.
    ActorGone(&'static str),
    /// The accepting threads failed.
    Accept(io::Error),
}

impl std::error::Error for RunError {}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ActorGone(name) => {
                write!(f, "the {name} stopped by itself; standard error has the panic")
            }
            Self::Accept(error) => write!(f, "the server cannot accept connections: {error}"),
        }
    }
}

/// The rooms of the configuration.
#[derive(Debug)]
struct Rooms {
    kinds: Kinds,
    plans: Vec<RoomPlan>,
    /// What those without a token may do in each.
    anonymous: Vec<Option<Rights>>,
    /// Indexes of those that are no patterns, by path.
    by_path: HashMap<String, usize>,
}

impl Rooms {
    fn open(config: &Config, kinds: Kinds) -> Result<Self, Vec<Problem>> {
        let mut rooms =
            Self { kinds, plans: Vec::new(), anonymous: Vec::new(), by_path: HashMap::new() };
        let mut problems = Vec::new();
        // A room without a kind has been complained of already.
        for room in config.rooms.iter().filter(|room| !room.kind.is_empty()) {
            let kind = rooms.kinds.make(&room.kind, &room.arguments).and_then(|kind| {
                check_kind(&room.kind, &*kind)?;
                Ok(kind)
            });
            match (kind, PathPattern::parse(&room.path)) {
                (Ok(_), Ok(path)) if rooms.plans.iter().any(|plan| plan.path.is_same_as(&path)) => {
                    problems
                        .push(room.problem("path", "there is a room for each of these already"));
                }
                (Ok(kind), Ok(path)) => {
                    if !path.has_name() {
                        rooms.by_path.insert(room.path.clone(), rooms.plans.len());
                    }
                    rooms.anonymous.push(room.anonymous);
                    rooms.plans.push(RoomPlan { path, kind, max_rooms: room.max_rooms });
                }
                (kind, path) => {
                    problems.extend(kind.err().map(|bad| room.problem(&bad.key, bad.message)));
                    problems.extend(path.err().map(|message| room.problem("path", message)));
                }
            }
        }
        if problems.is_empty() { Ok(rooms) } else { Err(problems) }
    }

    /// Whether the room at a place is made on first use, and can be removed.
    fn is_made_on_use(&self, place: &Place) -> bool {
        self.plans[place.plan].path.has_name()
    }

    /// The place at `path`, and its kind. What stands in the configuration goes before patterns, and
    /// of those the first counts.
    fn at(&self, path: &str) -> Option<(Place, &Arc<dyn RoomKind>)> {
        let index = match self.by_path.get(path) {
            Some(index) => *index,
            None => self.plans.iter().position(|plan| plan.path.matches(path))?,
        };
        Some((Place { plan: index, path: path.into() }, &self.plans[index].kind))
    }

    /// What those without a token may do there.
    fn anonymous(&self, place: &Place) -> Option<Rights> {
        self.anonymous[place.plan]
    }
}

/// Finds what would only be noticed at a later start, when the journal cannot be read.
fn check_kind(name: &str, kind: &dyn RoomKind) -> Result<(), BadArgument> {
    let wrong = |message| Err(BadArgument::new("kind", message));
    if kind.name() != name {
        return wrong(format!("the kind added as {name:?} calls itself {:?}", kind.name()));
    }
    if kind.is_durable() && kind.restore(&kind.open().save()).is_none() {
        return wrong(format!("the durable kind {name:?} does not read back what it saves"));
    }
    Ok(())
}

/// Checks what [`Config`] leaves to the room kinds.
///
/// # Errors
/// All problems, each with its place.
pub fn check_rooms(config: &Config) -> Result<(), Vec<Problem>> {
    Rooms::open(config, Kinds::default()).map(|_| ())
}

/// Checks the certificate and the key that the configuration names, if it does.
///
/// # Errors
/// Which file is wrong, and what to do.
pub fn check_tls(config: &Config) -> Result<(), TlsError> {
    certificate::load(&config.server.tls).map(|_| ())
}

/// Opens `addresses`, as they stand in the configuration.
fn listen(addresses: &[String]) -> Result<Vec<TcpListener>, StartError> {
    let mut listeners = Vec::new();
    for address in addresses {
        let opened = listener::listen(address)
            .map_err(|error| StartError::Bind { address: address.clone(), error })?;
        listeners.extend(opened);
    }
    Ok(listeners)
}

fn local_addresses(listeners: &[TcpListener]) -> Vec<SocketAddr> {
    listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
}

/// The largest file with a token or a key that is read: keys have a few hundred bytes.
const MAX_SECRET_FILE_BYTES: u64 = 64 * 1024;

/// Reads the tokens and keys that the configuration names, and checks them.
///
/// # Errors
/// All problems, each with its place.
pub fn check_auth(config: &Config) -> Result<(), Vec<Problem>> {
    open_auth(config).map(|_| ())
}

fn open_auth(config: &Config) -> Result<Auth, Vec<Problem>> {
    Auth::open(&config.auth, |file| {
        let mut text = String::new();
        File::open(file)
            .and_then(|file| file.take(MAX_SECRET_FILE_BYTES).read_to_string(&mut text))
            .map_err(|error| format!("cannot be read: {error}"))?;
        Ok(text)
    })
}

/// A server whose journal and addresses are open and which serves once it is [run](Server::run).
#[derive(Debug)]
pub struct Server {
    config: Arc<Config>,
    rooms: Arc<Rooms>,
    auth: Auth,
    recovered: Recovered,
    tls: Option<Arc<ServerConfig>>,
    listeners: Vec<TcpListener>,
    tls_listeners: Vec<TcpListener>,
    addresses: Vec<SocketAddr>,
    tls_addresses: Vec<SocketAddr>,
    next_session: Arc<AtomicU64>,
    /// For feeds: the server, while it runs.
    running: watch::Sender<Option<Addr<StateServer>>>,
}

/// A server before it is open: the place to add kinds of room of one's own.
#[derive(Debug)]
pub struct Builder {
    config: Config,
    kinds: Kinds,
}

impl Builder {
    /// Adds a kind of room, which `[[room]]` tables call `name`, as it [calls itself](RoomKind::name).
    /// In the place of one of the product that has this name.
    #[must_use]
    pub fn room_kind(mut self, name: &'static str, constructor: Constructor) -> Self {
        self.kinds.add(name, constructor);
        self
    }

    /// Checks the rooms and the certificate, opens the journal and reads it, and opens the
    /// addresses.
    ///
    /// # Errors
    /// What the operator has to change.
    pub fn bind(self) -> Result<Server, StartError> {
        Server::open(self.config, self.kinds)
    }
}

impl Server {
    /// A server with this configuration, to which kinds of room can be added.
    pub fn builder(config: Config) -> Builder {
        Builder { config, kinds: Kinds::default() }
    }

    /// Checks the rooms and the certificate, reads tokens and keys, opens the journal and reads it, and opens the
    /// addresses.
    ///
    /// # Errors
    /// What the operator has to change.
    pub fn bind(config: Config) -> Result<Self, StartError> {
        Self::builder(config).bind()
    }

    fn open(config: Config, kinds: Kinds) -> Result<Self, StartError> {
        let rooms = Arc::new(Rooms::open(&config, kinds).map_err(StartError::Rooms)?);
        let tls = certificate::load(&config.server.tls).map_err(StartError::Tls)?;
        let auth = open_auth(&config).map_err(StartError::Auth)?;
        let recovered =
            Recovered::open(&config, &rooms.plans, &rooms.kinds).map_err(StartError::Journal)?;
        let listeners = listen(&config.server.bind)?;
        let tls_listeners = listen(&config.server.tls.bind)?;
        Ok(Self {
            config: Arc::new(config),
            rooms,
            auth,
            recovered,
            tls,
            addresses: local_addresses(&listeners),
            tls_addresses: local_addresses(&tls_listeners),
            listeners,
            tls_listeners,
            next_session: Arc::new(AtomicU64::new(1)),
            running: watch::Sender::new(None),
        })
    }

    /// A way into the room at `path` for this program itself. `None` if there is no such room.
    pub fn feed(&self, path: &str) -> Option<Feed> {
        let (place, kind) = self.rooms.at(path)?;
        let (kind, next_session) = (kind.clone(), self.next_session.clone());
        Some(Feed { place, kind, next_session, running: self.running.subscribe() })
    }

    /// The addresses of `server.bind` that are open, with the ports that the system chose for
    /// port 0.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The same for `server.tls.bind`.
    pub fn tls_addresses(&self) -> &[SocketAddr] {
        &self.tls_addresses
    }

    /// What a person should open first: the page of the first room that has one, else the first
    /// room's socket. `None` without rooms or addresses.
    pub fn entrance(&self) -> Option<String> {
        let (address, s) = match (self.addresses.first(), self.tls_addresses.first()) {
            (Some(plain), _) => (plain, ""),
            (None, tls) => (tls?, "s"),
        };
        let address = listener::reachable(*address);
        // A pattern is no room yet.
        let mut rooms = self.config.rooms.iter().filter(|room| !room.path.contains('{'));
        let first = rooms.clone().next();
        match (rooms.find(|room| pages::of_kind(&room.kind).is_some()), first) {
            (Some(room), _) => Some(format!("open http{s}://{address}{} in a browser", room.path)),
            (None, Some(room)) => Some(format!("connect to ws{s}://{address}{}", room.path)),
            (None, None) => Some(format!("open http{s}://{address}/web/ in a browser")),
        }
    }

    /// Serves until `stop` is done; then stops accepting, answers what was taken in, closes every
    /// session with 1001 and returns, within `server.shutdown_timeout`. Needs an actix `System`.
    ///
    /// # Errors
    /// Why the server stopped by itself.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), RunError> {
        let Self {
            config,
            rooms,
            auth,
            recovered,
            tls,
            listeners,
            tls_listeners,
            next_session,
            running,
            ..
        } = self;
        // Feeds stop when this is dropped.
        let running = Arc::new(running);
        let inboxes = (0..config.server.workers).map(|_| Inbox::new(MAX_WAITING_BROADCASTS));
        let inboxes: Vec<_> = inboxes.map(Arc::new).collect();
        let (watch, mut gone) = mpsc::unbounded_channel();
        let vital = Vital::new("state server", &watch);
        let times = Times {
            presence_interval: config.delivery.presence_interval,
            room_idle_timeout: config.limits.room_idle_timeout,
        };
        let epoch = recovered.state.epoch().to_owned();
        let server = StateServer::new(recovered, inboxes.clone(), times, vital);
        let server = state_server(server, config.server.workers);
        let connections = Connections::new(
            config.limits.max_connections,
            config.limits.max_connections_per_address,
            Rates {
                actions_per_second: config.limits.actions_per_second,
                actions_burst: config.limits.actions_burst,
                actions_per_second_per_address: config.limits.actions_per_second_per_address,
                connections_per_second_per_address: config
                    .limits
                    .connections_per_second_per_address,
            },
        );
        let factory = WorkerFactory(Arc::new(WorkerParts {
            config: config.clone(),
            rooms,
            auth,
            connections,
            epoch,
            server,
            inboxes,
            next_worker: AtomicU64::new(0),
            next_session,
            fanouts: Mutex::default(),
            watch,
            running: Arc::downgrade(&running),
        }));
        let listeners: Vec<_> = (listeners.into_iter().map(|listener| (listener, None)))
            .chain(tls_listeners.into_iter().map(|listener| (listener, tls.clone())))
            .collect();
        let doors = listeners.iter().map(|(listener, _)| listener.try_clone());
        let doors = doors.collect::<io::Result<Vec<_>>>().map_err(RunError::Accept)?;
        let accepting = accept(&config, listeners, &factory).map_err(RunError::Accept)?;
        let handle = accepting.handle();
        let mut accepting = actix_rt::spawn(accepting);
        tokio::select! {
            () = stop => {}
            Some(name) = gone.recv() => {
                handle.stop(false).await;
                return Err(RunError::ActorGone(name));
            }
            ended = &mut accepting => {
                let error = ended.unwrap_or_else(|panic| Err(io::Error::other(panic)));
                return Err(RunError::Accept(error.err().unwrap_or(io::ErrorKind::Other.into())));
            }
        }
        // Feeds push no more; what they have pushed is answered.
        drop(running);
        handle.pause().await;
        shut_down(&factory, &doors).await;
        // Sessions are gone: what is left are HTTP requests, which are answered at once.
        handle.stop(false).await;
        log::info!("stopped");
        Ok(())
    }
}

/// The actor runs on a thread of its own, which several workers reach alike. A single worker has it
/// on its own thread: every action would only wait for the two hops there and back, with nobody else
/// to work for meanwhile. It starts when it is first used there.
fn state_server(server: StateServer, workers: usize) -> LazyServer {
    if workers == 1 {
        return LazyLock::new(Box::new(|| server.start()));
    }
    let address = StateServer::start_in_arbiter(&Arbiter::new().handle(), |_| server);
    LazyLock::new(Box::new(|| address))
}

/// Lets all sessions end, then the journal, within `server.shutdown_timeout`.
async fn shut_down(factory: &WorkerFactory, doors: &[TcpListener]) {
    let WorkerParts { config, connections, server, .. } = &*factory.0;
    log::info!("stopping: closing {} connections", connections.count());
    let deadline = Instant::now() + config.server.shutdown_timeout;
    factory.drain();
    let ended = timeout_at(deadline, async {
        if timeout(PAUSE_TIME, connections.all_gone()).await.is_err() {
            doors.iter().for_each(listener::close_door);
        }
        // A journal that does not answer must not keep everybody from being closed properly.
        if timeout(config.server.shutdown_timeout / 2, connections.all_gone()).await.is_err() {
            server.do_send(CloseSessions);
        }
        connections.all_gone().await;
    });
    if ended.await.is_err() {
        let left = connections.count();
        log::warn!("{left} connections did not end in server.shutdown_timeout");
    }
    // Sessions may have used up the time, and a journal that works needs only a moment.
    let deadline = deadline.max(Instant::now() + JOURNAL_TIME);
    // A server that is gone has let go of its journal.
    if let Err(late) = timeout_at(deadline, server.send(Finish)).await {
        log::error!("the journal did not end in server.shutdown_timeout: {late}");
    }
}

/// Starts the accepting thread and the workers.
fn accept(
    config: &Config,
    listeners: Vec<(TcpListener, Option<Arc<ServerConfig>>)>,
    factory: &WorkerFactory,
) -> io::Result<actix_server::Server> {
    let mut builder = actix_server::Server::build()
        .workers(config.server.workers)
        .max_concurrent_connections(MAX_HTTP_CONNECTIONS_PER_WORKER)
        .disable_signals();
    for (listener, tls) in listeners {
        let factory = factory.clone();
        let timeout = config.limits.handshake_timeout;
        let accepting = Accepting {
            tls: tls.map(TlsAcceptor::from),
            connections: factory.0.connections.clone(),
            handshake_timeout: timeout,
            // After the sessions' own timeout, which also tells the peer; the kernel's is for event
            // streams, whose actors do not run while their client does not read.
            user_timeout: config.heartbeat.timeout * 3 / 2,
        };
        builder = builder.listen("statesync", listener, move || {
            let app = || {
                let app = routes::app(&factory).into_factory();
                map_config(app.map_err(|error| upgrade::error_response(&error)), |()| {
                    AppConfig::default()
                })
            };
            let accepting = accepting.clone();
            let service = HttpService::build()
                .client_request_timeout(timeout)
                .client_disconnect_timeout(timeout)
                // actix-http times the first request of a connection only: a second one could be
                // begun and never ended.
                .keep_alive(KeepAlive::Disabled)
                // A client that ends its half has left: an event stream must notice at once.
                .h1_allow_half_closed(false)
                .upgrade(upgrade::UpgradeFactory { app: app(), worker: factory.worker() })
                .h1(app());
            fn_service(move |tcp| accepting.clone().accept(tcp)).and_then(service)
        })?;
    }
    Ok(builder.run())
}
