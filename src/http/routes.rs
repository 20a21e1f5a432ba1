//! The one `App`: its routes, and the gates in front of a room.

use super::{
    api::{self, Posted},
    credential, gates, pages,
    refusal::Refusal,
    sse, unread, upgrade,
    worker::{WorkerFactory, WorkerParts},
};
use crate::{
    auth::{Access, Bearer, UnixSeconds},
    config::RefusalStyle,
    connections::{Full, Permit},
    protocol::{CloseCode, Dialect},
    room::RoomKind,
    session::{Plan, Worker},
    state::Place,
};
use actix_service::ServiceFactory;
use actix_web::{
    App, Error, HttpMessage, HttpRequest, HttpResponse,
    dev::{ServiceRequest, ServiceResponse},
    http::{Method, header},
    middleware::from_fn,
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
        .wrap(from_fn(unread::keep))
        .route("/health", web::to(health))
        .route("/health/", web::to(health))
        .route("/web/", web::to(pages::start))
        .route("/web/{name}", web::to(pages::file))
        .route("/api/rooms", web::to(rooms))
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

/// `GET /api/rooms`: the rooms that there are.
async fn rooms(request: HttpRequest) -> HttpResponse {
    let Some(edge) = request.app_data::<Rc<Edge>>() else {
        return HttpResponse::InternalServerError().finish();
    };
    edge.list(&request).await.unwrap_or_else(|refusal| edge.refuse(&request, &refusal))
}

/// Every path that is a room's: its socket, its event stream, its page, its state, its actions.
async fn room(request: HttpRequest, body: web::Payload) -> HttpResponse {
    let Some(edge) = request.app_data::<Rc<Edge>>() else {
        return HttpResponse::InternalServerError().finish();
    };
    edge.answer(&request, body).await.unwrap_or_else(|refusal| edge.refuse(&request, &refusal))
}

/// Where there is no room. At `/` somebody begins who knows no more than the server's name.
fn nowhere(request: &HttpRequest) -> Result<HttpResponse, Refusal> {
    let (path, headers) = (request.path(), request.headers());
    let wants_a_page = gates::read_only(request.method()).is_ok()
        && !gates::wants_websocket(headers)
        && !gates::wants_event_stream(headers)
        && !api::wants_json(headers);
    match path == "/" && wants_a_page {
        true => Ok(pages::answer(request, pages::START)),
        false => Err(Refusal::NoSuchRoom(path.chars().take(200).collect())),
    }
}

impl Edge {
    /// Answers with a refusal, which a page may read if its origin may connect (Fetch, section 3.2).
    fn refuse(&self, request: &HttpRequest, refusal: &Refusal) -> HttpResponse {
        let (headers, mut response) = (request.headers(), refusal.to_response());
        if let Some(origin) = headers.get(header::ORIGIN)
            && gates::origin(&self.parts.config.origins.allow, headers).is_ok()
        {
            response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        }
        response
    }

    async fn list(&self, request: &HttpRequest) -> Result<HttpResponse, Refusal> {
        let origin = request.headers().get(header::ORIGIN);
        if *request.method() == Method::OPTIONS {
            gates::origin(&self.parts.config.origins.allow, request.headers())?;
            return Ok(api::preflight(origin));
        }
        gates::read_only(request.method())?;
        let bearer = self.identify(request)?;
        let _permit = self.admit(request)?;
        let may_read = |path: &str| {
            let anonymous =
                self.parts.rooms.at(path).and_then(|(place, _)| self.parts.rooms.anonymous(&place));
            let access = self.parts.auth.access(&bearer, path, anonymous);
            access.is_ok_and(|access| access.rights.read)
        };
        api::list(&self.worker.server, origin, may_read).await
    }

    async fn answer(
        &self,
        request: &HttpRequest,
        body: web::Payload,
    ) -> Result<HttpResponse, Refusal> {
        let headers = request.headers();
        let path = request.path();
        let Some((place, kind)) = self.parts.rooms.at(path) else { return nowhere(request) };
        let kind = kind.clone();
        if gates::wants_websocket(headers) {
            return self.upgrade(request, place, kind);
        }
        let origin = headers.get(header::ORIGIN);
        match *request.method() {
            Method::OPTIONS => {
                gates::origin(&self.parts.config.origins.allow, headers)?;
                Ok(api::preflight(origin))
            }
            Method::POST => {
                let access = self.authorize(request, &place)?;
                if !access.rights.act {
                    return Err(Refusal::Forbidden);
                }
                let permit = self.admit(request)?;
                permit.act().map_err(Refusal::TooFast)?;
                let permit = permit.into();
                let client = api::client(path, headers, access.subject.as_deref())?;
                let limits = &self.parts.config.limits;
                let (max, limit) = (limits.max_message_bytes, limits.handshake_timeout);
                let message = api::read(body, headers, max, limit).await?;
                let posted = Posted { place, kind, client, message, permit };
                posted.act(&self.worker, origin).await
            }
            Method::GET | Method::HEAD if gates::wants_event_stream(headers) => {
                self.stream(request, place, kind)
            }
            Method::GET | Method::HEAD if api::wants_json(headers) => {
                self.authorize(request, &place)?;
                let _permit = self.admit(request)?;
                api::show(&self.worker.server, &self.parts.epoch, place, origin).await
            }
            Method::GET | Method::HEAD => {
                let page = pages::of_kind(kind.name()).ok_or(Refusal::UpgradeRequired)?;
                Ok(pages::answer(request, page))
            }
            Method::DELETE if self.parts.rooms.is_made_on_use(&place) => {
                let access = self.authorize(request, &place)?;
                if !access.rights.administer {
                    return Err(Refusal::Forbidden);
                }
                let permit = self.admit(request)?.into();
                api::remove(&self.worker, place, permit, origin).await
            }
            _ if self.parts.rooms.is_made_on_use(&place) => {
                Err(Refusal::MethodNotAllowed("GET, HEAD, POST, OPTIONS, DELETE"))
            }
            _ => Err(Refusal::MethodNotAllowed("GET, HEAD, POST, OPTIONS")),
        }
    }

    /// The way to a socket.
    fn upgrade(
        &self,
        request: &HttpRequest,
        place: Place,
        kind: Arc<dyn RoomKind>,
    ) -> Result<HttpResponse, Refusal> {
        let headers = request.headers();
        gates::handshake(request.method(), request.version(), headers)?;
        self.require_socket(request)?;
        let access = match self.authorize(request, &place) {
            Ok(access) => access,
            Err(refusal) => return self.turn_away(request, refusal),
        };
        let dialect = gates::dialect(headers, kind.speech());
        let who = match dialect {
            Dialect::Classic => Default::default(),
            Dialect::V1 => {
                gates::who(&place.path, request.query_string(), access.subject.as_deref())?
            }
        };
        let permit = self.admit(request)?.into();
        let agreement = gates::extensions(headers, self.worker.compression);
        let (compression, extensions) =
            agreement.map(|agreed| (agreed.compression, agreed.answer)).unzip();
        let gates::Who { client, since } = who;
        let ends_at = ends_at(&access);
        let plan =
            Plan { place, kind, dialect, compression, client, since, access, ends_at, permit };
        upgrade::accept(request, plan, extensions)
            .ok_or(Refusal::BadHandshake("its headers contradict each other"))
    }

    /// The way to an event stream.
    fn stream(
        &self,
        request: &HttpRequest,
        place: Place,
        kind: Arc<dyn RoomKind>,
    ) -> Result<HttpResponse, Refusal> {
        let headers = request.headers();
        let origin = headers.get(header::ORIGIN);
        let access = self.authorize(request, &place)?;
        if request.method() == Method::HEAD {
            return Ok(sse::head(origin));
        }
        let permit = self.admit(request)?.into();
        let (dialect, since) = (Dialect::Classic, gates::last_event_id(headers));
        let (client, compression, ends_at) = (None, None, ends_at(&access));
        let plan =
            Plan { place, kind, dialect, compression, client, since, access, ends_at, permit };
        Ok(sse::respond(plan, &self.worker, origin))
    }

    /// The gates that say who it is: how fast its address comes, the page's origin, the token.
    fn identify(&self, request: &HttpRequest) -> Result<Bearer, Refusal> {
        let (parts, headers) = (&*self.parts, request.headers());
        parts.connections.knock(address(request)).map_err(Refusal::TooFast)?;
        gates::origin(&parts.config.origins.allow, headers)?;
        if !parts.auth.asks_for_tokens() {
            return Ok(Bearer::default());
        }
        let cookie = &parts.config.auth.cookie;
        let token = credential::find(headers, request.query_string(), cookie)?;
        let token = token.as_ref().map(|token| token.expose());
        parts.auth.bearer(token, unix_seconds()).map_err(Refusal::Unauthorized)
    }

    /// Who may read in the room, and what else it may do there.
    fn authorize(&self, request: &HttpRequest, place: &Place) -> Result<Access, Refusal> {
        let bearer = self.identify(request)?;
        let anonymous = self.parts.rooms.anonymous(place);
        let access = self.parts.auth.access(&bearer, &place.path, anonymous);
        let access = access.map_err(Refusal::Unauthorized)?;
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
