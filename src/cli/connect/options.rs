//! What the command line of `connect` may say, and the request that follows from it.

use clap::Args;
use std::{path::PathBuf, time::Duration};
use tokio_tungstenite::tungstenite::{
    client::IntoClientRequest,
    handshake::client::Request,
    http::{
        HeaderName, HeaderValue,
        header::{AUTHORIZATION, ORIGIN, SEC_WEBSOCKET_PROTOCOL},
    },
};
use url::Url;

/// What the opening handshake says by itself.
const RESERVED_HEADERS: [&str; 6] = [
    "connection",
    "upgrade",
    "sec-websocket-key",
    "sec-websocket-version",
    "sec-websocket-extensions",
    "sec-websocket-protocol",
];

pub const HELP: &str = "\
In a terminal, each line that you type is sent as one text message, and what arrives is shown:
`< ` and a text, or `< (binary) ` and its bytes in hex. Control characters that the server sends are
shown as \\u{1b}, and of a long message only the first 16 KiB. Up and down bring earlier lines
back; they are kept in memory only. Ctrl-D or Ctrl-C closes the connection; a second one does not
wait for the server. A lost connection comes back by itself, after longer and longer waits; lines
typed meanwhile (64 at most) are sent then. A line that was on its way when the connection was lost
is not sent again: it may have arrived.

In a pipe (standard input or output is no terminal), each line of standard input is sent, and each
message is one line of standard output: a text as it is, bytes in hex. All else goes to standard
error. After the last line it sends a close (1000) and prints what arrives until the server has
answered that. statesync answers first what came before the close; many other servers drop answers
that are not ready when the close comes: use --linger with them, or keep standard input open. A lost
connection does not come back there, since lines could get lost or count twice.

Messages may have up to 64 MiB.

Exit codes:
  0    the connection was closed normally
  1    no connection, or it was lost, or the server did not answer the close in time
  2    wrong arguments, or a line of standard input that is not UTF-8 or too long
  3    the server refused the connection; standard error has its HTTP status and message
  4    the server closed the connection with another code than 1000
  130  ended without waiting (second Ctrl-C); 143 after a second SIGTERM

Examples:
  statesync connect localhost:6789/echo
  echo '{\"action\":\"plus\"}' | statesync connect ws://localhost:6789/
  STATESYNC_TOKEN=$(cat token) statesync connect wss://example.org/ --ping 10s";

#[derive(Args)]
pub struct ConnectArguments {
    /// Where to connect. ws:// and wss://; http:// and https:// mean the same. Without any of
    /// them, as in localhost:6789/echo, it is ws://.
    #[arg(value_parser = parse_url)]
    pub url: Url,
    /// Say this in the request's head, too. May be given several times.
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = parse_header)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// Offer this subprotocol, such as statesync.v1. May be given several times, the best first.
    #[arg(long = "subprotocol", value_name = "NAME", value_parser = parse_subprotocol)]
    subprotocols: Vec<String>,
    /// Say that a page of this origin connects.
    #[arg(long, value_name = "ORIGIN")]
    origin: Option<HeaderValue>,
    /// Say `Authorization: Bearer TOKEN`. Others on this machine can read arguments: the
    /// environment variable is the better place. A --header of that name wins.
    #[arg(long, value_name = "TOKEN", env = "STATESYNC_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Trust the certificates in this PEM file, and not those that the system trusts. A server
    /// that shows one of them, self-signed or out of date, is trusted under its names.
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Accept any certificate: whoever is between you and the server can read and change all.
    #[arg(long, conflicts_with = "ca")]
    pub insecure: bool,
    /// Send a ping so often, such as 5s, and show all pings and pongs.
    #[arg(long, value_name = "INTERVAL", value_parser = parse_interval)]
    pub ping: Option<Duration>,
    /// How long connecting may take, and how long, after the end of input, the answers and the
    /// server's close.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_interval)]
    pub timeout: Duration,
    /// In a pipe, keep the connection open for so long after the last line before it is closed: for
    /// servers that do not answer what came before a close.
    #[arg(long, value_name = "TIME", value_parser = parse_interval)]
    pub linger: Option<Duration>,
    /// Do not come back when the connection is lost.
    #[arg(long)]
    pub no_reconnect: bool,
}

impl ConnectArguments {
    /// The opening handshake, with a new key. An error says which option is wrong.
    pub fn request(&self) -> Result<Request, String> {
        let url = self.url.as_str();
        let mut request = url.into_client_request().map_err(|error| format!("{url}: {error}"))?;
        let headers = request.headers_mut();
        for (name, value) in &self.headers {
            // The host that the URL names is in already, and stands once.
            match name.as_str() {
                "host" => drop(headers.insert(name, value.clone())),
                _ => drop(headers.append(name, value.clone())),
            }
        }
        if let Some(origin) = &self.origin {
            headers.insert(ORIGIN, origin.clone());
        }
        if let Some(token) = self.token.as_deref().filter(|token| !token.is_empty())
            && !headers.contains_key(AUTHORIZATION)
        {
            headers.insert(AUTHORIZATION, bearer(token)?);
        }
        if !self.subprotocols.is_empty() {
            let offer = HeaderValue::from_str(&self.subprotocols.join(", "));
            headers.insert(SEC_WEBSOCKET_PROTOCOL, offer.map_err(|error| error.to_string())?);
        }
        Ok(request)
    }
}

/// The error does not repeat the token, which is a secret.
fn bearer(token: &str) -> Result<HeaderValue, String> {
    let value = HeaderValue::from_str(&format!("Bearer {token}"));
    let mut value = value.map_err(|_| {
        "the token (--token or STATESYNC_TOKEN) has characters that may not stand in a header"
            .to_owned()
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// A WebSocket URL (RFC 6455, section 3) as people write it.
fn parse_url(text: &str) -> Result<Url, String> {
    let (scheme, rest) = text.split_once("://").unwrap_or(("ws", text));
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "ws" | "http" => "ws",
        "wss" | "https" => "wss",
        _ => return Err("it must begin with ws://, wss://, http:// or https://".into()),
    };
    let url = Url::parse(&format!("{scheme}://{rest}")).map_err(|error| error.to_string())?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a name or password in the URL is not sent: use --token or --header".into());
    }
    if url.fragment().is_some() {
        return Err("a WebSocket URL has no fragment: write # as %23".into());
    }
    Ok(url)
}

fn parse_header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("write it as \"Name: value\"")?;
    let name: HeaderName = name.trim().parse().map_err(|_| "this is no name of a header")?;
    if RESERVED_HEADERS.contains(&name.as_str()) {
        let instead = match name == SEC_WEBSOCKET_PROTOCOL {
            true => "use --subprotocol",
            false => "the WebSocket handshake says it by itself",
        };
        return Err(instead.into());
    }
    let value =
        value.trim().parse().map_err(|_| "the value has characters that may not be sent")?;
    Ok((name, value))
}

/// A token of RFC 9110, section 5.6.2.
fn parse_subprotocol(text: &str) -> Result<String, String> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    match !text.is_empty() && text.bytes().all(is_token) {
        true => Ok(text.to_owned()),
        false => Err("a subprotocol has letters, digits and !#$%&'*+-.^_`|~ only".into()),
    }
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    match duration.is_zero() {
        true => Err("it must be more than zero".into()),
        false => Ok(duration),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_as_people_write_it() {
        for (text, url) in [
            ("ws://localhost:6789/echo", "ws://localhost:6789/echo"),
            ("localhost:6789/echo", "ws://localhost:6789/echo"),
            ("localhost", "ws://localhost/"),
            ("[::1]:6789", "ws://[::1]:6789/"),
            ("HTTP://h/?a=1", "ws://h/?a=1"),
            ("https://h", "wss://h/"),
            ("wss://h:443/", "wss://h/"),
        ] {
            assert_eq!(parse_url(text).map(|url| url.to_string()).as_deref(), Ok(url), "{text}");
        }
    }

    #[test]
    fn a_wrong_url_says_what_is_wrong() {
        for (text, part) in [
            ("ftp://h/", "must begin with"),
            ("", "empty host"),
            ("ws://", "empty host"),
            ("ws://h:99999/", "port"),
            ("ws://me:secret@h/", "--token"),
            ("ws://h/#a", "%23"),
        ] {
            let error = parse_url(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_header_that_the_handshake_says_is_not_taken() {
        assert!(
            parse_header("X-Color: blue: light").is_ok_and(|(_, value)| value == "blue: light")
        );
        for (text, part) in [
            ("no colon", "Name: value"),
            ("two words: x", "no name"),
            ("upgrade: h2c", "by itself"),
            ("Sec-WebSocket-Protocol: a", "--subprotocol"),
            ("X: a\nb", "may not be sent"),
        ] {
            let error = parse_header(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_subprotocol_is_a_token() {
        assert!(parse_subprotocol("statesync.v1").is_ok());
        for text in ["", "a b", "a,b", "é"] {
            assert!(parse_subprotocol(text).is_err(), "{text:?}");
        }
    }
}
