//! Where a request shows a token, and how a request's head is logged without it. Pure.

use super::refusal::Refusal;
use crate::{auth::Unauthorized, config::Secret};
use actix_web::http::header::{self, HeaderMap};
use std::fmt;
use url::form_urlencoded;

/// What stands before a token among the subprotocols that a client offers. The only way for a page
/// whose server is another host's.
const SUBPROTOCOL: &str = "statesync.token.";

/// The parameter of RFC 6750, section 2.3.
const PARAMETER: &str = "access_token";

/// The token that a request shows, if it shows one: in `Authorization`, in the cookie of this name,
/// in the query, or among the subprotocols.
///
/// # Errors
/// [`Refusal::DifferentTokens`] if it shows several; and if it shows one only in a cookie, which a
/// browser sends for any page, [`Unauthorized::BadToken`] where it does not say which page asks.
pub fn find(headers: &HeaderMap, query: &str, cookie: &str) -> Result<Option<Secret>, Refusal> {
    let shown = authorizations(headers).chain(parameters(query)).chain(subprotocols(headers));
    let shown: Vec<String> = shown.collect();
    let cookies: Vec<String> = cookies(headers, cookie).collect();
    let is_only_in_cookie = shown.is_empty();
    let mut all = shown.into_iter().chain(cookies);
    let Some(first) = all.next() else { return Ok(None) };
    if all.any(|other| other != first) {
        return Err(Refusal::DifferentTokens);
    }
    if is_only_in_cookie && !says_its_page(headers) {
        let why = "in a cookie it counts only with an Origin";
        return Err(Refusal::Unauthorized(Unauthorized::BadToken(why)));
    }
    Ok(Some(Secret::new(first)))
}

/// Whether the gate for origins has seen which page asks. A browser sends no origin with an event
/// stream of the page's own server, but then it may say that.
fn says_its_page(headers: &HeaderMap) -> bool {
    headers.contains_key(header::ORIGIN)
        || headers.get("sec-fetch-site").is_some_and(|site| site == "same-origin")
}

/// `Bearer TOKEN` (RFC 6750, section 2.1) or the bare token. Other schemes are not ours.
fn authorizations(headers: &HeaderMap) -> impl Iterator<Item = String> {
    headers.get_all(header::AUTHORIZATION).filter_map(|value| {
        let value = String::from_utf8_lossy(value.as_bytes()).trim().to_owned();
        match value.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
                Some(token.trim().to_owned())
            }
            Some(_) => None,
            None => Some(value),
        }
    })
}

fn parameters(query: &str) -> impl Iterator<Item = String> {
    form_urlencoded::parse(query.as_bytes())
        .filter(|(name, _)| name == PARAMETER)
        .map(|(_, value)| value.into_owned())
}

fn subprotocols(headers: &HeaderMap) -> impl Iterator<Item = String> {
    texts(headers, header::SEC_WEBSOCKET_PROTOCOL)
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().strip_prefix(SUBPROTOCOL))
        .map(str::to_owned)
}

/// RFC 6265, section 4.2.1. No name: no cookie.
fn cookies(headers: &HeaderMap, name: &str) -> impl Iterator<Item = String> {
    texts(headers, header::COOKIE).flat_map(|value| value.split(';')).filter_map(move |pair| {
        let (key, value) = pair.trim().split_once('=')?;
        (key == name && !name.is_empty()).then(|| value.trim_matches('"').to_owned())
    })
}

fn texts(headers: &HeaderMap, name: header::HeaderName) -> impl Iterator<Item = &str> {
    headers.get_all(name).filter_map(|value| value.to_str().ok())
}

/// A request's headers for the log.
pub struct Masked<'a>(pub &'a HeaderMap);

impl fmt::Display for Masked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = f.debug_list();
        for (name, value) in self.0 {
            let value = String::from_utf8_lossy(value.as_bytes());
            match *name {
                header::AUTHORIZATION | header::PROXY_AUTHORIZATION | header::COOKIE => {
                    lines.entry(&format_args!("{name}: {}", Secret::MASK));
                }
                header::SEC_WEBSOCKET_PROTOCOL if value.contains(SUBPROTOCOL) => {
                    let mask = |name: &str| match name.trim().starts_with(SUBPROTOCOL) {
                        true => format!("{SUBPROTOCOL}{}", Secret::MASK),
                        false => name.trim().to_owned(),
                    };
                    let names: Vec<_> = value.split(',').map(mask).collect();
                    lines.entry(&format_args!("{name}: {}", names.join(", ")));
                }
                _ => {
                    lines.entry(&format_args!("{name}: {value:?}"));
                }
            }
        }
        lines.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::{HeaderName, HeaderValue};

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let value = HeaderValue::from_str(value).expect("a header value");
            headers.append(HeaderName::from_static(name), value);
        }
        headers
    }

    fn found(lines: &[(&'static str, &str)], query: &str) -> Result<Option<String>, Refusal> {
        let found = find(&headers(lines), query, "statesync_token")?;
        Ok(found.map(|token| token.expose().to_owned()))
    }

    #[test]
    fn a_token_is_found_where_it_may_stand() {
        let origin = ("origin", "http://a.example");
        type Line<'a> = (&'static str, &'a str);
        let cases: &[(&[Line<'_>], &str, Option<&str>)] = &[
            (&[], "", None),
            (&[("authorization", "Bearer t")], "", Some("t")),
            (&[("authorization", "bearer   t ")], "", Some("t")),
            (&[("authorization", "t")], "", Some("t")),
            (&[("authorization", "Bearer")], "", Some("Bearer")),
            (&[("authorization", "Basic dTpw")], "", None),
            (&[], "access_token=t", Some("t")),
            (&[], "a=b&access_token=a%2Bb", Some("a+b")),
            (&[], "access_token=", Some("")),
            (&[("sec-websocket-protocol", "statesync.v1, statesync.token.t.u")], "", Some("t.u")),
            (&[("sec-websocket-protocol", "statesync.v1")], "", None),
            (&[("cookie", "a=b; statesync_token=t"), origin], "", Some("t")),
            (&[("cookie", "statesync_token=\"t\""), origin], "", Some("t")),
            (&[("cookie", "statesync_token=t"), ("sec-fetch-site", "same-origin")], "", Some("t")),
            (&[("cookie", "statesync_tokens=t; statesync_token"), origin], "", None),
            (&[("cookie", "statesync_token=t"), ("authorization", "t")], "", Some("t")),
            (&[("authorization", "t")], "access_token=t", Some("t")),
        ];
        for (lines, query, expected) in cases {
            assert_eq!(found(lines, query), Ok(expected.map(str::to_owned)), "{lines:?} {query}");
        }
    }

    #[test]
    fn different_tokens_in_one_request_are_refused() {
        let cookie = ("cookie", "statesync_token=u");
        let cases: &[(&[(&str, &str)], &str)] = &[
            (&[("authorization", "t"), ("authorization", "u")], ""),
            (&[("authorization", "t"), cookie], ""),
            (&[("authorization", "Bearer t")], "access_token=u"),
            (&[], "access_token=t&access_token=u"),
            (&[("sec-websocket-protocol", "statesync.token.t"), cookie], ""),
            (&[("cookie", "statesync_token=t; statesync_token=u"), ("origin", "null")], ""),
        ];
        for (lines, query) in cases {
            assert_eq!(found(lines, query), Err(Refusal::DifferentTokens), "{lines:?} {query}");
        }
    }

    #[test]
    fn a_cookie_alone_counts_only_where_it_is_known_which_page_asks() {
        for site in ["cross-site", "same-site", "none"] {
            let lines = [("cookie", "statesync_token=t"), ("sec-fetch-site", site)];
            assert!(matches!(found(&lines, ""), Err(Refusal::Unauthorized(_))), "{site}");
        }
        assert!(found(&[("cookie", "statesync_token=t")], "").is_err());
        let headers = headers(&[("cookie", "=t"), ("origin", "null")]);
        assert_eq!(find(&headers, "", "").map(|found| found.is_some()), Ok(false), "no name");
    }

    #[test]
    fn tokens_are_masked_in_the_log() {
        let headers = headers(&[
            ("authorization", "Bearer s3cret"),
            ("proxy-authorization", "Basic s3cret"),
            ("cookie", "statesync_token=s3cret"),
            ("sec-websocket-protocol", "statesync.v1, statesync.token.s3cret"),
            ("host", "a.example"),
        ]);
        let shown = Masked(&headers).to_string();
        assert!(!shown.contains("s3cret"), "{shown}");
        for part in ["authorization: ***", "statesync.v1, statesync.token.***", "\"a.example\""] {
            assert!(shown.contains(part), "{shown}, want {part}");
        }
    }
}
