//! The one `App`: its routes, and the gates in front of a room.

use super::{
    api::{self, Posted},
    gates, pages,
    refusal::Refusal,
    sse, upgrade,
    worker::{WorkerFactory, WorkerParts},
};
use crate::{
    connections::{Full, Permit},
    protocol::Dialect,
    room::RoomKind,
    session::{Plan, Worker},
    state::Place,
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
};

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
    edge.list(&request).await.unwrap_or_else(|refusal| refusal.to_response())
}

/// Every path that is a room's: its socket, its event stream, its page, its state, its actions.
async fn room(request: HttpRequest, body: web::Payload) -> HttpResponse {
    let Some(edge) = request.app_data::<Rc<Edge>>() else {
        return HttpResponse::InternalServerError().finish();
    };
    edge.answer(&request, body).await.unwrap_or_else(|refusal| refusal.to_response())
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
    async fn list(&self, request: &HttpRequest) -> Result<HttpResponse, Refusal> {
        gates::read_only(request.method())?;
        let headers = request.headers();
        gates::origin(&self.parts.config.origins.allow, headers)?;
        api::list(&self.worker.server, headers.get(header::ORIGIN), |_| true).await
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
                let permit = self.admit(request)?.into();
                let client = api::client(path, headers)?;
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
                gates::origin(&self.parts.config.origins.allow, headers)?;
                api::show(&self.worker.server, &self.parts.epoch, place, origin).await
            }
            Method::GET | Method::HEAD => {
                let page = pages::of_kind(kind.name()).ok_or(Refusal::UpgradeRequired)?;
                Ok(pages::answer(request, page))
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
        let dialect = gates::dialect(headers, kind.speech());
        let who = match dialect {
            Dialect::Classic => Default::default(),
            Dialect::V1 => gates::who(&place.path, request.query_string())?,
        };
        let permit = self.admit(request)?.into();
        let agreement = gates::extensions(headers, self.worker.compression);
        let (compression, extensions) =
            agreement.map(|agreed| (agreed.compression, agreed.answer)).unzip();
        let (client, since) = (who.client, who.since);
        let plan = Plan { place, kind, dialect, compression, client, since, permit };
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
        if request.method() == Method::HEAD {
            gates::origin(&self.parts.config.origins.allow, headers)?;
            return Ok(sse::head(origin));
        }
        let permit = self.admit(request)?.into();
        let (dialect, since) = (Dialect::Classic, gates::last_event_id(headers));
        let (client, compression) = (None, None);
        let plan = Plan { place, kind, dialect, compression, client, since, permit };
        Ok(sse::respond(plan, &self.worker, origin))
    }

    /// The gates that every session passes: origin, then a place.
    fn admit(&self, request: &HttpRequest) -> Result<Permit, Refusal> {
        gates::origin(&self.parts.config.origins.allow, request.headers())?;
        let address = request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |at| at.ip());
        self.parts.connections.admit(address).map_err(|full| match full {
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
