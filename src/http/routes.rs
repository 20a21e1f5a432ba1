//! The one `App`: its routes, and the gates in front of a room.

use super::{
    gates, pages,
    refusal::Refusal,
    sse, upgrade,
    worker::{WorkerFactory, WorkerParts},
};
use crate::{
    connections::{Full, Permit},
    protocol::Dialect,
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
        let Some((place, kind)) = self.parts.rooms.at(path) else {
            let wants_a_page =
                !gates::wants_websocket(headers) && !gates::wants_event_stream(headers);
            // Where somebody begins who knows no more than the server's name.
            return match path == "/" && wants_a_page {
                true => Ok(pages::answer(request, pages::START)),
                false => Err(no_such_room()),
            };
        };
        if gates::wants_websocket(headers) {
            gates::handshake(request.method(), request.version(), headers)?;
            self.require_socket(request)?;
            let dialect = gates::dialect(headers, kind.speech());
            let who = match dialect {
                Dialect::Classic => Default::default(),
                Dialect::V1 => gates::who(path, request.query_string())?,
            };
            let permit = self.admit(request)?.into();
            let kind = kind.clone();
            let plan = Plan { place, kind, dialect, client: who.client, since: who.since, permit };
            return upgrade::accept(request, plan)
                .ok_or(Refusal::BadHandshake("its headers contradict each other"));
        }
        gates::read_only(request.method())?;
        if gates::wants_event_stream(headers) {
            if request.method() == Method::HEAD {
                gates::origin(&self.parts.config.origins.allow, headers)?;
                return Ok(sse::head(headers.get(header::ORIGIN)));
            }
            let permit = self.admit(request)?.into();
            let dialect = Dialect::Classic;
            let kind = kind.clone();
            let plan = Plan { place, kind, dialect, client: None, since: None, permit };
            return Ok(sse::respond(plan, &self.worker, headers.get(header::ORIGIN)));
        }
        let page = pages::of_kind(kind.name()).ok_or(Refusal::UpgradeRequired)?;
        Ok(pages::answer(request, page))
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
