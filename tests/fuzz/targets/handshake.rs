//! The opening handshake: a request's head as it comes from the socket, and all that is decided by
//! it alone.
//!
//! Input: the head. What follows it are two lines that become the header and the claims of a JSON
//! Web Token with a good signature.

use actix_http::{
    HttpMessage, Request, ServiceConfig,
    h1::{Codec, Message},
    header::{HeaderMap, HeaderName, HeaderValue},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::BytesMut;
use jsonwebtoken::{Algorithm, EncodingKey, crypto::sign};
use statesync::{
    config::{self, AuthKind, JwtAlgorithm, OriginRule},
    http::head::{self, Auth, UnixSeconds},
    protocol::{Compression, Dialect, action::MAX_ID, deflate::WINDOW_BITS},
    room::{PathPattern, Speech},
};
use tokio_util::codec::Decoder;

const NOW: UnixSeconds = UnixSeconds(1_800_000_000);
const SECRET: &str = "a secret of more than thirty-two bytes";
const COOKIE: &str = "statesync_token";
const SUBPROTOCOL: &str = "statesync.token.";

/// Nothing is decided that contradicts itself, and no token gets into the log.
pub fn target(bytes: &[u8]) {
    let mut rest = BytesMut::from(bytes);
    let codec = || Codec::new(service_config());
    let Ok(Some(Message::Item(request))) = codec().decode(&mut rest) else { return };
    let headers = request.headers();
    let path = request.path();
    let query = request.uri().query().unwrap_or_default();
    check_handshake(&request);
    check_origin(headers);
    check_extensions(headers);
    check_who(path, query, headers);
    check_token(&request, query);
    check_signed(&rest, path);
    let patterns = ["/", "/docs/{name}", "/{name}/end"];
    for pattern in patterns.map(|text| PathPattern::parse(text).expect("a pattern")) {
        let is_odd = |segment: &str| segment.contains(['%', '\0', '\\']) || segment == "..";
        assert!(!pattern.matches(path) || !path.split('/').any(is_odd), "{path}");
    }
    assert!(head::last_event_id(headers).is_none_or(|position| position <= MAX_ID));
    head::wants_event_stream(headers);
    if let Ok(Some(client)) = head::client("/", headers, None) {
        assert_ne!(Ok(Some(client)), head::client("/other", headers, None));
        assert_ne!(Ok(Some(client)), head::client("/", headers, Some("ann")));
    }
}

/// A codec asks it for the date, which a task of an actix system keeps.
fn service_config() -> ServiceConfig {
    thread_local! {
        static SYSTEM: (actix_rt::SystemRunner, ServiceConfig) = {
            let system = actix_rt::System::new();
            let config = system.block_on(async { ServiceConfig::default() });
            (system, config)
        };
    }
    SYSTEM.with(|(_, config)| config.clone())
}

fn check_handshake(request: &Request) {
    let (head, headers) = (request.head(), request.headers());
    match head::handshake(request.method(), head.version, headers) {
        Ok(()) => {
            assert_eq!(request.method(), "GET");
            assert_eq!(headers.get_all("sec-websocket-key").count(), 1);
            assert_eq!(headers.get_all("sec-websocket-version").count(), 1);
        }
        Err(refusal) => assert!(!refusal.to_string().is_empty() && !refusal.code().is_empty()),
    }
    let in_v1 = head::offers_v1(headers);
    assert_eq!(head::dialect(headers, Speech::Events) == Dialect::V1, in_v1);
    assert_eq!(head::dialect(headers, Speech::Plain), Dialect::Classic);
    head::wants_websocket(headers);
}

/// What one rule lets pass, more rules let pass as well; and the other way round.
fn check_origin(headers: &HeaderMap) {
    let exact = OriginRule::Exact("https://app.example".into());
    let rules = [OriginRule::SameHost, OriginRule::Loopback, OriginRule::Null, exact];
    let by_one = rules.iter().any(|rule| head::origin(std::slice::from_ref(rule), headers).is_ok());
    assert_eq!(head::origin(&rules, headers).is_ok(), by_one);
    assert_eq!(head::origin(&[], headers).is_ok(), !headers.contains_key("origin"));
}

fn check_extensions(headers: &HeaderMap) {
    let settings = Compression { window_bits: 13, level: 1, memory_level: 1, min_bytes: 0 };
    assert_eq!(head::extensions(headers, None), None);
    let Some(agreement) = head::extensions(headers, Some(settings)) else { return };
    assert!(WINDOW_BITS.contains(&agreement.compression.window_bits));
    assert!(agreement.compression.window_bits <= 13, "no more than the server's own");
    assert!(agreement.answer.starts_with("permessage-deflate; server_no_context_takeover"));
    // What was agreed can be offered, and leads to the same.
    let mut answer = HeaderMap::new();
    let value = HeaderValue::from_str(&agreement.answer).expect("a header's value");
    answer.insert(HeaderName::from_static("sec-websocket-extensions"), value);
    let again = head::extensions(&answer, Some(settings)).map(|again| again.compression);
    assert_eq!(again, Some(agreement.compression), "{}", agreement.answer);
}

fn check_who(path: &str, query: &str, headers: &HeaderMap) {
    let (Ok(anybody), Ok(ann)) =
        (head::who(path, query, None), head::who(path, query, Some("ann")))
    else {
        assert!(head::who(path, query, None).is_err() && head::who(path, query, Some("")).is_err());
        return;
    };
    assert_eq!(anybody.since, ann.since);
    assert!(anybody.since.is_none_or(|since| since <= MAX_ID));
    assert_eq!(anybody.client.is_some(), ann.client.is_some());
    if anybody.client.is_some() {
        assert_ne!(anybody.client, ann.client, "a subject's client is another one");
        assert_ne!(Some(anybody.client), head::client(path, headers, None).ok());
    }
}

/// The token that the request shows is never logged.
fn check_token(request: &Request, query: &str) {
    let headers = request.headers();
    let shown = head::Masked(headers).to_string();
    let Ok(Some(token)) = head::find(headers, query, COOKIE) else { return };
    let token = token.expose();
    let _ = auth().bearer(Some(token), NOW);
    let is_elsewhere = headers.iter().any(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes());
        name.as_str().contains(token)
            || match name.as_str() {
                "authorization" | "proxy-authorization" | "cookie" => false,
                "sec-websocket-protocol" if value.contains(SUBPROTOCOL) => {
                    let names = value.split(',').map(str::trim);
                    let others = names.filter(|name| !name.starts_with(SUBPROTOCOL));
                    others.collect::<Vec<_>>().join(", ").contains(token)
                }
                _ => value.contains(token) || format!("{value:?}").contains(token),
            }
    });
    // What is this short stands in the names that all heads have.
    if token.len() >= 16 && !is_elsewhere && !token.starts_with("sec-websocket-") {
        assert!(!shown.contains(token), "{token:?} in {shown}");
    }
}

fn check_signed(lines: &[u8], path: &str) {
    let mut lines = lines.splitn(2, |byte| *byte == b'\n');
    let (Some(header), Some(claims)) = (lines.next(), lines.next()) else { return };
    let base64 = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let signed = format!("{}.{}", base64(header), base64(claims));
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let signature = sign(signed.as_bytes(), &key, Algorithm::HS256).expect("a signature");
    let token = format!("{signed}.{signature}");
    let auth = auth();
    if let Ok(bearer) = auth.bearer(Some(&token), NOW)
        && let Ok(access) = auth.access(&bearer, path, None)
    {
        assert!(access.expires_at.is_some_and(|end| end > NOW), "{access:?}");
        assert!(access.subject.is_some(), "{access:?}");
    }
    let forged = format!("{signed}.{}", base64(&[0; 32]));
    assert!(auth.bearer(Some(&forged), NOW).is_err(), "a signature that is none");
}

fn auth() -> Auth {
    let config = config::Auth {
        kind: AuthKind::Jwt,
        algorithms: vec![JwtAlgorithm::Hs256],
        key_files: vec!["secret".into()],
        ..config::Auth::default()
    };
    Auth::open(&config, |_| Ok(SECRET.to_owned())).expect("a good configuration")
}
