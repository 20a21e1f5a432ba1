//! From the bytes of a client's frame to an action of its room, as a session does it.

use super::{Case, Work};
use anyhow::{Context, Result, ensure};
use statesync::{
    protocol::{
        Dialect, Input, Message, action,
        deflate::Inflater,
        frame::{Decoder, Incoming},
        json,
    },
    room::{self, RoomKind},
};
use std::{hint::black_box, sync::Arc};

pub const CASES: &[Case] = &[
    Case {
        name: "decode plus, classic",
        unit: "an action",
        units: ACTIONS as u64,
        prepare: || decoding(Dialect::Classic, |_| r#"{"action":"plus"}"#.to_owned()),
    },
    Case {
        name: "decode plus, v1 with id",
        unit: "an action",
        units: ACTIONS as u64,
        prepare: || decoding(Dialect::V1, |id| format!(r#"{{"action":"plus","id":{id}}}"#)),
    },
];

const ACTIONS: usize = 1_000;

/// A session's part of decoding. Each frame comes in a read of its own.
struct Decoding {
    decoder: Decoder,
    inflater: Inflater,
    kind: Arc<dyn RoomKind>,
    dialect: Dialect,
    frames: Vec<Vec<u8>>,
    decoded: usize,
}

fn decoding(dialect: Dialect, text: fn(usize) -> String) -> Result<Box<dyn Work>> {
    let kind = room::kind("counter", &Default::default()).ok().context("a known kind")?;
    // Ids as they are after a while: four digits.
    let ids = ACTIONS..ACTIONS + 2 * ACTIONS;
    Ok(Box::new(Decoding {
        decoder: Decoder::inflating(64 * 1024),
        inflater: Inflater::default(),
        kind,
        dialect,
        frames: ids.map(|id| masked(text(id).as_bytes())).collect(),
        decoded: 0,
    }))
}

/// A client's text frame (RFC 6455, section 5.2) of at most 125 bytes.
fn masked(text: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];
    let mut frame = vec![0x81, 0x80 | text.len() as u8];
    frame.extend(MASK);
    frame.extend(text.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

impl Decoding {
    fn decode(&mut self, at: usize) -> Option<(Message, Option<u64>)> {
        let (_, event) = self.decoder.next(&mut self.frames[at], &mut self.inflater).ok()?;
        let Some(Incoming::Text(text)) = event else { return None };
        let action = json::object(&Message::Text(text.into())).ok()?;
        let id = match self.dialect {
            Dialect::Classic => None,
            Dialect::V1 => action::id(&action).ok()?,
        };
        let message = self.kind.decode(Input::Action(action, self.dialect)).ok()?;
        self.decoder.drop_handed_out();
        Some((message, id))
    }
}

impl Work for Decoding {
    fn run(&mut self) {
        for _ in 0..ACTIONS {
            if black_box(self.decode(self.decoded)).is_some() {
                self.decoded += 1;
            }
        }
    }

    fn check(&mut self) -> Result<()> {
        ensure!(self.decoded == 2 * ACTIONS, "only {} actions were decoded", self.decoded);
        Ok(())
    }
}
