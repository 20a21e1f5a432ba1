//! Rooms over plain HTTP, for those who want neither a WebSocket nor an event stream: a room's state
//! by GET, an action by POST, and the list of rooms.

use super::refusal::Refusal;
use crate::{
    connections::Permit,
    protocol::{ClientKey, Dialect, ErrorCode, Event, Message, Refused},
    room::{RoomKind, Speech},
    server::{Act, ListRooms, Look, Post, StateServer},
    session::Worker,
    state::{Deed, Place, Sender, SessionAddress, View},
};
use actix::Addr;
use actix_web::{
    HttpResponse, HttpResponseBuilder,
    http::{
        StatusCode,
        header::{self, HeaderMap, HeaderValue},
    },
    web,
};
use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;

/// The longest `Idempotency-Key`: what a UUID needs several times over.
const MAX_KEY_BYTES: usize = 255;

/// What a room is, as JSON.
#[derive(Serialize)]
struct RoomBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<&'a str>,
    path: &'a str,
    kind: &'static str,
    users: usize,
    seq: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a Value>,
}

fn body<'a>(view: &'a View, epoch: Option<&'a str>) -> RoomBody<'a> {
    let View { path, kind, users, seq, value, .. } = view;
    RoomBody { epoch, path, kind, users: *users, seq: *seq, value: value.as_ref() }
}

fn builder(status: StatusCode, origin: Option<&HeaderValue>) -> HttpResponseBuilder {
    let mut response = HttpResponse::build(status);
    response.insert_header((header::CACHE_CONTROL, "no-store"));
    response.insert_header((header::VARY, "Accept, Upgrade, Origin"));
    allow_origin(&mut response, origin);
    response
}

/// A page of another origin may read the answer only if we say so (Fetch, section 3.2). `origin` is
/// the page's, which the gate let pass.
pub fn allow_origin(response: &mut HttpResponseBuilder, origin: Option<&HeaderValue>) {
    if let Some(origin) = origin {
        response.insert_header((header::ACCESS_CONTROL_ALLOW_ORIGIN, origin));
    }
}

/// Whether the request asks for JSON by name.
pub fn wants_json(headers: &HeaderMap) -> bool {
    super::gates::accepts(headers, "application/json")
}

/// Answers a browser that asks whether a page of another origin may act (Fetch, section 4.8).
pub fn preflight(origin: Option<&HeaderValue>) -> HttpResponse {
    builder(StatusCode::NO_CONTENT, origin)
        .insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, DELETE"))
        .insert_header((
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "authorization, content-type, idempotency-key, last-event-id",
        ))
        .insert_header((header::ACCESS_CONTROL_MAX_AGE, "600"))
        .finish()
}

/// `GET ROOM` as JSON: its state and position.
///
/// # Errors
/// [`Refusal::Stopping`] when there is no more server to ask.
pub async fn show(
    server: &Addr<StateServer>,
    epoch: &str,
    place: Place,
    origin: Option<&HeaderValue>,
) -> Result<HttpResponse, Refusal> {
    let view = server.send(Look { place }).await.map_err(|_| Refusal::Stopping)?;
    let view = view.ok_or(Refusal::Stopping)?;
    Ok(builder(StatusCode::OK, origin).json(body(&view, Some(epoch))))
}

/// `GET /api/rooms`: the rooms that `is_shown` lets pass.
///
/// # Errors
/// [`Refusal::Stopping`] when there is no more server to ask.
pub async fn list(
    server: &Addr<StateServer>,
    origin: Option<&HeaderValue>,
    is_shown: impl Fn(&str) -> bool,
) -> Result<HttpResponse, Refusal> {
    #[derive(Serialize)]
    struct List<'a> {
        rooms: Vec<RoomBody<'a>>,
    }
    let views = server.send(ListRooms).await.map_err(|_| Refusal::Stopping)?;
    let shown = views.iter().filter(|view| is_shown(&view.path));
    let rooms = shown.map(|view| body(view, None)).collect();
    Ok(builder(StatusCode::OK, origin).json(List { rooms }))
}

/// `DELETE ROOM`: the room and all that it keeps is given up.
///
/// # Errors
/// [`Refusal::NoSuchRoom`] if nobody has made it, [`Refusal::NotDurable`] if the journal cannot keep
/// that it is gone, [`Refusal::Stopping`] when there is no more server to ask.
pub async fn remove(
    worker: &Worker,
    place: Place,
    permit: Arc<Permit>,
    origin: Option<&HeaderValue>,
) -> Result<HttpResponse, Refusal> {
    let path = place.path.clone();
    let is_there = worker.server.send(Look { place: place.clone() }).await;
    let is_there = is_there.map_err(|_| Refusal::Stopping)?.is_some_and(|view| view.is_made);
    if !is_there {
        return Err(Refusal::NoSuchRoom(path.to_string()));
    }
    let session = SessionAddress::outside(worker.next_session_id());
    let sender = Some(Sender { session, id: None, verdict: None });
    let (place, permit) = (Some(place), Some(permit));
    let act = Act { place, sender, client: None, deed: Deed::Remove, cost: 0, permit };
    let events = worker.server.send(Post { act }).await.map_err(|_| Refusal::Stopping)?;
    match events.first() {
        // Somebody else was faster.
        Some(Event::Error(refused)) if refused.error.code == ErrorCode::NoSuchRoom => {
            Err(Refusal::NoSuchRoom(path.to_string()))
        }
        Some(Event::Error(_)) => Err(Refusal::NotDurable),
        _ => {
            log::info!("the room {path} was removed");
            Ok(builder(StatusCode::NO_CONTENT, origin).finish())
        }
    }
}

/// An action that came by POST.
pub struct Posted {
    /// The room.
    pub place: Place,
    /// Its kind.
    pub kind: Arc<dyn RoomKind>,
    /// The client that the `Idempotency-Key` stands for.
    pub client: Option<ClientKey>,
    /// What was sent.
    pub message: Message,
    /// The connection's place in the limits.
    pub permit: Arc<Permit>,
}

/// The client that an `Idempotency-Key` (IETF draft-ietf-httpapi-idempotency-key-header) stands
/// for: it has one action, with number 1. The request is `subject`'s.
///
/// # Errors
/// [`Refusal::BadKey`] for one that is empty, too long, not printable ASCII or stands twice.
pub fn client(
    room: &str,
    headers: &HeaderMap,
    subject: Option<&str>,
) -> Result<Option<ClientKey>, Refusal> {
    let mut keys = headers.get_all("idempotency-key");
    let Some(key) = keys.next() else { return Ok(None) };
    let key = key.as_bytes();
    let is_good = (1..=MAX_KEY_BYTES).contains(&key.len())
        && key.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
    match keys.next() {
        None if is_good => Ok(Some(ClientKey::of_request(room, key, subject))),
        _ => Err(Refusal::BadKey),
    }
}

/// Reads the body of a POST, which must come within `limit` and have at most `max_bytes`.
///
/// # Errors
/// [`Refusal::BodyTooLarge`], [`Refusal::BodyTooSlow`], or [`Refusal::BadBody`] for one that breaks
/// off.
pub async fn read(
    body: web::Payload,
    headers: &HeaderMap,
    max_bytes: usize,
    limit: Duration,
) -> Result<Message, Refusal> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let announced = announced.and_then(|text| text.parse::<u64>().ok());
    if announced.is_some_and(|bytes| bytes > max_bytes as u64) {
        return Err(Refusal::BodyTooLarge(max_bytes));
    }
    let read = timeout(limit, body.to_bytes_limited(max_bytes)).await;
    let bytes = read.map_err(|_| Refusal::BodyTooSlow)?;
    let bytes = bytes.map_err(|_| Refusal::BodyTooLarge(max_bytes))?;
    let bytes: Bytes = bytes.map_err(|_| Refusal::BadBody)?;
    let is_binary = headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/octet-stream"));
    match bytes.clone().try_into() {
        Ok(text) if !is_binary => Ok(Message::Text(text)),
        _ => Ok(Message::Binary(bytes)),
    }
}

impl Posted {
    /// Lets the action happen and answers with what became of it.
    ///
    /// # Errors
    /// [`Refusal::Stopping`] when there is no more server to act on.
    pub async fn act(
        self,
        worker: &Worker,
        origin: Option<&HeaderValue>,
    ) -> Result<HttpResponse, Refusal> {
        // Every action by POST is its client's first and only one. Plain rooms do not answer by number.
        let id = (self.kind.speech() == Speech::Events).then_some(1);
        let (deed, verdict) = match self.kind.decode_message(self.message) {
            Ok(action) => (Deed::Apply(action), None),
            Err(error) if self.client.is_some() => (Deed::Refuse, Some(Err(error))),
            Err(error) => {
                return Ok(answer(&[Event::Error(Refused::new(error, id))], origin));
            }
        };
        let session = SessionAddress::outside(worker.next_session_id());
        let sender = Some(Sender { session, id, verdict });
        let (place, permit) = (Some(self.place), Some(self.permit));
        let act = Act { place, sender, client: self.client, deed, cost: 0, permit };
        let events = worker.server.send(Post { act }).await.map_err(|_| Refusal::Stopping)?;
        Ok(answer(&events, origin))
    }
}

/// The first thing that the sender was told. Plain rooms may say nothing.
fn answer(events: &[Event], origin: Option<&HeaderValue>) -> HttpResponse {
    let Some(event) = events.first() else {
        return builder(StatusCode::NO_CONTENT, origin).finish();
    };
    let status = match event {
        Event::Error(refused) => status(refused.error.code),
        _ => StatusCode::OK,
    };
    let mut response = builder(status, origin);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.insert_header((header::RETRY_AFTER, "1"));
    }
    let is_plain = matches!(event, Event::Message(_));
    match event.to_message(Dialect::V1) {
        Message::Text(text) if is_plain => {
            response.content_type("text/plain; charset=utf-8").body(text.into_bytes())
        }
        Message::Text(text) => response.content_type("application/json").body(text.into_bytes()),
        Message::Binary(bytes) => response.content_type("application/octet-stream").body(bytes),
    }
}

fn status(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::BadJson | ErrorCode::UnknownAction | ErrorCode::BadField => {
            StatusCode::BAD_REQUEST
        }
        ErrorCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        code if code.may_be_sent_again() => StatusCode::SERVICE_UNAVAILABLE,
        // It does not fit the state as it is, or was decided before.
        _ => StatusCode::CONFLICT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::HeaderName;

    #[test]
    fn a_key_is_printable_and_stands_once() {
        let long = "x".repeat(256);
        let cases: [(&[&str], bool); 6] = [
            (&["8e03978e-40d5-43e8-bc93-6894a57f9324"], true),
            (&["\"quoted as the draft has it\""], true),
            (&[&long[..255]], true),
            (&[&long], false),
            (&[""], false),
            (&["a", "a"], false),
        ];
        for (keys, is_good) in cases {
            let mut headers = HeaderMap::new();
            for key in keys {
                let value = HeaderValue::from_str(key).expect("a header value");
                headers.append(HeaderName::from_static("idempotency-key"), value);
            }
            let expected =
                is_good.then(|| Some(ClientKey::of_request("/", keys[0].as_bytes(), None)));
            assert_eq!(client("/", &headers, None), expected.ok_or(Refusal::BadKey), "{keys:?}");
        }
        assert_eq!(client("/", &HeaderMap::new(), None), Ok(None));
    }

    #[test]
    fn a_status_says_what_a_code_says() {
        for (code, expected) in [
            (ErrorCode::BadJson, 400),
            (ErrorCode::TooLarge, 413),
            (ErrorCode::OutOfRange, 409),
            (ErrorCode::TestFailed, 409),
            (ErrorCode::Refused, 409),
            (ErrorCode::NotDurable, 503),
            (ErrorCode::TooManyRooms, 503),
        ] {
            assert_eq!(status(code), expected, "{code:?}");
        }
    }
}
