//! What the command line of `bench` may say.

use clap::{Args, ValueEnum};
use std::{path::PathBuf, str::FromStr};

pub const HELP: &str = "\
A client takes part as a browser does: it comes in, is shown the state, and then every state that an
action leads to. Each action is one that raises a counter by 1, unless --send says otherwise, so the
value tells which action a state answers. (--protocol v1 also goes by positions, and so measures
documents and chats; --protocol text goes by the last number in a text.) Nobody else may act in the
rooms meanwhile, and nobody on the whole server where positions count, since all its rooms share
them. All clients are in this program, on one thread: if it is busy nearly all the time, it says so,
and the numbers are its own rather than the server's.

What is told of times, in milliseconds:
  sender  from an action to its event at the client that sent it
  every   from an action to its event at each client
  last    from an action to its event at the last client that got it
  age     how old what clients show is, at any time: 0 if nobody was shown anything newer

After the measured time senders stop, and all clients must come to the same state: slow ones too,
but not stalled ones, which the server may let go.

Exit codes:
  0  it was measured
  1  the server broke a promise (states out of order, clients that do not agree, clients lost that
     read as fast as they could), or could not be reached, or refused something
  2  wrong arguments

Examples:
  statesync bench --clients 1000 --pid $(pgrep -x statesync)
  statesync bench --clients 1000 --senders 16 --rate 500 --report report.html
  statesync bench --url ws://127.0.0.1:6789/counters/{room} --rooms 50 --clients 1000 --senders 50
  statesync bench --protocol v1 --exactly-once --clients 200 --senders 8
  statesync bench --url ws://127.0.0.1:6789/document --protocol v1 \
      --first '{\"action\":\"set\",\"value\":{\"a\":-1}}' --send '{\"action\":\"merge\",\"patch\":{\"a\":{number}}}'
  statesync bench --clients 500 --rate 50 --churn 20 --stall 5 --slow 2000
  statesync bench --idle --clients 10000 --seconds 60 --json
  statesync bench --compare benches/performance.toml --only one --report report.html

The action must change the state, and a counter must rise by 1 with it: by that, events are matched
with actions. {room} needs a [[room]] of the server's configuration with a {name} in its path. In
rooms of plain text one client a room may send at most. docs/performance.md has the form of the file
of --compare, whose exit code does not depend on its goals.";

#[derive(Args)]
// An option given twice: the last counts. A comparison gives options of its own after the file's.
#[command(args_override_self = true)]
pub struct BenchArguments {
    #[command(flatten)]
    pub load: LoadArguments,
    #[command(flatten)]
    pub compare: CompareArguments,
    /// Print the result as JSON instead of tables.
    #[arg(long)]
    pub json: bool,
    /// Write a page with plots to this file.
    #[arg(long, value_name = "FILE.html")]
    pub report: Option<PathBuf>,
}

/// One load on one server that runs already.
#[derive(Args)]
pub struct LoadArguments {
    /// Where the clients connect to: ws:// only. With --rooms, {room} in it becomes 1, 2, ...
    #[arg(long, default_value = "ws://127.0.0.1:6789/")]
    pub url: String,
    /// Rooms that the clients are spread over.
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    pub rooms: usize,
    /// Clients that stay for the whole time.
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    pub clients: usize,
    /// How many of the clients send.
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    pub senders: usize,
    /// Actions a second, of all senders together, sent at their times whatever comes back; the
    /// latency of an action counts from its time, so a server that stalls cannot hide that
    /// (coordinated omission). max: each sender sends its next action when it sees its last one's
    /// event.
    #[arg(long, value_name = "R|max", default_value = "max")]
    pub rate: Rate,
    /// Nobody sends: what connections cost on which nothing is said.
    #[arg(long, conflicts_with_all = ["senders", "rate"])]
    pub idle: bool,
    /// How long it is measured.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub seconds: f64,
    /// How long it goes on before that.
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    pub warmup: f64,
    /// Source addresses on a loopback network: 127.0.0.1, 127.0.0.2, ... Each has ports for about
    /// 28,000 connections. By default, one for each 20,000 clients.
    #[arg(long, value_name = "COUNT")]
    pub source_ips: Option<u8>,
    /// Joins a second, and as many leaves, of clients beside those that stay.
    #[arg(long, value_name = "PER_S", default_value_t = 0.0)]
    pub churn: f64,
    /// How many of the clients stop reading once they are there, with a small receive buffer.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub stall: usize,
    /// Some clients read only so many bytes a second, with a small receive buffer.
    #[arg(long, value_name = "BYTES_PER_S")]
    pub slow: Option<u32>,
    /// How many do; a tenth of the clients by default.
    #[arg(long, value_name = "COUNT", requires = "slow")]
    pub slow_clients: Option<usize>,
    /// What the kernel may hold for each client that it has not read yet. By default as much as the
    /// kernel likes, which grows to megabytes: what a client shows may then be seconds old, and the
    /// server cannot know.
    #[arg(long, value_name = "BYTES")]
    pub receive_buffer: Option<usize>,
    /// What the clients speak.
    #[arg(long, value_enum, default_value_t = Protocol::Classic)]
    pub protocol: Protocol,
    /// v1: each client has an identity and numbers its actions, so that each counts exactly once.
    #[arg(long)]
    pub exactly_once: bool,
    /// Send this instead of the protocol's own action. {number} in it becomes the action's number.
    #[arg(long, value_name = "TEXT|@FILE")]
    pub send: Option<String>,
    /// Send this once, as the first client, before anything is measured.
    #[arg(long, value_name = "TEXT|@FILE")]
    pub first: Option<String>,
    /// Offer permessage-deflate, without context takeover.
    #[arg(long)]
    pub deflate: bool,
    /// The server's process on this machine: its processor time and memory are measured too.
    #[arg(long)]
    pub pid: Option<u32>,
}

/// Several servers under several loads, in turn.
#[derive(Args)]
pub struct CompareArguments {
    /// Run the servers and loads of this file in turn, several rounds, and print medians and ratios.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["url", "pid"])]
    pub compare: Option<PathBuf>,
    /// How many rounds; the file's number by default.
    #[arg(long, value_name = "COUNT", requires = "compare")]
    pub rounds: Option<usize>,
    /// Run these of the file's loads only, with commas between.
    #[arg(long, value_name = "LOADS", requires = "compare", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Small numbers, which tell nothing about speed, only that everything works.
    #[arg(long, requires = "compare")]
    pub quick: bool,
}

/// How often actions are sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rate {
    /// So many a second.
    PerSecond(f64),
    /// The next when the last one's event is there.
    Max,
}

/// What clients speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// Without a subprotocol: two actions, two events.
    Classic,
    /// statesync.v1.
    V1,
    /// Plain text, as in rooms of the kinds echo and relay.
    Text,
    /// Socket.IO's events on Engine.IO 4, for comparison.
    #[value(name = "socket.io")]
    SocketIo,
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Self::Max);
        }
        match text.parse() {
            Ok(rate) if f64::is_finite(rate) && rate > 0.0 => Ok(Self::PerSecond(rate)),
            _ => Err("a number of actions a second is expected, such as 50, or max".to_owned()),
        }
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.0..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err("a number of seconds is expected, 86400 at most".to_owned()),
    }
}
