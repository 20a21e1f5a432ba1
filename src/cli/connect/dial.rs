//! From the arguments to an open WebSocket: TCP, TLS, opening handshake.

use super::{ending::Ending, options::ConnectArguments, session::MAX_MESSAGE, tls};
use serde_json::Value;
use socket2::{SockRef, TcpKeepalive};
use std::{io, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        self,
        handshake::client::{Request, Response},
        http::header,
        protocol::WebSocketConfig,
    },
};
use url::{Host, Url};

/// A refusal's body is read up to here: it is to be one sentence.
const MAX_REFUSAL_BYTES: u64 = 16 * 1024;

/// A peer that is silent for so long is asked whether it is there, and lost after three times no
/// answer. Without it, a cut cable would never be noticed by somebody who only listens.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(20))
    .with_interval(Duration::from_secs(5))
    .with_retries(3);

/// A connected socket, plain or TLS.
pub trait Socket: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> Socket for S {}

/// An open WebSocket on a borrowed socket, so that a refusal can be read to its end.
pub type Open<'a> = WebSocketStream<&'a mut Box<dyn Socket>>;

/// What is needed to connect, again and again.
pub struct Dialer {
    url: Url,
    /// For wss only.
    tls: Option<TlsConnector>,
}

impl Dialer {
    /// An error says what is wrong with the options.
    pub fn new(arguments: &ConnectArguments) -> Result<Self, String> {
        let url = arguments.url.clone();
        let tls = match url.scheme() == "wss" {
            true if arguments.insecure => Some(tls::accepting_anything()?),
            true => Some(tls::trusting(arguments.ca.as_deref())?),
            false => None,
        };
        Ok(Self { url, tls })
    }

    /// Connects the socket.
    pub async fn socket(&self) -> Result<Box<dyn Socket>, Ending> {
        let (Some(host), Some(port)) = (self.url.host(), self.url.port_or_known_default()) else {
            return Err(Ending::Unreachable(format!("{} names no host", self.url)));
        };
        // An IPv6 address stands in brackets in the URL, and nowhere else.
        let name = match host {
            Host::Domain(name) => name.to_owned(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        let tcp = connect(&name, port)
            .await
            .map_err(|error| Ending::Unreachable(format!("{host}, port {port}: {error}")))?;
        let Some(tls) = &self.tls else { return Ok(Box::new(tcp)) };
        let server = ServerName::try_from(name)
            .map_err(|error| Ending::Unreachable(format!("{host}: {error}")))?;
        match tls.connect(server, tcp).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => {
                let advice = tls::advice(&error);
                Err(Ending::Unreachable(format!("TLS with {host}, port {port}: {error}{advice}")))
            }
        }
    }
}

async fn connect(name: &str, port: u16) -> io::Result<TcpStream> {
    let tcp = TcpStream::connect((name, port)).await?;
    tcp.set_nodelay(true)?;
    SockRef::from(&tcp).set_tcp_keepalive(&KEEPALIVE)?;
    Ok(tcp)
}

/// Does the opening handshake. An error leaves the socket to be read on by `failed`.
pub async fn open(
    socket: &mut Box<dyn Socket>,
    request: Request,
) -> Result<(Open<'_>, Response), tungstenite::Error> {
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    client_async_with_config(request, socket, Some(config)).await
}

/// Why there is no WebSocket: reads the rest of the server's answer, if that is what says it.
pub async fn failed(error: tungstenite::Error, socket: &mut Box<dyn Socket>) -> Ending {
    let tungstenite::Error::Http(response) = error else {
        return Ending::Unreachable(format!("no WebSocket handshake: {error}"));
    };
    let (head, begun) = response.into_parts();
    let mut body = begun.unwrap_or_default();
    let length = head.headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok()).unwrap_or(0);
    let missing = length.min(MAX_REFUSAL_BYTES).saturating_sub(body.len() as u64);
    // What cannot be read is missing from the message; the status says enough.
    let _ = socket.take(missing).read_to_end(&mut body).await;
    let mut message = refusal(&body);
    if let Some(location) = head.headers.get(header::LOCATION) {
        message = format!("connect to {} instead", String::from_utf8_lossy(location.as_bytes()));
    }
    Ending::Refused { status: head.status, message }
}

/// The message of a JSON body; of another body its first line.
fn refusal(body: &[u8]) -> String {
    if let Ok(Value::Object(mut fields)) = serde_json::from_slice(body)
        && let Some(Value::String(message)) = fields.remove("message")
    {
        return message;
    }
    let text = String::from_utf8_lossy(body);
    text.lines().next().unwrap_or_default().trim().chars().take(200).collect()
}
