//! What the gates answer when they do not let a request through.

use crate::{auth::Unauthorized, logging::log_limited, protocol::action::MAX_ID};
use actix_web::{
    HttpResponse,
    http::{StatusCode, header},
};
use serde::Serialize;
use std::{fmt, time::Duration};

/// Why a request is refused, and with it the status and the JSON body of the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// No room is at this path.
    NoSuchRoom(String),
    /// Nothing else is at this path.
    NoSuchPage,
    /// The page's origin is not in `origins.allow`.
    OriginForbidden(String),
    /// There is no good token.
    Unauthorized(Unauthorized),
    /// Several tokens, and not the same.
    DifferentTokens,
    /// The token is good, but not for this room.
    Forbidden,
    /// `limits.connections_per_second_per_address`, or that for actions, is reached, for so long.
    TooFast(Duration),
    /// `limits.max_connections` is reached.
    ServerFull,
    /// `limits.max_connections_per_address` is reached.
    AddressFull,
    /// The opening handshake breaks RFC 6455, section 4.2.1.
    BadHandshake(&'static str),
    /// The URL's `client` is no identity.
    BadClient,
    /// The URL's `since` is no position.
    BadSince,
    /// The client speaks another version of the WebSocket protocol.
    BadVersion,
    /// The room has no page: it speaks WebSocket or server-sent events.
    UpgradeRequired,
    /// None of the methods that are answered at this path, which are these.
    MethodNotAllowed(&'static str),
    /// The `Idempotency-Key` is none.
    BadKey,
    /// The request's body has more bytes than this.
    BodyTooLarge(usize),
    /// The request's body did not come in time.
    BodyTooSlow,
    /// The request's body broke off.
    BadBody,
    /// The journal cannot keep what was asked for.
    NotDurable,
    /// The server stops.
    Stopping,
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: &'a str,
    code: &'a str,
    message: String,
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::NoSuchRoom(_) | Self::NoSuchPage => StatusCode::NOT_FOUND,
            Self::OriginForbidden(_) | Self::Forbidden => StatusCode::FORBIDDEN,
            Self::Unauthorized(_) => StatusCode::UNAUTHORIZED,
            Self::ServerFull | Self::NotDurable | Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            Self::AddressFull | Self::TooFast(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::BadHandshake(_)
            | Self::BadClient
            | Self::BadSince
            | Self::BadKey
            | Self::BadBody
            | Self::DifferentTokens => StatusCode::BAD_REQUEST,
            Self::BodyTooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::BadVersion | Self::UpgradeRequired => StatusCode::UPGRADE_REQUIRED,
            Self::MethodNotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
        }
    }

    /// A stable name, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoSuchRoom(_) => "no_such_room",
            Self::NoSuchPage => "no_such_page",
            Self::OriginForbidden(_) => "origin_forbidden",
            Self::Unauthorized(_) => "unauthorized",
            Self::DifferentTokens => "different_tokens",
            Self::Forbidden => "forbidden",
            Self::TooFast(_) => "rate_limited",
            Self::ServerFull => "server_full",
            Self::AddressFull => "address_full",
            Self::BadHandshake(_) => "bad_handshake",
            Self::BadClient => "bad_client",
            Self::BadSince => "bad_since",
            Self::BadVersion => "bad_version",
            Self::UpgradeRequired => "upgrade_required",
            Self::MethodNotAllowed(_) => "method_not_allowed",
            Self::BadKey => "bad_key",
            Self::BodyTooLarge(_) => "body_too_large",
            Self::BodyTooSlow => "body_too_slow",
            Self::BadBody => "bad_body",
            Self::NotDurable => "not_durable",
            Self::Stopping => "stopping",
        }
    }

    /// What the operator can do about it; `None` where only the client can.
    fn how_to_allow(&self) -> Option<&'static str> {
        match self {
            Self::OriginForbidden(_) => Some("add the origin to origins.allow"),
            Self::ServerFull => Some("raise limits.max_connections"),
            Self::AddressFull => Some("raise limits.max_connections_per_address"),
            Self::TooFast(_) => Some("raise the limits of its address, in [limits]"),
            _ => None,
        }
    }

    /// Logs it, a line a second at most.
    pub(super) fn log(&self) {
        match self.how_to_allow() {
            Some(how) => log_limited!(log::Level::Info, "refused: {self}; to allow it, {how}"),
            None => log_limited!(log::Level::Info, "refused: {self}"),
        }
    }

    /// The answer. Logged here.
    pub fn to_response(&self) -> HttpResponse {
        self.log();
        let mut response = HttpResponse::build(self.status());
        match self {
            Self::BadVersion => {
                response.insert_header((header::SEC_WEBSOCKET_VERSION, "13"));
                response.insert_header((header::UPGRADE, "websocket"));
            }
            Self::UpgradeRequired => {
                response.insert_header((header::UPGRADE, "websocket"));
            }
            Self::ServerFull | Self::AddressFull | Self::NotDurable | Self::Stopping => {
                response.insert_header((header::RETRY_AFTER, "5"));
            }
            Self::TooFast(wait) => {
                // Whole seconds, so at least one.
                response.insert_header((header::RETRY_AFTER, wait.as_secs() + 1));
            }
            // RFC 6750, section 3.
            Self::Unauthorized(Unauthorized::NoToken) => {
                response.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
            }
            Self::Unauthorized(Unauthorized::BadToken(_)) => {
                let challenge = "Bearer error=\"invalid_token\"";
                response.insert_header((header::WWW_AUTHENTICATE, challenge));
            }
            Self::MethodNotAllowed(allowed) => {
                response.insert_header((header::ALLOW, *allowed));
            }
            _ => {}
        }
        response.insert_header((header::CACHE_CONTROL, "no-store")).json(Body {
            r#type: "error",
            code: self.code(),
            message: self.to_string(),
        })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchRoom(path) => write!(f, "there is no room at {path}"),
            Self::NoSuchPage => f.write_str("there is nothing here"),
            Self::OriginForbidden(origin) => {
                write!(f, "pages from {origin:?} may not connect to this server")
            }
            Self::Unauthorized(why) => why.fmt(f),
            Self::DifferentTokens => f.write_str("the request has several tokens: send one"),
            Self::Forbidden => f.write_str("this is not allowed to you here"),
            Self::TooFast(_) => f.write_str("your address does too much at a time"),
            Self::ServerFull => f.write_str("the server has all the connections it may have"),
            Self::AddressFull => f.write_str("your address has all the connections it may have"),
            Self::BadHandshake(what) => write!(f, "this is no WebSocket handshake: {what}"),
            Self::BadClient => f.write_str(
                "\"client\" must stand once in the URL, with 16 to 64 characters of A-Z a-z 0-9 - _",
            ),
            Self::BadSince => {
                write!(f, "\"since\" must stand once in the URL, a whole number up to {MAX_ID}")
            }
            Self::BadVersion => f.write_str("only version 13 of the WebSocket protocol is spoken"),
            Self::UpgradeRequired => f.write_str(
                "this room speaks WebSocket, server-sent events (Accept: text/event-stream), and HTTP: \
                 GET its state (Accept: application/json), POST an action",
            ),
            Self::MethodNotAllowed(allowed) => write!(f, "only {allowed} are answered here"),
            Self::BadKey => f.write_str(
                "\"Idempotency-Key\" must stand once, with 1 to 255 printable characters of ASCII",
            ),
            Self::BodyTooLarge(max) => write!(f, "a request's body may have {max} bytes"),
            Self::BodyTooSlow => f.write_str("the request's body did not come in time"),
            Self::BadBody => f.write_str("the request's body broke off"),
            Self::NotDurable => f.write_str("the server cannot keep this now: nothing was changed"),
            Self::Stopping => f.write_str("the server is stopping"),
        }
    }
}
