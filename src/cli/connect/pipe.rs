//! A script: lines from standard input, messages to standard output, all else to standard error.

use super::{
    ending::Ending,
    session::{MAX_MESSAGE, News, WAITING},
    show::hex,
    terminal::describe,
};
use std::{
    io::{self, BufRead, BufWriter, Read, Stdout, Write},
    pin::{Pin, pin},
};
use tokio::sync::mpsc::{self, Receiver, Sender};

/// How it ended, and what was wrong with the input.
pub struct Ended {
    pub ending: Ending,
    pub input: Result<(), String>,
}

/// Sends and prints until the session ends.
pub async fn run(
    lines: Sender<String>,
    session: impl Future<Output = Ending>,
    mut news: Receiver<News>,
    stop: impl Future<Output = ()>,
    url: &str,
) -> Ended {
    let mut session = pin!(session);
    let mut stop = pin!(stop);
    // Whoever drops it closes the connection.
    let mut input = Input::Open(Box::pin(forward(read_lines(), lines)));
    let mut printer = Printer { out: BufWriter::new(io::stdout()), url, is_connected: false };
    let mut is_stopped = false;
    let ending = loop {
        tokio::select! {
            biased;
            Some(told) = news.recv() => {
                let is_read = printer.print(told).and_then(|()| match news.is_empty() {
                    true => printer.out.flush(),
                    false => Ok(()),
                });
                if is_read.is_err() {
                    // As with `| head -1`: nobody reads on.
                    input.close();
                }
            }
            ending = &mut session => break ending,
            () = input.forwarded() => {}
            () = &mut stop, if !is_stopped => {
                is_stopped = true;
                if !printer.is_connected {
                    break Ending::Interrupted;
                }
                input.close();
            }
        }
    };
    while let Ok(told) = news.try_recv() {
        let _ = printer.print(told);
    }
    let _ = printer.out.flush();
    let input = match input {
        Input::Ended(result) => result,
        Input::Open(_) => Ok(()),
    };
    Ended { ending, input }
}

enum Input<F> {
    Open(Pin<Box<F>>),
    /// With what was wrong.
    Ended(Result<(), String>),
}

impl<F: Future<Output = Result<(), String>>> Input<F> {
    /// Done when the input has just ended; never if it had ended before.
    async fn forwarded(&mut self) {
        match self {
            Self::Open(forwarding) => *self = Self::Ended(forwarding.await),
            Self::Ended(_) => std::future::pending().await,
        }
    }

    fn close(&mut self) {
        if matches!(self, Self::Open(_)) {
            *self = Self::Ended(Ok(()));
        }
    }
}

async fn forward(
    mut read: Receiver<Result<String, String>>,
    lines: Sender<String>,
) -> Result<(), String> {
    while let Some(line) = read.recv().await {
        if lines.send(line?).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Reads standard input in a thread of its own, which may wait there when the process ends.
fn read_lines() -> Receiver<Result<String, String>> {
    let (sender, receiver) = mpsc::channel(WAITING);
    std::thread::spawn(move || {
        let mut stdin = io::stdin().lock();
        for number in 1u64.. {
            let Some(line) = read_line(&mut stdin) else { break };
            let line = line.map_err(|error| format!("standard input, line {number}: {error}"));
            let is_last = line.is_err();
            if sender.blocking_send(line).is_err() || is_last {
                break;
            }
        }
    });
    receiver
}

/// The next line, without its end; `None` after the last.
fn read_line(input: &mut impl BufRead) -> Option<Result<String, String>> {
    let mut line = Vec::new();
    // One more than a message may have, and its end.
    match input.take(MAX_MESSAGE as u64 + 2).read_until(b'\n', &mut line) {
        Ok(0) => return None,
        Ok(_) => {}
        Err(error) => return Some(Err(error.to_string())),
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    if line.len() > MAX_MESSAGE {
        return Some(Err(format!("longer than a message may be ({MAX_MESSAGE} bytes)")));
    }
    let text = String::from_utf8(line);
    Some(text.map_err(|_| "not UTF-8, as a text message must be".into()))
}

struct Printer<'a> {
    out: BufWriter<Stdout>,
    url: &'a str,
    is_connected: bool,
}

impl Printer<'_> {
    fn print(&mut self, news: News) -> io::Result<()> {
        match news {
            News::Text(text) => writeln!(self.out, "{text}"),
            News::Binary(bytes) => writeln!(self.out, "{}", hex(&bytes)),
            // A script that works is quiet.
            News::Connected { .. } => {
                self.is_connected = true;
                Ok(())
            }
            news => {
                eprintln!("{}", describe(&news, self.url));
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(mut input: &[u8]) -> Vec<Result<String, String>> {
        std::iter::from_fn(|| read_line(&mut input)).collect()
    }

    #[test]
    fn each_line_is_one_message_with_or_without_a_last_line_feed() {
        let ab = [Ok("a".to_owned()), Ok(String::new()), Ok("b".to_owned())];
        assert_eq!(lines(b"a\n\nb\n"), ab);
        assert_eq!(lines(b"a\n\nb"), ab);
        assert_eq!(lines(b""), []);
    }

    #[test]
    fn a_line_that_is_no_text_is_told() {
        assert!(
            matches!(&lines(b"ok\n\xff\n")[..], [Ok(_), Err(error)] if error.contains("UTF-8"))
        );
    }
}
