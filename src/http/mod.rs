//! The edge: listening sockets, worker threads, one `App` with its routes and the gates before a
//! session.
//!
//! [`Server::bind`] opens everything that can fail, [`Server::run`] serves until it is told to
//! stop.

mod gates;
mod pages;
mod refusal;
mod sse;
mod upgrade;

pub use refusal::Refusal;

use crate::{
    config::{Config, JournalKind, Problem},
    connections::{Connections, Full},
    fanout::{Audience, Drain, Fanout, HeartbeatTimes, Inbox},
    journal::{Journal, MemoryJournal},
    room::{self, RoomId, RoomKind},
    server::StateServer,
    session::{Plan, Worker},
};
use actix::{Actor, Addr, Arbiter};
use actix_http::{Extensions, HttpService};
use actix_service::{IntoServiceFactory, ServiceFactory, ServiceFactoryExt, map_config};
use actix_web::{
    App, HttpRequest, HttpResponse,
    dev::AppConfig,
    http::{Method, header},
    web,
};
use socket2::{Domain, SockRef, Socket, Type};
use std::{
    cell::OnceCell,
    collections::HashMap,
    fmt,
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs},
    rc::Rc,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
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

/// Broadcasts that wait for one worker thread before older ones give way to newer: some rounds'
/// worth even under load.
const MAX_WAITING_BROADCASTS: usize = 4096;

/// HTTP connections that are no sessions, for each worker thread: pages, refusals, handshakes on
/// their way. They are short.
const MAX_HTTP_CONNECTIONS_PER_WORKER: usize = 4096;

/// Why a server did not start.
#[derive(Debug)]
pub enum StartError {
    /// Rooms in the configuration are wrong.
    Rooms(Vec<Problem>),
    /// An address cannot be listened on.
    Bind {
        /// As it stands in `server.bind`.
        address: String,
        /// What the system said.
        error: io::Error,
    },
}

impl std::error::Error for StartError {}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rooms(problems) => {
                let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
                f.write_str(&lines.join("\n"))
            }
            Self::Bind { address, error } if error.kind() == io::ErrorKind::AddrInUse => write!(
                f,
                "cannot listen on {address}: the port is in use; stop what uses it or set \
                 server.bind to another"
            ),
            Self::Bind { address, error } => write!(f, "cannot listen on {address}: {error}"),
        }
    }
}

/// Why a server stopped though nobody asked it to.
#[derive(Debug)]
pub enum RunError {
    /// The `StateServer` is gone: a bug, in a room perhaps. The log has the panic.
    StateServerGone,
    /// The accepting threads failed.
    Accept(io::Error),
}

impl std::error::Error for RunError {}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StateServerGone => {
                f.write_str("the state server stopped by itself; see the panic in the log")
            }
            Self::Accept(error) => write!(f, "the server cannot accept connections: {error}"),
        }
    }
}

/// Rooms by path, in the order of their [`RoomId`]s.
#[derive(Debug)]
struct Rooms {
    kinds: Vec<Arc<dyn RoomKind>>,
    by_path: HashMap<String, RoomId>,
}

impl Rooms {
    fn open(config: &Config) -> Result<Self, Vec<Problem>> {
        let mut rooms = Self { kinds: Vec::new(), by_path: HashMap::new() };
        let mut problems = Vec::new();
        for room in &config.rooms {
            match room::kind(&room.kind, &room.arguments) {
                Ok(kind) => {
                    // Far fewer rooms than 2^32 stand in a file.
                    rooms.by_path.insert(room.path.clone(), RoomId(rooms.kinds.len() as u32));
                    rooms.kinds.push(kind);
                }
                Err(wrong) => problems.push(room.problem(&wrong.key, wrong.message)),
            }
        }
        if problems.is_empty() { Ok(rooms) } else { Err(problems) }
    }

    fn at(&self, path: &str) -> Option<(RoomId, &Arc<dyn RoomKind>)> {
        let id = *self.by_path.get(path)?;
        Some((id, &self.kinds[id.0 as usize]))
    }
}

/// Checks what [`Config`] leaves to the room kinds.
///
/// # Errors
/// All problems, each with its place.
pub fn check_rooms(config: &Config) -> Result<(), Vec<Problem>> {
    Rooms::open(config).map(|_| ())
}

/// A server whose addresses are open and which serves once it is [run](Server::run).
#[derive(Debug)]
pub struct Server {
    config: Arc<Config>,
    rooms: Arc<Rooms>,
    listeners: Vec<TcpListener>,
    addresses: Vec<SocketAddr>,
}

impl Server {
    /// Checks the rooms and opens the addresses.
    ///
    /// # Errors
    /// What the operator has to change.
    pub fn bind(config: Config) -> Result<Self, StartError> {
        let rooms = Arc::new(Rooms::open(&config).map_err(StartError::Rooms)?);
        let mut listeners = Vec::new();
        for address in &config.server.bind {
            let opened = listen(address)
                .map_err(|error| StartError::Bind { address: address.clone(), error })?;
            listeners.extend(opened);
        }
        let addresses = listeners.iter().filter_map(|listener| listener.local_addr().ok());
        Ok(Self { config: Arc::new(config), rooms, addresses: addresses.collect(), listeners })
    }

    /// The addresses that are open, with the ports that the system chose for port 0.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What a person should open first: the page of the first room that has one, else the first
    /// room's socket. `None` without rooms or addresses.
    pub fn entrance(&self) -> Option<String> {
        let address = reachable(*self.addresses.first()?);
        let rooms = &self.config.rooms;
        match rooms.iter().find(|room| pages::of_kind(&room.kind).is_some()) {
            Some(room) => Some(format!("open http://{address}{} in a browser", room.path)),
            None => Some(format!("connect to ws://{address}{}", rooms.first()?.path)),
        }
    }

    /// Serves until `stop` is done; then stops accepting, answers what was taken in, closes every
    /// session with 1001 and returns, within `server.shutdown_timeout`. Needs an actix `System`.
    ///
    /// # Errors
    /// Why the server stopped by itself.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), RunError> {
        let Self { config, rooms, listeners, .. } = self;
        let inboxes = (0..config.server.workers).map(|_| Inbox::new(MAX_WAITING_BROADCASTS));
        let inboxes: Vec<_> = inboxes.map(Arc::new).collect();
        let (server, server_gone) = start_state_server(&config, &rooms, &inboxes);
        let connections =
            Connections::new(config.limits.max_connections, config.limits.max_connections_per_address);
        let factory = WorkerFactory(Arc::new(WorkerParts {
            config: config.clone(),
            rooms,
            connections: connections.clone(),
            server: server.clone(),
            inboxes,
            next_worker: AtomicU64::new(0),
            next_session: Arc::new(AtomicU64::new(1)),
            fanouts: Mutex::default(),
        }));
        // actix-server only stops accepting: without these, who comes while the server stops would
        // be let in by the kernel and hang there.
        let doors = listeners.iter().map(TcpListener::try_clone).collect::<io::Result<Vec<_>>>();
        let doors = doors.map_err(RunError::Accept)?;
        let accepting = accept(&config, listeners, &factory).map_err(RunError::Accept)?;
        let handle = accepting.handle();
        let mut accepting = actix_rt::spawn(accepting);
        tokio::select! {
            () = stop => {}
            _ = server_gone => {
                handle.stop(false).await;
                return Err(RunError::StateServerGone);
            }
            ended = &mut accepting => {
                let error = ended.unwrap_or_else(|panic| Err(io::Error::other(panic)));
                return Err(RunError::Accept(error.err().unwrap_or(io::ErrorKind::Other.into())));
            }
        }
        log::info!("stopping: closing {} connections", connections.count());
        handle.pause().await;
        for door in &doors {
            // Systems that cannot do this say so, and let connections wait until the end.
            let _ = SockRef::from(door).shutdown(std::net::Shutdown::Both);
        }
        factory.drain();
        let timeout = config.server.shutdown_timeout;
        if tokio::time::timeout(timeout, connections.all_gone()).await.is_err() {
            log::warn!("{} connections did not end in server.shutdown_timeout", connections.count());
        }
        // Sessions are gone: what is left are HTTP requests, which are answered at once.
        handle.stop(false).await;
        log::info!("stopped");
        Ok(())
    }
}

/// An address that can be connected to, for one that stands for all of the machine's.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Starts the `StateServer` on a thread of its own. The receiver ends when the actor does.
fn start_state_server(
    config: &Config,
    rooms: &Rooms,
    inboxes: &[Arc<Inbox>],
) -> (Addr<StateServer>, tokio::sync::oneshot::Receiver<()>) {
    let journal: Box<dyn Journal> = match config.journal.kind {
        JournalKind::Memory => Box::new(MemoryJournal::default()),
    };
    let (alive, gone) = tokio::sync::oneshot::channel();
    let state_server = StateServer::new(
        &rooms.kinds,
        journal,
        inboxes.to_vec(),
        config.delivery.presence_interval,
        alive,
    );
    let server = StateServer::start_in_arbiter(&Arbiter::new().handle(), |_| state_server);
    (server, gone)
}

/// Starts the accepting thread and the workers.
fn accept(
    config: &Config,
    listeners: Vec<TcpListener>,
    factory: &WorkerFactory,
) -> io::Result<actix_server::Server> {
    let mut builder = actix_server::Server::build()
        .workers(config.server.workers)
        .max_concurrent_connections(MAX_HTTP_CONNECTIONS_PER_WORKER)
        .disable_signals();
    for listener in listeners {
        let factory = factory.clone();
        let timeout = config.limits.handshake_timeout;
        let user_timeout = config.heartbeat.timeout;
        builder = builder.listen("statesync", listener, move || {
            let app = || {
                let app = factory.app().into_factory();
                map_config(app.map_err(|error| upgrade::error_response(&error)), |()| {
                    AppConfig::default()
                })
            };
            HttpService::build()
                .client_request_timeout(timeout)
                // A client that ends its half has left: an event stream must notice at once.
                .h1_allow_half_closed(false)
                .on_connect_ext(move |socket: &TcpStream, _: &mut Extensions| {
                    prepare(socket, user_timeout);
                })
                .upgrade(upgrade::UpgradeFactory { app: app(), worker: factory.worker() })
                .h1(app())
                .tcp()
        })?;
    }
    Ok(builder.run())
}

/// Sets an accepted socket's options. One that fails is not worth a connection: it is logged.
fn prepare(socket: &TcpStream, user_timeout: Duration) {
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

/// Opens every address that `address` means. A port 0 is chosen once and is the same for all.
fn listen(address: &str) -> io::Result<Vec<TcpListener>> {
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
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => failure = Some(error),
            Err(error) if address.is_ipv6() && !listeners.is_empty() => failure = Some(error),
            Err(error) => return Err(error),
        }
    }
    match (listeners.is_empty(), failure) {
        (true, failure) => Err(failure.unwrap_or(io::ErrorKind::AddrNotAvailable.into())),
        (false, _) => Ok(listeners),
    }
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
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Sets up worker threads: each its audience, its `Fanout` and its `App`s.
#[derive(Clone)]
struct WorkerFactory(Arc<WorkerParts>);

struct WorkerParts {
    config: Arc<Config>,
    rooms: Arc<Rooms>,
    connections: Connections,
    server: Addr<StateServer>,
    inboxes: Vec<Arc<Inbox>>,
    next_worker: AtomicU64,
    next_session: Arc<AtomicU64>,
    fanouts: Mutex<Vec<Addr<Fanout>>>,
}

thread_local! {
    /// This thread's worker. A thread serves one server, but may do so for several listeners.
    static WORKER: OnceCell<Worker> = const { OnceCell::new() };
}

impl WorkerFactory {
    /// This thread's worker, made at the first call.
    fn worker(&self) -> Worker {
        WORKER.with(|worker| worker.get_or_init(|| self.start_worker()).clone())
    }

    fn start_worker(&self) -> Worker {
        let parts = &*self.0;
        let config = &parts.config;
        let times = HeartbeatTimes {
            interval: config.heartbeat.interval,
            timeout: config.heartbeat.timeout,
        };
        // A thread that replaces one that died takes over its inbox.
        let index = parts.next_worker.fetch_add(1, Ordering::Relaxed) as usize;
        let index = index % parts.inboxes.len();
        // At most 1,024 workers.
        let audience = Audience::new(index as u16, config.delivery.max_pending_bytes, times);
        let audience = Rc::new(audience);
        // Often enough that a timeout is late by a quarter at most; a sweep is cheap.
        let sweep = times.interval.min(times.timeout) / 4;
        let sweep = sweep.clamp(Duration::from_millis(5), Duration::from_secs(1));
        let fanout = Fanout::new(audience.clone(), parts.inboxes[index].clone(), sweep).start();
        parts.fanouts.lock().unwrap_or_else(PoisonError::into_inner).push(fanout);
        Worker {
            audience,
            server: parts.server.clone(),
            next_session: parts.next_session.clone(),
            close_timeout: config.server.close_timeout,
            max_message_bytes: config.limits.max_message_bytes,
        }
    }

    /// Begins the end: every session is read no more, answered, and closed.
    fn drain(&self) {
        let fanouts = self.0.fanouts.lock().unwrap_or_else(PoisonError::into_inner);
        for fanout in &*fanouts {
            fanout.do_send(Drain { answer_to: self.0.server.clone().recipient() });
        }
    }

    /// The one `App`: its routes are all there is.
    fn app(
        &self,
    ) -> App<
        impl ServiceFactory<
            actix_web::dev::ServiceRequest,
            Config = (),
            Response = actix_web::dev::ServiceResponse,
            Error = actix_web::Error,
            InitError = (),
        > + use<>,
    > {
        let edge = Edge { parts: self.0.clone(), worker: self.worker() };
        App::new()
            .app_data(Rc::new(edge))
            .route("/health", web::to(health))
            .route("/health/", web::to(health))
            .route("/web/{name}", web::to(pages::file))
            .default_service(web::to(room))
    }
}

/// What handlers see.
struct Edge {
    parts: Arc<WorkerParts>,
    worker: Worker,
}

/// `GET /health/`: the process serves.
async fn health(request: HttpRequest) -> HttpResponse {
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        return Refusal::MethodNotAllowed.to_response();
    }
    HttpResponse::Ok().content_type("text/plain; charset=utf-8").body("OK\n")
}

/// Every path that is a room's: its socket, its event stream, its page.
async fn room(request: HttpRequest) -> HttpResponse {
    let Some(edge) = request.app_data::<Rc<Edge>>() else {
        return HttpResponse::InternalServerError().finish();
    };
    edge.answer(&request).unwrap_or_else(|refusal| refusal.to_response())
}

impl Edge {
    fn answer(&self, request: &HttpRequest) -> Result<HttpResponse, Refusal> {
        let headers = request.headers();
        let path = request.path();
        let no_such_room = || Refusal::NoSuchRoom(path.chars().take(200).collect());
        let (room, kind) = self.parts.rooms.at(path).ok_or_else(no_such_room)?;
        if gates::wants_websocket(headers) {
            gates::handshake(request.method(), request.version(), headers)?;
            self.require_socket(request)?;
            let plan = self.admit(request, room, kind)?;
            return upgrade::accept(request, plan)
                .ok_or(Refusal::BadHandshake("its headers contradict each other"));
        }
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            return Err(Refusal::MethodNotAllowed);
        }
        if gates::wants_event_stream(headers) {
            if request.method() == Method::HEAD {
                gates::origin(&self.parts.config.origins.allow, headers)?;
                return Ok(sse::head(headers.get(header::ORIGIN)));
            }
            let plan = self.admit(request, room, kind)?;
            return Ok(sse::respond(plan, &self.worker, headers.get(header::ORIGIN)));
        }
        let page = pages::of_kind(kind.name()).ok_or(Refusal::UpgradeRequired)?;
        Ok(pages::answer(request, page))
    }

    /// The gates that every session passes: origin, then a place.
    fn admit(
        &self,
        request: &HttpRequest,
        room: RoomId,
        kind: &Arc<dyn RoomKind>,
    ) -> Result<Plan, Refusal> {
        gates::origin(&self.parts.config.origins.allow, request.headers())?;
        let address = request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |at| at.ip());
        let permit = self.parts.connections.admit(address).map_err(|full| match full {
            Full::Server => Refusal::ServerFull,
            Full::Address => Refusal::AddressFull,
        })?;
        Ok(Plan { room, kind: kind.clone(), permit })
    }

    /// Only the upgrade service has the socket that a session needs.
    fn require_socket(&self, request: &HttpRequest) -> Result<(), Refusal> {
        use actix_web::HttpMessage;
        match request.extensions().get::<upgrade::HasSocket>() {
            Some(_) => Ok(()),
            None => Err(Refusal::BadHandshake("a handshake has no body")),
        }
    }
}
