//! Single values: from the text in the file to their meaning, and back.

use std::{
    net::{IpAddr, SocketAddr},
    str::FromStr,
    time::Duration,
};

use bytesize::{ByteSize, KB, KIB, MB, MIB};
use url::Url;

use super::OriginRule;

/// No sensible length of time is written longer. humantime 2.4 panics on sums just past what a
/// `Duration` holds, and those take at least 27 characters.
const LONGEST_DURATION_TEXT: usize = 24;

/// A length of time such as `20s`, `50ms` or `1m 30s`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(duration_needs_unit(text));
    }
    if text.len() > LONGEST_DURATION_TEXT {
        return Err(format!("{text:?} is too long for a length of time"));
    }
    humantime::parse_duration(text)
        .map_err(|_| format!("{text:?} is no length of time: write \"20s\", \"50ms\" or \"2m\""))
}

/// What to answer to a bare number where a length of time is wanted.
pub(super) fn duration_needs_unit(number: &str) -> String {
    format!("a length of time needs a unit: write \"{number}s\", \"{number}ms\" or \"{number}m\"")
}

/// The shortest exact text for a length of time.
pub(super) fn show_duration(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

/// What one of several words stands for.
pub(super) fn word<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    if let Some((_, choice)) = words.iter().find(|(word, _)| *word == text) {
        return Ok(*choice);
    }
    let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let meant = suggestion(text, known.iter().copied());
    Err(format!("{text:?} is not known{meant}; known are {}", known.join(", ")))
}

/// A size in bytes such as `64KiB` or `2MB`.
pub(super) fn size(text: &str) -> Result<usize, String> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(size_needs_unit(text));
    }
    let bytes = ByteSize::from_str(text).map_err(|_| {
        format!("{text:?} is no size: write \"64KiB\" (65,536 bytes), \"1MiB\" or \"500B\"")
    })?;
    usize::try_from(bytes.as_u64()).map_err(|_| format!("{text:?} is more than memory can hold"))
}

/// What to answer to a bare number where a size is wanted.
pub(super) fn size_needs_unit(number: &str) -> String {
    format!("a size needs a unit: write \"{number}B\", \"{number}KiB\" or \"{number}MiB\"")
}

/// The shortest exact text for a size.
pub(super) fn show_size(bytes: usize) -> String {
    let bytes = bytes as u64;
    let units = [(MIB, "MiB"), (KIB, "KiB"), (MB, "MB"), (KB, "kB")];
    units
        .iter()
        .find(|(unit, _)| bytes > 0 && bytes.is_multiple_of(*unit))
        .map_or_else(|| format!("{bytes}B"), |(unit, name)| format!("{}{name}", bytes / unit))
}

/// An address to listen on: `HOST:PORT` or `[IPV6]:PORT`.
pub(super) fn bind_address(text: &str) -> Result<String, String> {
    if text.parse::<SocketAddr>().is_ok() {
        return Ok(text.to_owned());
    }
    if text.contains("://") {
        return Err(format!(
            "{text:?} is a URL: write only host and port, such as \"localhost:6789\""
        ));
    }
    let (host, port) = split_port(text)?;
    check_host(host, text)?;
    match port.parse::<u16>() {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(format!(
            "{port:?} in {text:?} is no port: write a number from 0 (any free port) to 65535"
        )),
    }
}

fn split_port(text: &str) -> Result<(&str, &str), String> {
    if let Some(address) = text.strip_suffix(']').and_then(|t| t.strip_prefix('[')) {
        return Err(format!("the port is missing: write \"[{address}]:6789\""));
    }
    if text.parse::<IpAddr>().is_ok_and(|address| address.is_ipv6()) {
        return Err(format!("write \"[{text}]:6789\": an IPv6 address in brackets, and a port"));
    }
    match text.rsplit_once(':') {
        Some(parts) => Ok(parts),
        None if text.parse::<u16>().is_ok() => {
            Err(format!("the host is missing: write \"localhost:{text}\""))
        }
        None => Err(format!("the port is missing: write \"{text}:6789\"")),
    }
}

fn check_host(host: &str, text: &str) -> Result<(), String> {
    if host.is_empty() || host == "*" {
        return Err(format!(
            "the host is missing in {text:?}: write \"localhost\" for this machine only, \
             \"0.0.0.0\" for all its IPv4 addresses, \"[::]\" for all its IPv6 addresses"
        ));
    }
    if host.contains([':', '[', ']']) {
        return Err(format!("{text:?} is no address: write IPv6 as \"[::1]:6789\""));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if let Some(wrong) = host.chars().find(|c| !allowed(*c)) {
        return Err(format!("{text:?}: a host name has no {wrong:?}"));
    }
    // A name that ends in a number is taken for an IPv4 address everywhere, and this is none.
    let last_label = host.rsplit('.').next().unwrap_or(host);
    if last_label.bytes().all(|b| b.is_ascii_digit()) && host.parse::<IpAddr>().is_err() {
        return Err(format!("{host:?} is neither a host name nor an IP address"));
    }
    Ok(())
}

/// Whether only this machine can reach a listener on this address.
pub(super) fn is_loopback(bind: &str) -> bool {
    if let Ok(address) = bind.parse::<SocketAddr>() {
        return address.ip().to_canonical().is_loopback();
    }
    let host = bind.rsplit_once(':').map_or(bind, |(host, _)| host);
    let host = host.to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost")
}

/// A filter as `env_logger` reads it. Narrower in one point: a bare module name is refused,
/// because there a mistyped level would be taken for a module, and nothing would be logged.
pub(super) fn log_filter(text: &str) -> Result<String, String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let known = LEVELS.join(", ");
    if text.trim().is_empty() {
        return Err(format!("empty: write one of {known}"));
    }
    let directives = text.split('/').next().unwrap_or(text);
    for directive in directives.split(',').map(str::trim) {
        let is_level = LEVELS.iter().any(|l| l.eq_ignore_ascii_case(directive));
        if !directive.contains('=') && !is_level {
            let meant = suggestion(directive, LEVELS);
            return Err(format!(
                "{directive:?} is no level{meant}; the levels are {known}; \
                 for one module write \"info,MODULE=debug\""
            ));
        }
    }
    match env_filter::Builder::new().try_parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("{text:?} is no log filter: {error}")),
    }
}

impl FromStr for OriginRule {
    type Err = String;

    /// One of the words `same-host`, `loopback`, `null`, or an origin such as
    /// `https://example.com:8443`, brought to the form that browsers send.
    fn from_str(text: &str) -> Result<OriginRule, String> {
        match text {
            "same-host" => Ok(OriginRule::SameHost),
            "loopback" => Ok(OriginRule::Loopback),
            "null" => Ok(OriginRule::Null),
            _ => exact_origin(text).map(OriginRule::Exact),
        }
    }
}

fn exact_origin(text: &str) -> Result<String, String> {
    if text.contains('*') {
        return Err(format!("{text:?}: there is no wildcard; list each origin that may connect"));
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        let meant = suggestion(text, ["same-host", "loopback", "null"]);
        return Err(format!(
            "{text:?} is no origin{meant}; write \"same-host\", \"loopback\", \"null\" \
             or an origin such as \"https://example.com\""
        ));
    };
    check_origin_parts(scheme, rest)?;
    let url = Url::parse(text).map_err(|error| format!("{text:?} is no origin: {error}"))?;
    match (url.origin().is_tuple(), url.host_str()) {
        (true, _) => Ok(url.origin().ascii_serialization()),
        (false, Some(host)) => Ok(other_origin(&url, host)),
        (false, None) => Err(format!("{text:?} is no origin: the host is missing")),
    }
}

/// An origin of a scheme that is not of the web, such as a browser extension's.
fn other_origin(url: &Url, host: &str) -> String {
    let host = host.to_ascii_lowercase();
    match url.port() {
        Some(port) => format!("{}://{host}:{port}", url.scheme()),
        None => format!("{}://{host}", url.scheme()),
    }
}

fn check_origin_parts(scheme: &str, rest: &str) -> Result<(), String> {
    if scheme.eq_ignore_ascii_case("file") {
        return Err("browsers send \"null\" for a page opened from a file: write that".into());
    }
    let secure = match scheme.to_ascii_lowercase().as_str() {
        "ws" => Some("http"),
        "wss" => Some("https"),
        _ => None,
    };
    if let Some(scheme) = secure {
        return Err(format!(
            "an origin is that of the page, not of the socket: write \"{scheme}://{rest}\""
        ));
    }
    // The URL parser would drop white space and take the rest for path, query or user.
    if rest.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("an origin has no white space".into());
    }
    match rest.split_once(['/', '?', '#', '\\']) {
        Some((host, _)) => {
            Err(format!("an origin ends after host and port: write \"{scheme}://{host}\""))
        }
        None if rest.contains('@') => Err("an origin has no user name".into()),
        None => Ok(()),
    }
}

impl OriginRule {
    /// The text of this rule in `origins.allow`.
    pub fn as_str(&self) -> &str {
        match self {
            OriginRule::SameHost => "same-host",
            OriginRule::Loopback => "loopback",
            OriginRule::Null => "null",
            OriginRule::Exact(origin) => origin,
        }
    }
}

/// ` (did you mean "..."?)` for the nearest of `known`, if any is near; else nothing.
pub fn suggestion<'a>(text: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let lower = text.to_lowercase();
    let farthest = (text.chars().count() / 3).max(2);
    known
        .into_iter()
        .map(|word| (strsim::damerau_levenshtein(&lower, &word.to_lowercase()), word))
        .filter(|(distance, word)| *distance <= farthest && *distance < word.len())
        .min()
        .map_or_else(String::new, |(_, word)| format!(" (did you mean \"{word}\"?)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let cases = [
            ("20s", 20_000),
            ("50ms", 50),
            ("2m", 120_000),
            (" 1m 30s ", 90_000),
            ("1.5s", 1_500),
            ("0s", 0),
            ("1h", 3_600_000),
        ];
        for (text, milliseconds) in cases {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text:?}");
        }
        let wrong =
            ["", "20", "0", "-1s", "s", "20 parsecs", "1e3s", "18446744073709551615s1000ms"];
        for text in wrong {
            assert!(duration(text).is_err(), "{text:?} should be refused");
        }
    }

    #[test]
    fn sizes() {
        let cases = [
            ("64KiB", 65_536),
            ("1MiB", 1_048_576),
            ("2MB", 2_000_000),
            ("1.5 KiB", 1_536),
            ("500B", 500),
            (" 1kb ", 1_000),
        ];
        for (text, bytes) in cases {
            assert_eq!(size(text), Ok(bytes), "{text:?}");
        }
        for text in ["", "64", "-1KiB", "KiB", "64 apples", "1 000 B", "64Kb1"] {
            assert!(size(text).is_err(), "{text:?} should be refused");
        }
    }

    #[test]
    fn sizes_are_shown_exactly() {
        let cases = [
            (0, "0B"),
            (999, "999B"),
            (1_000, "1kB"),
            (1_024, "1KiB"),
            (65_536, "64KiB"),
            (1_048_576, "1MiB"),
            (2_000_000, "2MB"),
            (2_000_001, "2000001B"),
        ];
        for (bytes, text) in cases {
            assert_eq!(show_size(bytes), text);
        }
    }

    #[test]
    fn bind_addresses() {
        let right = [
            "localhost:6789",
            "127.0.0.1:0",
            "0.0.0.0:80",
            "[::1]:6789",
            "[::]:1",
            "my-host.example:65535",
            "host_1:1",
        ];
        for text in right {
            assert_eq!(bind_address(text), Ok(text.to_owned()));
        }
        let wrong = [
            ("localhost", "write \"localhost:6789\""),
            ("6789", "write \"localhost:6789\""),
            (":6789", "the host is missing"),
            ("*:6789", "the host is missing"),
            ("", "the port is missing"),
            ("localhost:", "is no port"),
            ("localhost:65536", "is no port"),
            ("localhost:-1", "is no port"),
            ("::1", "write \"[::1]:6789\""),
            ("[::1]", "write \"[::1]:6789\""),
            ("[::g]:1", "write IPv6 as"),
            ("ws://localhost:6789", "is a URL"),
            ("local host:1", "has no ' '"),
            ("256.0.0.1:1", "neither a host name nor an IP address"),
            ("1:1", "neither a host name nor an IP address"),
        ];
        for (text, want) in wrong {
            let message = bind_address(text).unwrap_err();
            assert!(message.contains(want), "{text:?} gave {message}, want {want:?} in it");
        }
    }

    #[test]
    fn loopback_addresses() {
        for bind in [
            "localhost:1",
            "LOCALHOST:1",
            "a.localhost:1",
            "127.9.9.9:1",
            "[::1]:1",
            "[::ffff:127.0.0.1]:1",
        ] {
            assert!(is_loopback(bind), "{bind}");
        }
        for bind in
            ["0.0.0.0:1", "[::]:1", "192.168.1.1:1", "localhost.example:1", "notlocalhost:1"]
        {
            assert!(!is_loopback(bind), "{bind}");
        }
    }

    #[test]
    fn origins_come_in_the_form_browsers_send() {
        let cases = [
            ("https://example.com", "https://example.com"),
            ("HTTPS://Example.COM:443", "https://example.com"),
            ("http://example.com:80", "http://example.com"),
            ("http://example.com:8080", "http://example.com:8080"),
            ("https://example.com:80", "https://example.com:80"),
            ("http://[0:0:0:0:0:0:0:1]:3000", "http://[::1]:3000"),
            ("https://bücher.example", "https://xn--bcher-kva.example"),
            ("chrome-extension://AbCdEf", "chrome-extension://abcdef"),
            ("capacitor://localhost", "capacitor://localhost"),
            ("tauri://localhost:99", "tauri://localhost:99"),
        ];
        for (text, want) in cases {
            let rule = OriginRule::from_str(text);
            assert_eq!(rule, Ok(OriginRule::Exact(want.to_owned())), "{text:?}");
            assert_eq!(OriginRule::from_str(want), rule, "a normal form stays as it is");
        }
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        let cases = [
            ("*", "no wildcard"),
            ("https://*.example.com", "no wildcard"),
            ("example.com", "is no origin"),
            ("", "is no origin"),
            ("Same-Host", "did you mean \"same-host\"?"),
            ("https://example.com/", "write \"https://example.com\""),
            ("https://example.com/chat?x", "write \"https://example.com\""),
            ("https://ann@example.com", "no user name"),
            ("https://", "is no origin"),
            ("https://exa mple.com", "no white space"),
            ("https://example.com:99999", "is no origin"),
            ("wss://example.com", "write \"https://example.com\""),
            ("ws://a:1", "write \"http://a:1\""),
            ("file:///home", "write that"),
            ("app://", "is no origin"),
        ];
        for (text, want) in cases {
            let message = OriginRule::from_str(text).unwrap_err();
            assert!(message.contains(want), "{text:?} gave {message}, want {want:?} in it");
        }
    }

    #[test]
    fn log_filters() {
        for text in
            ["info", "OFF", "info,statesync=debug", "statesync::session=trace", "a=", "warn/x"]
        {
            assert_eq!(log_filter(text), Ok(text.to_owned()));
        }
        for text in ["", " ", "inof", "statesync", "info,,", "a=loud", "a=b=c"] {
            assert!(log_filter(text).is_err(), "{text:?} should be refused");
        }
    }

    #[test]
    fn suggestions_are_near_or_none() {
        assert_eq!(suggestion("bnid", ["workers", "bind"]), " (did you mean \"bind\"?)");
        assert_eq!(suggestion("BIND", ["bind"]), " (did you mean \"bind\"?)");
        assert_eq!(suggestion("colour", ["workers", "bind"]), "");
        assert_eq!(suggestion("", ["ab"]), "");
    }
}
