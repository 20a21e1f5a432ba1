//! A person at a terminal: a line editor below, messages above it.

use super::{
    ending::Ending,
    session::{News, WAITING},
    show::{Look, milliseconds, safe},
};
use rustyline_async::{Readline, ReadlineError, ReadlineEvent, SharedWriter};
use std::{
    io::{self, IsTerminal, Write},
    pin::pin,
};
use tokio::sync::mpsc::{Receiver, Sender, error::TrySendError};

/// The lines that can be brought back. In memory only: what is typed to a server may be a secret.
const HISTORY_LINES: usize = 1000;

/// The terminal, in raw mode until this is dropped.
pub struct Terminal<'a> {
    readline: Readline,
    screen: Screen,
    /// `None` when the user has closed.
    lines: Option<Sender<String>>,
    url: &'a str,
    is_connected: bool,
}

impl<'a> Terminal<'a> {
    pub fn new(url: &'a str, lines: Sender<String>) -> Result<Self, ReadlineError> {
        let (mut readline, writer) = Readline::new("> ".into())?;
        readline.set_max_history(HISTORY_LINES);
        let screen = Screen { writer, look: Look::from_environment() };
        Ok(Self { readline, screen, lines: Some(lines), url, is_connected: false })
    }

    /// Shows and reads until the session ends, or the user does not want to wait for that.
    pub async fn run(
        mut self,
        session: impl Future<Output = Ending>,
        mut news: Receiver<News>,
        stop: impl Future<Output = ()>,
    ) -> Ending {
        let mut session = pin!(session);
        let mut stop = pin!(stop);
        let mut is_stopped = false;
        let ending = loop {
            let end = tokio::select! {
                // The editor first: it also prints, so that what waits to be printed is bounded.
                biased;
                event = self.readline.readline() => self.handle(event),
                () = &mut stop, if !is_stopped => {
                    is_stopped = true;
                    self.close()
                }
                Some(news) = news.recv() => {
                    self.show(news);
                    None
                }
                ending = &mut session => break ending,
            };
            if let Some(end) = end {
                break end;
            }
        };
        while let Ok(news) = news.try_recv() {
            self.show(news);
        }
        // What cannot be written to this terminal cannot be told to anybody.
        let _ = self.readline.flush();
        ending
    }
}

impl Terminal<'_> {
    /// The end, if it does not go on.
    fn handle(&mut self, event: Result<ReadlineEvent, ReadlineError>) -> Option<Ending> {
        match event {
            Ok(ReadlineEvent::Line(line)) => {
                self.readline.add_history_entry(line.clone());
                self.send(line);
                None
            }
            // An error: the terminal is gone.
            Ok(ReadlineEvent::Eof | ReadlineEvent::Interrupted) | Err(_) => self.close(),
        }
    }

    fn send(&mut self, line: String) {
        let Some(lines) = &self.lines else { return };
        match lines.try_send(line) {
            Ok(()) if self.is_connected => {}
            Ok(()) => {
                self.screen.notice("Not connected: this is sent when the connection is back.")
            }
            Err(TrySendError::Full(_)) => self.screen.notice(&format!(
                "NOT SENT: {WAITING} lines wait already. The up key brings the line back."
            )),
            // The session has ended, and says why.
            Err(TrySendError::Closed(_)) => {}
        }
    }

    /// Ends the lines, and so the connection. The end, if there is nothing to wait for.
    fn close(&mut self) -> Option<Ending> {
        let Some(lines) = self.lines.take() else { return Some(Ending::Interrupted) };
        let unsent_lines = lines.max_capacity() - lines.capacity();
        (!self.is_connected).then_some(Ending::GivenUp { unsent_lines })
    }

    fn show(&mut self, news: News) {
        match news {
            News::Text(text) => self.screen.print(&self.screen.look.text(&text)),
            News::Binary(bytes) => self.screen.print(&self.screen.look.binary(&bytes)),
            news => {
                match news {
                    News::Connected { .. } => self.is_connected = true,
                    News::Waiting { .. } => self.is_connected = false,
                    _ => {}
                }
                self.screen.notice(&describe(&news, self.url));
            }
        }
    }
}

/// What happened, for people.
pub fn describe(news: &News, url: &str) -> String {
    match news {
        News::Connected { subprotocol: None } => format!("Connected to {url}."),
        News::Connected { subprotocol: Some(name) } => {
            format!("Connected to {url} with {}.", safe(name))
        }
        News::Ping => "ping from the server".into(),
        News::Pong { after: Some(time) } => format!("pong after {}", milliseconds(*time)),
        News::Pong { after: None } => "pong".into(),
        News::Waiting { ending, wait } => {
            let why = ending.message().unwrap_or_default();
            format!("Not connected: {why}. Trying again in {:.1} s.", wait.as_secs_f64())
        }
        News::Text(text) => safe(text),
        News::Binary(bytes) => format!("{} bytes", bytes.len()),
    }
}

/// The part of the terminal above the line being typed.
struct Screen {
    writer: SharedWriter,
    look: Look,
}

impl Screen {
    fn notice(&mut self, text: &str) {
        if io::stderr().is_terminal() {
            self.print(&self.look.notice(text));
        } else {
            eprintln!("{text}");
        }
    }

    /// In one piece: the editor takes what ends with a line feed.
    fn print(&mut self, lines: &str) {
        // Full only after hundreds of pieces that the editor had no turn to print; it has its turn
        // before each.
        let _ = self.writer.write(lines.as_bytes());
    }
}
