//! A game for two: tic-tac-toe with seats, a clock, and scores that outlive `kill -9`.
//!
//! ```sh
//! cargo run --example tic_tac_toe
//! ```
//!
//! Open `examples/tic_tac_toe.html` in two browser tabs. Or, in two terminals, start
//! `cargo run -- connect localhost:6789` and type `{"action":"sit","seat":"x"}` (in the other `"o"`),
//! then in turns `{"action":"mark","cell":4}`. After a game, x begins the next.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use statesync::{
    Config, Server,
    protocol::{ActionError, ErrorCode, Input, Message, RoomEvent},
    room::{Admitted, BadArgument, Effect, Moment, Room, RoomKind, SessionId, Speech, UnixMicros},
};
use std::{error::Error, sync::Arc};

const CONFIG: &str = r#"
    [journal]
    path = "statesync-data/tic-tac-toe"

    [[room]]
    path = "/"
    kind = "tic-tac-toe"
"#;

/// Who does not mark a cell for so long loses: half a minute.
const TURN_MICROS: i64 = 30_000_000;

/// The cells that win together.
const LINES: [[usize; 3]; 8] =
    [[0, 1, 2], [3, 4, 5], [6, 7, 8], [0, 3, 6], [1, 4, 7], [2, 5, 8], [0, 4, 8], [2, 4, 6]];

/// A side of the game.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seat {
    /// Begins.
    #[default]
    X,
    /// The other.
    O,
}

/// What clients send.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
enum Request {
    Sit { seat: Seat },
    Mark { cell: usize },
}

/// What the journal keeps: the mark, and in place of the session, which will be gone, its seat.
#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    seat: Seat,
    cell: usize,
}

/// The kind.
#[derive(Debug)]
pub struct TicTacToe;

impl RoomKind for TicTacToe {
    fn name(&self) -> &'static str {
        "tic-tac-toe"
    }

    fn speech(&self) -> Speech {
        Speech::Events
    }

    fn is_durable(&self) -> bool {
        true
    }

    fn decode(&self, input: Input) -> Result<Message, ActionError> {
        let (action, _) = input.into_action()?;
        let bad = |message| ActionError::new(ErrorCode::BadField, message);
        let request = serde_json::from_value(action.into()).map_err(|e| bad(e.to_string()))?;
        match request {
            Request::Mark { cell } if cell > 8 => Err(bad("\"cell\" is from 0 to 8".into())),
            request => Ok(json!(request).to_string().into()),
        }
    }

    fn open(&self) -> Box<dyn Room> {
        Box::new(Table::default())
    }

    fn restore(&self, saved: &[u8]) -> Option<Box<dyn Room>> {
        let game = serde_json::from_slice(saved).ok()?;
        Some(Box::new(Table { game, seats: [None; 2] }))
    }
}

/// The room: what is kept, and who is there.
#[derive(Default)]
struct Table {
    game: Game,
    seats: [Option<SessionId>; 2],
}

/// What is kept, and what clients see as the state.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Game {
    cells: [Option<Seat>; 9],
    turn: Seat,
    /// When `turn` has lost, in microseconds since 1970; `None` before a first mark and after a game.
    turn_ends_at: Option<UnixMicros>,
    is_over: bool,
    /// Games won by x, by o.
    wins: [u32; 2],
}

impl Game {
    fn mark(&mut self, Mark { seat, cell }: Mark, at: UnixMicros) -> Result<(), &'static str> {
        if self.is_over && seat == Seat::X {
            *self = Self { wins: self.wins, ..Self::default() };
        }
        match self.cells.get_mut(cell) {
            _ if self.is_over || seat != self.turn => return Err("not_your_turn"),
            Some(free @ None) => *free = Some(seat),
            _ => return Err("cell_taken"),
        }
        let is_mine = |cell: &usize| self.cells[*cell] == Some(seat);
        if LINES.iter().any(|line| line.iter().all(is_mine)) {
            self.end(Some(seat));
        } else if self.cells.iter().all(Option::is_some) {
            self.end(None);
        } else {
            self.turn = if seat == Seat::X { Seat::O } else { Seat::X };
            self.turn_ends_at = Some(UnixMicros(at.0 + TURN_MICROS));
        }
        Ok(())
    }

    fn end(&mut self, winner: Option<Seat>) {
        (self.is_over, self.turn_ends_at) = (true, None);
        if let Some(winner) = winner {
            self.wins[winner as usize] += 1;
        }
    }
}

impl Table {
    /// Tells who sits. It is no part of the state, since it is not kept.
    fn seats(&self) -> RoomEvent {
        let [x, o] = self.seats.map(|seat| seat.is_some().into());
        RoomEvent::new("seats", [("x", x), ("o", o)])
    }

    fn stand_up(&mut self, session: SessionId) -> bool {
        let mine = self.seats.iter_mut().find(|seat| **seat == Some(session));
        mine.and_then(Option::take).is_some()
    }
}

impl Room for Table {
    fn state(&self) -> Option<Value> {
        Some(json!(self.game))
    }

    fn save(&self) -> Vec<u8> {
        json!(self.game).to_string().into_bytes()
    }

    fn joined(&mut self, _session: SessionId, _at: UnixMicros) -> Vec<Effect> {
        vec![Effect::Reply(self.seats().into())]
    }

    fn left(&mut self, session: SessionId, _at: UnixMicros) -> Vec<Effect> {
        match self.stand_up(session) {
            true => vec![Effect::Broadcast(self.seats().into())],
            false => Vec::new(),
        }
    }

    fn admit(
        &mut self,
        action: Message,
        from: SessionId,
        _at: UnixMicros,
    ) -> Result<Admitted, ActionError> {
        match read(&action)? {
            Request::Sit { seat }
                if self.seats[seat as usize].is_some_and(|other| other != from) =>
            {
                Err(refusal("seat_taken"))
            }
            Request::Sit { seat } => {
                self.stand_up(from);
                self.seats[seat as usize] = Some(from);
                Ok(Admitted::Done(vec![Effect::Broadcast(self.seats().into())]))
            }
            Request::Mark { cell } => {
                let seat =
                    [Seat::X, Seat::O].into_iter().find(|s| self.seats[*s as usize] == Some(from));
                let seat = seat.ok_or_else(|| refusal("no_seat"))?;
                Ok(Admitted::Ordered(json!(Mark { seat, cell }).to_string().into()))
            }
        }
    }

    fn apply(
        &mut self,
        action: &Message,
        _from: Option<SessionId>,
        when: Moment,
    ) -> Result<Vec<Effect>, ActionError> {
        self.game.mark(read(action)?, when.at).map_err(refusal)?;
        Ok(vec![Effect::State(json!(self.game))])
    }

    fn wake_at(&self) -> Option<UnixMicros> {
        self.game.turn_ends_at
    }

    fn woken(&mut self, when: Moment) -> Vec<Effect> {
        // A mark may have got its place just before.
        if self.game.turn_ends_at.is_none_or(|end| when.at < end) {
            return Vec::new();
        }
        let winner = if self.game.turn == Seat::X { Seat::O } else { Seat::X };
        self.game.end(Some(winner));
        vec![Effect::State(json!(self.game))]
    }
}

fn read<'a, T: Deserialize<'a>>(action: &'a Message) -> Result<T, ActionError> {
    serde_json::from_slice(action.as_bytes())
        .map_err(|error| ActionError::new(ErrorCode::BadJson, error.to_string()))
}

fn refusal(code: &'static str) -> ActionError {
    ActionError::new(ErrorCode::Own(code), code.replace('_', " "))
}

fn tic_tac_toe(arguments: &Map<String, Value>) -> Result<Arc<dyn RoomKind>, BadArgument> {
    match arguments.keys().next() {
        None => Ok(Arc::new(TicTacToe)),
        Some(key) => Err(BadArgument::new(key, "tic-tac-toe has no arguments")),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let config = Config::parse("tic_tac_toe.rs", CONFIG, std::env::vars())?;
    let server = Server::builder(config).room_kind("tic-tac-toe", tic_tac_toe).bind()?;
    println!("statesync is ready: {}", server.entrance().unwrap_or_default());
    let stop = async { drop(actix_rt::signal::ctrl_c().await) };
    Ok(actix_rt::System::new().block_on(server.run(stop))?)
}
