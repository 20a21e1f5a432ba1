//! The one `App`: its routes, and the gates in front of a room.

use super::{
    credential, gates, pages,
    refusal::Refusal,
    sse, upgrade,
    worker::{WorkerFactory, WorkerParts},
};
use crate::{
    auth::{Access, UnixSeconds},
    config::RefusalStyle,
    connections::{Full, Permit},
    protocol::{CloseCode, Dialect},
    room::RoomId,
    session::{Plan, Worker},
};
use actix_service::ServiceFactory;
use actix_web::{
    App, Error, HttpMessage, HttpRequest, HttpResponse,
    dev::{ServiceRequest, ServiceResponse},
    http::{Method, header},
    web,
};
use std::{
    net::{IpAddr, Ipv4Addr},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// No timer counts further; a session that lasts longer is ended, and comes back.
const LONGEST_SESSION: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// An `App` for this thread. Its routes are all there is.
pub fn app(
    factory: &WorkerFactory,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse,
        Error = Error,
        InitError = (),
    > + use<>,
> {
    let edge = Edge { parts: factory.0.clone(), worker: factory.worker() };
    App::new()
        .app_data(Rc::new(edge))
        .route("/health", web::to(health))
        .route("/health/", web::to(health))
        .route("/web/{name}", web::to(pages::file))
        .default_service(web::to(room))
}

/// What handlers see.
struct Edge {
    parts: Arc<WorkerParts>,
    worker: Worker,
}

/// `GET /health/`: the process serves.
async fn health(request: HttpRequest) -> HttpResponse {
    match gates::read_only(request.method()) {
        Ok(()) => HttpResponse::Ok().content_type("text/plain; charset=utf-8").body("OK\n"),
        Err(refusal) => refusal.to_response(),
    }
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
            let access = match self.authorize(request, room) {
                Ok(access) => access,
                Err(refusal) => return self.turn_away(request, refusal),
            };
            let dialect = gates::dialect(headers, kind.speech());
            let client = match dialect {
                Dialect::Classic => None,
                Dialect::V1 => {
                    gates::client(path, request.query_string(), access.subject.as_deref())?
                }
            };
            let permit = self.admit(request)?.into();
            let ends_at = ends_at(&access);
            let kind = kind.clone();
            let plan = Plan { room, kind, dialect, client, access, ends_at, permit };
            return upgrade::accept(request, plan)
                .ok_or(Refusal::BadHandshake("its headers contradict each other"));
        }
        gates::read_only(request.method())?;
        if gates::wants_event_stream(headers) {
            let access = self.authorize(request, room)?;
            if request.method() == Method::HEAD {
                return Ok(sse::head(headers.get(header::ORIGIN)));
            }
            let permit = self.admit(request)?.into();
            let (dialect, ends_at) = (Dialect::Classic, ends_at(&access));
            let kind = kind.clone();
            let plan = Plan { room, kind, dialect, client: None, access, ends_at, permit };
            return Ok(sse::respond(plan, &self.worker, headers.get(header::ORIGIN)));
        }
        let page = pages::of_kind(kind.name()).ok_or(Refusal::UpgradeRequired)?;
        Ok(pages::answer(request, page))
    }

    /// The gates that say who may: how fast its address comes, the page's origin, the token.
    fn authorize(&self, request: &HttpRequest, room: RoomId) -> Result<Access, Refusal> {
        let (parts, headers) = (&*self.parts, request.headers());
        parts.connections.knock(address(request)).map_err(Refusal::TooFast)?;
        gates::origin(&parts.config.origins.allow, headers)?;
        let cookie = &parts.config.auth.cookie;
        let token = match parts.auth.asks_for_tokens() {
            true => credential::find(headers, request.query_string(), cookie)?,
            false => None,
        };
        let token = token.as_ref().map(|token| token.expose());
        let anonymous = parts.rooms.anonymous(room);
        let access = parts
            .auth
            .access(request.path(), anonymous, token, unix_seconds())
            .map_err(Refusal::Unauthorized)?;
        if access.rights.read { Ok(access) } else { Err(Refusal::Forbidden) }
    }

    /// Tells a client that it may not connect in the way that it can understand: a page sees no
    /// status, but a close code.
    fn turn_away(&self, request: &HttpRequest, refusal: Refusal) -> Result<HttpResponse, Refusal> {
        let in_v1 = gates::offers_v1(request.headers());
        let as_text = self.parts.config.auth.refusal == RefusalStyle::Message;
        let (dialect, text, code) = match &refusal {
            Refusal::Unauthorized(_) if in_v1 => (Dialect::V1, None, CloseCode::UNAUTHORIZED),
            Refusal::Forbidden if in_v1 => (Dialect::V1, None, CloseCode::FORBIDDEN),
            Refusal::Unauthorized(_) if as_text => {
                (Dialect::Classic, Some("unauthorized"), CloseCode::NORMAL)
            }
            _ => return Err(refusal),
        };
        refusal.log();
        upgrade::turn_away(request, dialect, upgrade::Farewell { text, code }).ok_or(refusal)
    }

    /// The last gate: a place.
    fn admit(&self, request: &HttpRequest) -> Result<Permit, Refusal> {
        self.parts.connections.admit(address(request)).map_err(|full| match full {
            Full::Server => Refusal::ServerFull,
            Full::Address => Refusal::AddressFull,
        })
    }

    /// Only the upgrade service has the socket that a session needs.
    fn require_socket(&self, request: &HttpRequest) -> Result<(), Refusal> {
        match request.extensions().get::<upgrade::HasSocket>() {
            Some(_) => Ok(()),
            None => Err(Refusal::BadHandshake("a handshake has no body")),
        }
    }
}

fn address(request: &HttpRequest) -> IpAddr {
    request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |at| at.ip())
}

fn unix_seconds() -> UnixSeconds {
    UnixSeconds(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
}

/// When the access ends, by the clock that does not jump.
fn ends_at(access: &Access) -> Option<Instant> {
    let end = Duration::from_secs(access.expires_at?.0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Some(Instant::now() + end.saturating_sub(now).min(LONGEST_SESSION))
}
