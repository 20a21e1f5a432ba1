//! Arguments: keys of a `[[room]]` table reach the room's constructor, which checks them. Two rooms
//! of one kind greet in two ways.
//!
//! ```sh
//! cargo run --example arguments
//! cargo run -- connect localhost:6789/polite       # and type a name
//! cargo run --example arguments -- my.toml         # rooms of your own; try a wrong key
//! ```

use serde_json::{Map, Value};
use statesync::{
    Config, Server,
    protocol::{ActionError, Event, Input, Message},
    room::{BadArgument, Effect, Moment, Room, RoomKind, SessionId, Speech},
};
use std::{env, error::Error, path::Path, process::ExitCode, sync::Arc};

const CONFIG: &str = r#"
    [journal]
    kind = "memory"

    [[room]]
    path = "/polite"
    kind = "greeter"
    greeting = "Good evening"

    [[room]]
    path = "/loud"
    kind = "greeter"
    greeting = "Hey"
    exclamation_marks = 3
"#;

/// The kind with its arguments.
#[derive(Debug, Clone)]
struct Greeter {
    /// Needed.
    greeting: String,
    /// From 0 to 10; 1 if it is not there.
    exclamation_marks: usize,
}

impl Greeter {
    /// Reads all keys of the table but `path`, `kind` and `max_rooms`. An error names the key it is
    /// about; the server adds the file and the line.
    fn from_arguments(arguments: &Map<String, Value>) -> Result<Arc<dyn RoomKind>, BadArgument> {
        let (mut greeting, mut exclamation_marks) = (None, 1);
        for (key, value) in arguments {
            let bad = |message| BadArgument::new(key, message);
            match key.as_str() {
                "greeting" => {
                    greeting = Some(value.as_str().ok_or_else(|| bad("want a string"))?.to_owned());
                }
                "exclamation_marks" => {
                    let count = value.as_u64().filter(|count| *count <= 10);
                    exclamation_marks = count.ok_or_else(|| bad("want 0 to 10"))? as usize;
                }
                _ => return Err(bad("a greeter knows greeting and exclamation_marks")),
            }
        }
        let greeting = greeting.ok_or_else(|| BadArgument::new("greeting", "missing: say what"))?;
        Ok(Arc::new(Self { greeting, exclamation_marks }))
    }
}

impl RoomKind for Greeter {
    fn name(&self) -> &'static str {
        "greeter"
    }

    fn speech(&self) -> Speech {
        Speech::Plain
    }

    fn is_durable(&self) -> bool {
        false
    }

    fn decode(&self, input: Input) -> Result<Message, ActionError> {
        input.into_plain()
    }

    fn open(&self) -> Box<dyn Room> {
        Box::new(Hall { kind: self.clone() })
    }
}

struct Hall {
    kind: Greeter,
}

impl Room for Hall {
    fn apply(
        &mut self,
        message: &Message,
        _from: Option<SessionId>,
        _when: Moment,
    ) -> Result<Vec<Effect>, ActionError> {
        let name = String::from_utf8_lossy(message.as_bytes());
        let marks = "!".repeat(self.kind.exclamation_marks);
        let answer = format!("{}, {name}{marks}", self.kind.greeting);
        Ok(vec![Effect::Reply(Event::Message(answer.into()))])
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let config = match env::args().nth(1) {
        Some(file) => Config::load(Some(Path::new(&file)), env::vars())?,
        None => Config::parse("arguments.rs", CONFIG, env::vars())?,
    };
    let server = Server::builder(config).room_kind("greeter", Greeter::from_arguments).bind()?;
    println!("statesync is ready: {}", server.entrance().unwrap_or_default());
    let stop = async { drop(actix_rt::signal::ctrl_c().await) };
    Ok(actix_rt::System::new().block_on(server.run(stop))?)
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
