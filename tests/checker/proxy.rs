//! Stands between the clients and the server, and breaks their connections by plan.

use super::{
    support::DEADLINE,
    weather::{Count, Phase, Weather},
};
use fastrand::Rng;
use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// How often a quiet connection looks whether it is over.
const GLANCE: Duration = Duration::from_millis(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Client,
    Server,
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    Cut,
    Reset,
    /// One side is left without a word; the other one is kept, and hears nothing for so long.
    HalfOpen(Side, Duration),
    /// Nothing goes on for so long.
    Stall(Duration),
}

/// What happens to the bytes from one side.
#[derive(Debug, Clone, Copy)]
struct Plan {
    /// After so many bytes of this side.
    fault: Option<(u64, Fault)>,
    /// Before each piece.
    delay: Duration,
}

impl Plan {
    const NONE: Self = Self { fault: None, delay: Duration::ZERO };

    /// The plans of one connection: for the bytes from the client, and from the server.
    fn pair(rng: &mut Rng) -> [Self; 2] {
        let mut plans = [Self::NONE; 2];
        let milliseconds = |rng: &mut Rng, most| Duration::from_millis(rng.u64(1..=most));
        let side = if rng.bool() { Side::Client } else { Side::Server };
        let fault = match rng.u8(0..20) {
            0..4 => Fault::Cut,
            4..8 => Fault::Reset,
            8..11 => Fault::HalfOpen(side, milliseconds(rng, 1500)),
            11..13 => Fault::Stall(milliseconds(rng, 1000)),
            13..15 => {
                let delay = milliseconds(rng, 15);
                return [Self { fault: None, delay }; 2];
            }
            _ => return plans,
        };
        // From the first bytes of the handshake to hundreds of messages later.
        let magnitude = rng.u32(0..15);
        let after = rng.u64(0..2 << magnitude);
        plans[rng.usize(0..2)].fault = Some((after, fault));
        plans
    }
}

pub struct Proxy {
    pub address: SocketAddr,
    /// Where the server is now, if it is.
    server: Arc<Mutex<Option<SocketAddr>>>,
    weather: Arc<Weather>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    pub fn start(seed: u64, weather: &Arc<Weather>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        let server = Arc::new(Mutex::new(None));
        let thread = thread::spawn({
            let (server, weather) = (server.clone(), weather.clone());
            move || serve(&listener, &server, &weather, Rng::with_seed(seed))
        });
        Self { address, server, weather: weather.clone(), thread: Some(thread) }
    }

    pub fn point_to(&self, server: Option<SocketAddr>) {
        *self.server.lock().expect("no panic") = server;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.weather.change(Phase::Over);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect_timeout(&self.address, DEADLINE);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(
    listener: &TcpListener,
    server: &Mutex<Option<SocketAddr>>,
    weather: &Arc<Weather>,
    mut rng: Rng,
) {
    for client in listener.incoming() {
        let phase = weather.phase();
        if phase == Phase::Over {
            return;
        }
        // Of its own, so that the plan of the next does not depend on this one.
        let mut own = Rng::with_seed(rng.u64(..));
        let plans = if phase == Phase::Storm { Plan::pair(&mut own) } else { [Plan::NONE; 2] };
        let server = *server.lock().expect("no panic");
        // Without a server the client's connection ends at once.
        if let (Ok(client), Some(server)) = (client, server)
            && let Ok(server) = TcpStream::connect_timeout(&server, DEADLINE)
        {
            let link = Link { weather: weather.clone(), phase, is_over: false.into() };
            link.begin(client, server, plans);
        }
    }
}

/// What both directions of a connection share.
struct Link {
    weather: Arc<Weather>,
    /// When it was made. What was made in the storm does not outlive it.
    phase: Phase,
    is_over: AtomicBool,
}

impl Link {
    /// Carries in both directions, each in a thread of its own.
    fn begin(self, client: TcpStream, server: TcpStream, [up, down]: [Plan; 2]) {
        self.weather.count(Count::Connections);
        if !up.delay.is_zero() {
            self.weather.count(Count::Delays);
        }
        for socket in [&client, &server] {
            let set = socket.set_nodelay(true).and(socket.set_read_timeout(Some(GLANCE)));
            set.and(socket.set_write_timeout(Some(GLANCE))).expect("socket options");
        }
        let (link, client, server) = (Arc::new(self), Arc::new(client), Arc::new(server));
        thread::spawn({
            let (link, from, to) = (link.clone(), client.clone(), server.clone());
            move || link.carry(from, to, up, Side::Client)
        });
        thread::spawn(move || link.carry(server, client, down, Side::Server));
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed) || self.weather.phase() > self.phase
    }

    fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// Carries bytes until one side ends or the plan's fault strikes. A socket is closed when the
    /// threads of both directions have let go of it.
    fn carry(&self, from: Arc<TcpStream>, to: Arc<TcpStream>, mut plan: Plan, side: Side) {
        let mut buffer = [0; 16 * 1024];
        let mut carried = 0;
        while !self.is_over() {
            let bytes = match (&*from).read(&mut buffer) {
                Ok(0) => {
                    let _ = to.shutdown(Shutdown::Write);
                    return;
                }
                Ok(count) => &buffer[..count],
                Err(error) if is_timeout(error.kind()) => continue,
                Err(_) => {
                    reset(&to);
                    return self.end();
                }
            };
            if !plan.delay.is_zero() {
                self.weather.hold(plan.delay);
            }
            let end = carried + bytes.len() as u64;
            let strikes = plan.fault.take_if(|(after, _)| *after <= end);
            let before = strikes.map_or(bytes.len(), |(after, _)| (after - carried) as usize);
            self.write(&to, &bytes[..before]);
            match strikes {
                None => {}
                Some((_, Fault::Stall(time))) => {
                    self.weather.count(Count::Stalls);
                    self.weather.hold(time);
                    self.write(&to, &bytes[before..]);
                }
                Some((_, fault)) => return self.strike(fault, from, to, side),
            }
            carried = end;
        }
    }

    /// All of it, or as much as goes before the connection is over.
    fn write(&self, mut to: &TcpStream, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.is_over() {
            match to.write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if is_timeout(error.kind()) => {}
                Err(_) => return self.end(),
            }
        }
    }

    fn strike(&self, fault: Fault, from: Arc<TcpStream>, to: Arc<TcpStream>, side: Side) {
        self.end();
        match fault {
            Fault::Cut => self.weather.count(Count::Cuts),
            Fault::Reset => {
                self.weather.count(Count::Resets);
                reset(&from);
                reset(&to);
            }
            Fault::HalfOpen(left, time) => {
                self.weather.count(match left {
                    Side::Client => Count::HalfOpenClients,
                    Side::Server => Count::HalfOpenServers,
                });
                let (dropped, kept) = if left == side { (from, to) } else { (to, from) };
                drop(dropped);
                self.weather.hold(time);
                drop(kept);
            }
            Fault::Stall(_) => unreachable!("a stall ends nothing"),
        }
    }
}

/// The socket is to be closed with a reset.
fn reset(socket: &TcpStream) {
    let _ = socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO));
}

fn is_timeout(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
