//! From an upgrade request to a session on the raw socket.
//!
//! actix-http hands every request with `Upgrade: websocket`, and every `CONNECT`, to an upgrade
//! service, together with the socket. So that there is one router and one row of gates, this one
//! asks the same `App` as all other requests. A 101 from it carries a [`Plan`] in its extensions:
//! then a [`Session`] starts on the socket. Anything else is written here, and the connection ends.

use super::listener;
use crate::{
    protocol::Dialect,
    session::{Plan, Session, Worker},
    socket::Socket,
};
use actix_codec::Framed;
use actix_http::{
    ConnectionType, HttpMessage, Request, Response,
    body::{BodySize, BoxBody, MessageBody, to_bytes_limited},
    h1,
};
use actix_service::{Service, ServiceFactory};
use actix_web::{
    HttpRequest, HttpResponse,
    dev::ServiceResponse,
    http::{StatusCode, header},
};
use bytes::{Bytes, BytesMut};
use std::{
    fmt,
    future::Future,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};
use tokio_util::codec::Encoder;

/// The most of a refusal's body that is sent. Bodies here are short JSON texts.
const MAX_REFUSAL_BYTES: usize = 64 * 1024;

/// How long a refused client has to read its refusal and end the connection.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(2);

/// The most bytes that are read from a refused client, only to be dropped.
const MAX_DRAINED_BYTES: usize = 64 * 1024;

/// Set on requests that came through the upgrade service. Without it nobody has the socket, and a
/// request for a WebSocket (a chunked one, say) must be refused.
#[derive(Debug, Clone, Copy)]
pub struct HasSocket;

/// Answers 101 with `plan` for the upgrade service to carry out, and with these
/// `Sec-WebSocket-Extensions`. `None` if the request is no handshake after all: the gates let only
/// handshakes pass.
pub fn accept(
    request: &HttpRequest,
    plan: Plan,
    extensions: Option<String>,
) -> Option<HttpResponse> {
    let mut answer = actix_web_actors::ws::handshake(request).ok()?;
    if plan.dialect == Dialect::V1 {
        // Not by handshake_with_protocols, which looks at the first of several header lines only.
        answer.insert_header((header::SEC_WEBSOCKET_PROTOCOL, Dialect::V1_NAME));
    }
    if let Some(extensions) = extensions {
        answer.insert_header((header::SEC_WEBSOCKET_EXTENSIONS, extensions));
    }
    let mut response = answer.finish();
    response.extensions_mut().insert(plan);
    Some(response)
}

/// Makes the upgrade service of a worker thread from that thread's `App`.
pub struct UpgradeFactory<F> {
    /// Makes the `App`'s service.
    pub app: F,
    /// What the thread's sessions share.
    pub worker: Worker,
}

type Upgrading = (Request, Framed<Socket, h1::Codec>);
type LocalFuture<T> = Pin<Box<dyn Future<Output = T>>>;

impl<F, B> ServiceFactory<Upgrading> for UpgradeFactory<F>
where
    F: ServiceFactory<Request, Config = (), Response = ServiceResponse<B>>,
    F::Service: 'static,
    F::Future: 'static,
    F::Error: fmt::Debug,
    B: MessageBody + 'static,
{
    type Response = ();
    type Error = actix_web::Error;
    type Config = ();
    type Service = Upgrade<F::Service>;
    type InitError = F::InitError;
    type Future = LocalFuture<Result<Self::Service, Self::InitError>>;

    fn new_service(&self, config: ()) -> Self::Future {
        let app = self.app.new_service(config);
        let worker = self.worker.clone();
        Box::pin(async move { Ok(Upgrade { app: Rc::new(app.await?), worker }) })
    }
}

/// The upgrade service of a worker thread.
pub struct Upgrade<S> {
    app: Rc<S>,
    worker: Worker,
}

impl<S, B> Service<Upgrading> for Upgrade<S>
where
    S: Service<Request, Response = ServiceResponse<B>> + 'static,
    S::Error: fmt::Debug,
    B: MessageBody + 'static,
{
    type Response = ();
    type Error = actix_web::Error;
    type Future = LocalFuture<Result<(), actix_web::Error>>;

    fn poll_ready(&self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // An App is always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&self, (request, socket): Upgrading) -> Self::Future {
        let app = self.app.clone();
        let worker = self.worker.clone();
        Box::pin(async move {
            request.extensions_mut().insert(HasSocket);
            // Without the query: it has the client's identity, a secret.
            let (method, path) = (request.method(), request.path());
            log::trace!("opening handshake: {method} {path} {:?}", request.headers());
            match app.call(request).await {
                Ok(response) => carry_out(response, socket, &worker).await,
                Err(error) => log::error!("an upgrade failed inside the server: {error:?}"),
            }
            Ok(())
        })
    }
}

/// Does what the `App` answered.
async fn carry_out<B: MessageBody>(
    response: ServiceResponse<B>,
    socket: Framed<Socket, h1::Codec>,
    worker: &Worker,
) {
    let (request, mut response) = response.into_parts();
    drop(request);
    let plan = response.extensions_mut().remove::<Plan>();
    let result = match (response.status(), plan) {
        (StatusCode::SWITCHING_PROTOCOLS, Some(plan)) => {
            switch(response.into(), socket, plan, worker).await
        }
        (StatusCode::SWITCHING_PROTOCOLS, None) => {
            log::error!("a 101 without a plan: only a room's gates may answer 101");
            Ok(())
        }
        _ => refuse(response.into(), socket).await,
    };
    if let Err(error) = result {
        log::debug!("a connection was lost in its opening handshake: {error}");
    }
}

/// Writes the 101 and starts the session.
async fn switch<B>(
    response: Response<B>,
    socket: Framed<Socket, h1::Codec>,
    plan: Plan,
    worker: &Worker,
) -> io::Result<()> {
    log::trace!("opening handshake: {:?} {:?}", response.status(), response.headers());
    let mut parts = socket.into_parts();
    let head = (response.drop_body(), BodySize::None);
    parts.codec.encode(h1::Message::Item(head), &mut parts.write_buf)?;
    timeout(worker.close_timeout, parts.io.write_all(&parts.write_buf)).await??;
    listener::leave_to_heartbeat(parts.io.tcp());
    Session::start_on(parts.io, parts.read_buf, plan, worker);
    Ok(())
}

/// Writes a refusal so that it arrives: all of it, then FIN, then what the client still sends is
/// read, for unread bytes would make the kernel reset the connection and drop the answer.
async fn refuse<B: MessageBody>(
    mut response: Response<B>,
    socket: Framed<Socket, h1::Codec>,
) -> io::Result<()> {
    response.head_mut().set_connection_type(ConnectionType::Close);
    let (head, body) = response.into_parts();
    let body = match to_bytes_limited(body, MAX_REFUSAL_BYTES).await {
        Ok(Ok(body)) => body,
        _ => Bytes::new(),
    };
    let mut parts = socket.into_parts();
    let length = BodySize::Sized(body.len() as u64);
    parts.codec.encode(h1::Message::Item((head, length)), &mut parts.write_buf)?;
    parts.codec.encode(h1::Message::Chunk(Some(body)), &mut parts.write_buf)?;
    timeout(REFUSAL_TIMEOUT, write_and_drain(&mut parts.io, &parts.write_buf)).await?
}

/// Writes an answer, ends, and reads what still comes for as long as the caller lets it.
pub async fn write_and_drain(
    socket: &mut (impl AsyncRead + AsyncWrite + Unpin),
    answer: &[u8],
) -> io::Result<()> {
    socket.write_all(answer).await?;
    socket.shutdown().await?;
    let mut dropped = BytesMut::with_capacity(4096);
    let mut drained_bytes = 0;
    while drained_bytes < MAX_DRAINED_BYTES {
        dropped.clear();
        match socket.read_buf(&mut dropped).await? {
            0 => break,
            count => drained_bytes += count,
        }
    }
    Ok(())
}

/// Boxes the body, as the type of [`Response`] that errors are made of wants it.
pub fn error_response(error: &actix_web::Error) -> Response<BoxBody> {
    error.as_response_error().error_response().into()
}
