//! Clients that come and go.

use super::{
    crowd::Crowd,
    error::BenchError,
    traffic::{Kind, View, Visit},
};
use std::collections::VecDeque;

/// So long each is there.
const STAY_NS: u64 = 1_000_000_000;
/// So long the server may take to answer a close frame before the connection is cut.
const GOODBYE_NS: u64 = 1_000_000_000;

/// Visitors: so many come in a second, each stays for a second.
pub struct Churn {
    interval_ns: f64,
    began_ns: u64,
    rooms: usize,
    /// How many were to come until now.
    came: u64,
    /// While so many are under way, nobody else comes.
    most: usize,
    /// Those who are there, by when they leave.
    here: VecDeque<(u64, usize)>,
    /// Those who have said goodbye, by when they are cut off.
    leaving: VecDeque<(u64, usize)>,
    /// How many have left.
    left: u64,
}

impl Churn {
    /// So many joins a second from now on, into `rooms` in turn.
    pub fn new(per_s: f64, rooms: usize, now_ns: u64) -> Self {
        Self {
            interval_ns: 1e9 / per_s,
            began_ns: now_ns,
            rooms,
            came: 0,
            most: 64 + (4.0 * per_s) as usize,
            here: VecDeque::new(),
            leaving: VecDeque::new(),
            left: 0,
        }
    }

    /// When the next one comes, leaves or is cut off.
    pub fn due_ns(&self) -> u64 {
        let first = |queue: &VecDeque<(u64, usize)>| queue.front().map_or(u64::MAX, |(ns, _)| *ns);
        self.next_ns().min(first(&self.here)).min(first(&self.leaving))
    }

    fn next_ns(&self) -> u64 {
        self.began_ns + (self.came as f64 * self.interval_ns) as u64
    }

    /// A visitor is there.
    pub fn arrived(&mut self, number: usize, now_ns: u64) {
        self.here.push_back((now_ns + STAY_NS, number));
    }

    /// Lets those come and go whose time it is.
    ///
    /// # Errors
    /// [`BenchError::Connect`] if the server takes nobody any more.
    pub fn do_due(&mut self, crowd: &mut Crowd, now_ns: u64) -> Result<(), BenchError> {
        while self.next_ns() <= now_ns {
            self.came += 1;
            let under_way = crowd.shaking_hands + self.here.len() + self.leaving.len();
            if under_way < self.most {
                let room = (self.came % self.rooms as u64) as usize;
                crowd.connect(View::new(Kind::Visitor, room))?;
            }
        }
        while let Some((time_ns, number)) = self.here.front().copied()
            && time_ns <= now_ns
        {
            self.here.pop_front();
            self.leave(crowd, number, now_ns);
        }
        while let Some((time_ns, number)) = self.leaving.front().copied()
            && time_ns <= now_ns
        {
            self.leaving.pop_front();
            crowd.forget(number);
        }
        Ok(())
    }

    /// Half of them say goodbye, the others are just gone.
    fn leave(&mut self, crowd: &mut Crowd, number: usize, now_ns: u64) {
        self.left += 1;
        let client = &mut crowd.clients[number];
        if client.is_gone() || self.left.is_multiple_of(2) {
            crowd.forget(number);
            return;
        }
        client.view.visit = Visit::Leaving;
        client.say_goodbye();
        // However that ends, it is gone soon.
        let _ = client.flush();
        self.leaving.push_back((now_ns + GOODBYE_NS, number));
    }
}
