//! The gates before a session: pure functions of a request's head.

use super::refusal::Refusal;
use crate::{
    config::OriginRule,
    protocol::{
        ClientKey, Compression, Dialect,
        action::MAX_ID,
        deflate::{self, Agreement},
    },
    room::Speech,
};
use actix_web::http::{
    Method, Version,
    header::{self, HeaderMap, HeaderName},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use std::net::IpAddr;
use url::{Host, Url, form_urlencoded};

/// Whether the request asks for a WebSocket.
pub fn wants_websocket(headers: &HeaderMap) -> bool {
    has_token(headers, header::UPGRADE, "websocket")
}

/// Whether the request asks for server-sent events.
pub fn wants_event_stream(headers: &HeaderMap) -> bool {
    accepts(headers, "text/event-stream")
}

/// Whether the request asks for this media type by name.
pub fn accepts(headers: &HeaderMap, media_type: &str) -> bool {
    headers.get_all(header::ACCEPT).filter_map(|value| value.to_str().ok()).any(|value| {
        value
            .split(',')
            .filter_map(|range| range.split(';').next())
            .any(|range| range.trim().eq_ignore_ascii_case(media_type))
    })
}

/// The position up to which an event source has seen the events (WHATWG HTML, section 9.2.4). What
/// is no position is of another server: it is as if there were none.
pub fn last_event_id(headers: &HeaderMap) -> Option<u64> {
    position(only(headers, HeaderName::from_static("last-event-id"))?)
}

/// Pages, health and lists are only ever read.
///
/// # Errors
/// [`Refusal::MethodNotAllowed`] for methods other than GET and HEAD.
pub fn read_only(method: &Method) -> Result<(), Refusal> {
    match *method {
        Method::GET | Method::HEAD => Ok(()),
        _ => Err(Refusal::MethodNotAllowed("GET, HEAD")),
    }
}

/// What `actix_web_actors::ws::handshake` lets pass though RFC 6455, section 4.2.1, does not:
/// HTTP/1.0, other versions, any key.
///
/// # Errors
/// The first thing that is wrong.
pub fn handshake(method: &Method, version: Version, headers: &HeaderMap) -> Result<(), Refusal> {
    if *method != Method::GET {
        return Err(Refusal::BadHandshake("the method must be GET"));
    }
    if version < Version::HTTP_11 {
        return Err(Refusal::BadHandshake("the HTTP version must be 1.1"));
    }
    if !has_token(headers, header::CONNECTION, "upgrade") {
        return Err(Refusal::BadHandshake("Connection: Upgrade is missing"));
    }
    if only(headers, header::SEC_WEBSOCKET_VERSION) != Some("13") {
        return Err(Refusal::BadVersion);
    }
    let key = only(headers, header::SEC_WEBSOCKET_KEY)
        .ok_or(Refusal::BadHandshake("exactly one Sec-WebSocket-Key is needed"))?;
    match BASE64_STANDARD.decode(key) {
        Ok(nonce) if nonce.len() == 16 => Ok(()),
        _ => Err(Refusal::BadHandshake("Sec-WebSocket-Key must be 16 bytes in base64")),
    }
}

/// Lets a page's origin pass if a rule allows it. Clients that are no browsers send none and pass.
///
/// # Errors
/// [`Refusal::OriginForbidden`] with the origin.
pub fn origin(rules: &[OriginRule], headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(first) = headers.get(header::ORIGIN) else { return Ok(()) };
    let forbidden = || {
        let shown = String::from_utf8_lossy(first.as_bytes()).chars().take(200).collect();
        Refusal::OriginForbidden(shown)
    };
    let origin = only(headers, header::ORIGIN).ok_or_else(forbidden)?;
    let request_host = only(headers, header::HOST).and_then(host_of_authority);
    let is_allowed = rules.iter().any(|rule| allows(rule, origin, request_host.as_ref()));
    is_allowed.then_some(()).ok_or_else(forbidden)
}

fn allows(rule: &OriginRule, origin: &str, request_host: Option<&Host>) -> bool {
    let origin_host = || Url::parse(origin).ok().and_then(|url| Some(url.host()?.to_owned()));
    match rule {
        OriginRule::Null => origin == "null",
        OriginRule::Exact(allowed) => origin.eq_ignore_ascii_case(allowed),
        OriginRule::SameHost => request_host.is_some() && origin_host().as_ref() == request_host,
        OriginRule::Loopback => origin_host().is_some_and(|host| is_loopback(&host)),
    }
}

/// `HOST` or `HOST:PORT`, as in a Host header.
fn host_of_authority(authority: &str) -> Option<Host> {
    Some(Url::parse(&format!("http://{authority}/")).ok()?.host()?.to_owned())
}

fn is_loopback(host: &Host) -> bool {
    match host {
        Host::Domain(name) => name == "localhost",
        Host::Ipv4(address) => IpAddr::V4(*address).is_loopback(),
        Host::Ipv6(address) => IpAddr::V6(*address).is_loopback(),
    }
}

/// What is spoken with a client that offers these subprotocols, in a room that speaks so. Clients
/// that offer none that is known are spoken to as those who offer none (RFC 6455, section 4.2.2).
pub fn dialect(headers: &HeaderMap, speech: Speech) -> Dialect {
    let offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL);
    let mut names = offered.filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(','));
    match speech == Speech::Events && names.any(|name| name.trim() == Dialect::V1_NAME) {
        true => Dialect::V1,
        false => Dialect::Classic,
    }
}

/// What is agreed about compression with a client that offers these extensions, if anything.
/// `settings` are the server's own; without them nothing is.
pub fn extensions(headers: &HeaderMap, settings: Option<Compression>) -> Option<Agreement> {
    let lines = headers.get_all(header::SEC_WEBSOCKET_EXTENSIONS);
    deflate::negotiate(lines.filter_map(|line| line.to_str().ok()), settings?)
}

/// Who a client says it is, and what it knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Who {
    /// Its identity in the room.
    pub client: Option<ClientKey>,
    /// The position up to which it knows what was said.
    pub since: Option<u64>,
}

/// Who a `statesync.v1` client of the room at the path `room` says it is, in the URL's query.
///
/// # Errors
/// [`Refusal::BadClient`] or [`Refusal::BadSince`] for a parameter that is wrong or stands twice.
pub fn who(room: &str, query: &str) -> Result<Who, Refusal> {
    let (mut clients, mut since) = (Vec::new(), Vec::new());
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "client" => clients.push(value),
            "since" => since.push(value),
            _ => {}
        }
    }
    let since = match &since[..] {
        [] => None,
        [text] => Some(position(text).ok_or(Refusal::BadSince)?),
        _ => return Err(Refusal::BadSince),
    };
    let client = match &clients[..] {
        [] => None,
        [client] => Some(ClientKey::new(room, client).ok_or(Refusal::BadClient)?),
        _ => return Err(Refusal::BadClient),
    };
    Ok(Who { client, since })
}

/// A position in the order: a whole number that is exact in JavaScript.
fn position(text: &str) -> Option<u64> {
    text.parse().ok().filter(|position| *position <= MAX_ID)
}

/// The header's value if it stands exactly once and is text.
fn only(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name);
    let value = values.next()?;
    if values.next().is_some() { None } else { value.to_str().ok().map(str::trim) }
}

/// Whether a comma-separated header has `token`, whatever its case.
fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|item| item.trim().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::HeaderValue;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let value = HeaderValue::from_str(value).expect("a header value");
            headers.append(HeaderName::from_static(name), value);
        }
        headers
    }

    const GOOD: [(&str, &str); 4] = [
        ("upgrade", "websocket"),
        ("connection", "keep-alive, Upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    fn with(name: &'static str, value: &'static str) -> HeaderMap {
        let mut lines = GOOD.to_vec();
        lines.retain(|(good, _)| *good != name);
        lines.push((name, value));
        headers(&lines)
    }

    #[test]
    fn a_good_handshake_passes() {
        assert_eq!(handshake(&Method::GET, Version::HTTP_11, &headers(&GOOD)), Ok(()));
    }

    #[test]
    fn bad_handshakes_are_refused() {
        let (get, http11) = (Method::GET, Version::HTTP_11);
        let twice = [GOOD.as_slice(), &[GOOD[3]]].concat();
        let cases = [
            ("method", handshake(&Method::POST, http11, &headers(&GOOD)), "GET"),
            ("version", handshake(&get, Version::HTTP_10, &headers(&GOOD)), "1.1"),
            ("connection", handshake(&get, http11, &with("connection", "close")), "Connection"),
            ("short key", handshake(&get, http11, &with("sec-websocket-key", "abc=")), "base64"),
            ("no base64", handshake(&get, http11, &with("sec-websocket-key", "!")), "base64"),
            ("two keys", handshake(&get, http11, &headers(&twice)), "exactly one"),
            ("version 8", handshake(&get, http11, &with("sec-websocket-version", "8")), "13"),
            ("no version", handshake(&get, http11, &with("x-none", "")), ""),
        ];
        for (name, result, part) in cases {
            match (name, result) {
                ("no version", result) => assert_eq!(result, Ok(()), "an added header is ignored"),
                (name, Ok(())) => panic!("{name} must be refused"),
                (name, Err(refusal)) => {
                    assert!(refusal.to_string().contains(part), "{name}: {refusal}");
                }
            }
        }
    }

    #[test]
    fn origins_pass_as_the_rules_say() {
        use OriginRule::*;
        let exact = || Exact("https://app.example".into());
        let host = "counter.example:6789";
        let cases: &[(&str, &[OriginRule], &str, bool)] = &[
            (host, &[SameHost], "http://counter.example", true),
            (host, &[SameHost], "https://counter.example:8443", true),
            (host, &[SameHost], "http://other.example", false),
            (host, &[SameHost], "http://counter.example.evil.example", false),
            (host, &[SameHost], "null", false),
            ("[::1]:6789", &[SameHost], "http://[::1]:80", true),
            (host, &[Loopback], "http://localhost:3000", true),
            (host, &[Loopback], "http://127.9.9.9", true),
            (host, &[Loopback], "http://[::1]:1", true),
            (host, &[Loopback], "http://localhost.evil.example", false),
            (host, &[Loopback], "http://128.0.0.1", false),
            (host, &[Null], "null", true),
            (host, &[Null], "http://localhost", false),
            (host, &[exact()], "https://app.example", true),
            (host, &[exact()], "HTTPS://APP.EXAMPLE", true),
            (host, &[exact()], "http://app.example", false),
            (host, &[exact()], "https://app.example:444", false),
            (host, &[exact()], "https://app.example.evil.example", false),
            (host, &[SameHost, Loopback, exact()], "https://app.example", true),
            (host, &[], "http://counter.example", false),
            (host, &[SameHost, Loopback, Null], "", false),
            (host, &[SameHost, Loopback, Null], "not an origin", false),
        ];
        for (host, rules, value, passes) in cases {
            let result = origin(rules, &headers(&[("host", host), ("origin", value)]));
            assert_eq!(result.is_ok(), *passes, "{value:?} to {host} under {rules:?}");
        }
    }

    #[test]
    fn no_origin_passes_and_two_do_not() {
        assert_eq!(origin(&[], &headers(&[("host", "a.example")])), Ok(()));
        let two = [("host", "a.example"), ("origin", "null"), ("origin", "null")];
        assert!(origin(&[OriginRule::Null], &headers(&two)).is_err());
    }

    #[test]
    fn v1_is_spoken_with_those_who_offer_it_in_rooms_of_events() {
        let cases: &[(&[&str], Speech, Dialect)] = &[
            (&[], Speech::Events, Dialect::Classic),
            (&["statesync.v1"], Speech::Events, Dialect::V1),
            (&["statesync.v1"], Speech::Plain, Dialect::Classic),
            (&["chat, statesync.v1"], Speech::Events, Dialect::V1),
            (&["chat", "statesync.v1"], Speech::Events, Dialect::V1),
            (&["statesync.v2"], Speech::Events, Dialect::Classic),
            (&["STATESYNC.V1"], Speech::Events, Dialect::Classic),
        ];
        for (offered, speech, expected) in cases {
            let lines: Vec<_> = offered.iter().map(|o| ("sec-websocket-protocol", *o)).collect();
            assert_eq!(dialect(&headers(&lines), *speech), *expected, "{offered:?} {speech:?}");
        }
    }

    #[test]
    fn extensions_may_stand_in_several_lines_and_are_agreed_on_only_with_settings() {
        let settings = Compression { window_bits: 15, level: 3, memory_level: 8, min_bytes: 512 };
        let lines = [
            ("sec-websocket-extensions", "foo, permessage-deflate; bar"),
            ("sec-websocket-extensions", "permessage-deflate; server_max_window_bits=9"),
        ];
        let agreed = extensions(&headers(&lines), Some(settings)).map(|agreed| agreed.compression);
        assert_eq!(agreed, Some(Compression { window_bits: 9, ..settings }));
        assert_eq!(extensions(&headers(&lines), None), None);
        assert_eq!(extensions(&headers(&lines[..1]), Some(settings)), None);
        assert_eq!(extensions(&headers(&[]), Some(settings)), None);
    }

    #[test]
    fn a_client_says_who_it_is_in_the_query() {
        let known = ClientKey::new("/", "sixteen_letters-");
        let cases = [
            ("", Ok((None, None))),
            ("x=1&client=sixteen_letters-", Ok((known, None))),
            ("client=sixteen%5Fletters-&since=0", Ok((known, Some(0)))),
            ("since=9007199254740991", Ok((None, Some(9007199254740991)))),
            ("client=", Err(Refusal::BadClient)),
            ("client=short", Err(Refusal::BadClient)),
            ("client=sixteen%20letters-", Err(Refusal::BadClient)),
            ("client=sixteen_letters-&client=sixteen_letters-", Err(Refusal::BadClient)),
            ("since=", Err(Refusal::BadSince)),
            ("since=-1", Err(Refusal::BadSince)),
            ("since=9007199254740992", Err(Refusal::BadSince)),
            ("since=1&since=1", Err(Refusal::BadSince)),
        ];
        for (query, expected) in cases {
            let expected = expected.map(|(client, since)| Who { client, since });
            assert_eq!(who("/", query), expected, "{query:?}");
        }
    }

    #[test]
    fn event_streams_are_asked_for_by_name() {
        for (accept, wanted) in [
            ("text/event-stream", true),
            ("text/html, text/event-stream;q=0.5", true),
            ("*/*", false),
            ("text/html", false),
        ] {
            assert_eq!(wants_event_stream(&headers(&[("accept", accept)])), wanted, "{accept}");
        }
    }
}
