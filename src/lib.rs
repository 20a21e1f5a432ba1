//! A server that keeps shared state in step for every client that looks at it.
//!
//! # Reading order
//!
//! 1. [`protocol`]: what is said on the wire, and RFC 6455 framing.
//! 2. [`room`]: what clients share; [`room::Room`] and [`room::RoomKind`], one file a kind.
//! 3. [`state`]: USERS and STATE as plain data, the entries that change it, and which clients are
//!    known. Up to here everything is pure.
//! 4. `fanout`: a worker thread's sessions and the rounds of writes to them.
//! 5. [`journal`]: records on their way to the disk, and back at a start.
//! 6. `server`: the `StateServer` actor, where all actions meet, and how it recovers.
//! 7. `session`: the actor of one connection.
//! 8. `auth`: who may do what.
//! 9. [`http`]: routes, gates, upgrade; [`Server`] puts it all together.
//!
//! Each module uses only those above it, [`config`], `connections`, `logging` and `socket`.
//!
//! # Running one
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = statesync::Config::load(None, [])?;
//! let server = statesync::Server::bind(config)?;
//! println!("listening on {:?}", server.addresses());
//! actix_rt::System::new().block_on(server.run(std::future::pending()))?;
//! # Ok(())
//! # }
//! ```

//! # Rooms of one's own
//!
//! A kind of room implements [`room::RoomKind`] and [`room::Room`], and is added with
//! [`Builder::room_kind`]; [`Server::feed`] pushes into a room from the program itself.
//! `docs/rooms.md` walks through one, and `examples/` has several.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod auth;
pub mod config;
mod connections;
mod fanout;
pub mod http;
pub mod journal;
mod logging;
#[doc(hidden)]
pub mod microbench;
pub mod protocol;
pub mod room;
mod server;
mod session;
mod socket;
pub mod state;

pub use config::Config;
pub use http::{Builder, Feed, FeedError, Server};
