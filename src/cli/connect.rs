//! `statesync connect`: a WebSocket client for people and for scripts.

mod dial;
mod ending;
mod options;
mod pipe;
mod session;
mod show;
mod terminal;
mod tls;

use super::{EXIT_CONFIG, Failure, stop_signal};
use dial::Dialer;
pub use options::{ConnectArguments, HELP};
use session::{Session, WAITING};
use std::{
    io::{self, IsTerminal},
    process::ExitCode,
};
use terminal::Terminal;
use tokio::sync::mpsc;

/// Connects, and talks until one side closes.
pub fn run(arguments: &ConnectArguments) -> Result<ExitCode, Failure> {
    arguments.request().map_err(Failure::config)?;
    let dialer = Dialer::new(arguments).map_err(Failure::config)?;
    let is_interactive = io::stdin().is_terminal() && io::stdout().is_terminal();
    let (lines_in, lines) = mpsc::channel(WAITING);
    let (news, news_out) = mpsc::channel(WAITING);
    // Lines that were on their way could be lost or count twice; a person sees that, a script not.
    let reconnects = is_interactive && !arguments.no_reconnect;
    // A person has seen the answers.
    let linger = arguments.linger.filter(|_| !is_interactive).unwrap_or_default();
    let session = Session { arguments, dialer: &dialer, reconnects, linger, lines, news }.run();
    let url = arguments.url.as_str();
    actix_rt::System::new().block_on(async {
        let stop = stop_signal().map_err(Failure::running)?;
        if is_interactive {
            let terminal = Terminal::new(url, lines_in).map_err(Failure::running)?;
            return terminal.run(session, news_out, stop).await.into_result();
        }
        let ended = pipe::run(lines_in, session, news_out, stop, url).await;
        let result = ended.ending.into_result();
        match ended.input {
            Err(message) if result.is_ok() => Err(Failure { message, code: EXIT_CONFIG }),
            _ => result,
        }
    })
}
