//! The load itself: who sends when, who reads how fast, who comes and goes.

use super::{
    action::Action,
    churn::Churn,
    client::{Ending, Observer},
    crowd::{Crowd, Load},
    error::BenchError,
    options::Protocol,
    outcome::Lost,
    progress::Progress,
    schedule::Schedule,
    traffic::{Kind, Traffic, View, Visit},
    usage,
};
use std::{collections::BTreeMap, ops::Range};

/// How often it is looked how old what clients show is.
const LOOK_NS: u64 = 10_000_000;
/// At so many clients at a time: those of a large crowd in turn.
const LOOKED_AT: usize = 10_000;
/// How often slow clients read, and memory is looked at.
const TICK_NS: u64 = 100_000_000;
/// Actions whose times are closer than this are sent together, one write a sender: of hundreds of
/// thousands a second, one by one, this program would be what is slow.
const PASS_NS: u64 = 500_000;
/// So much of what a sender has to say waits for its socket. What is beyond is owed.
const MOST_UNSENT_BYTES: usize = 16 * 1024;
/// So many different endings are told apart.
const MOST_REASONS: usize = 100;

/// A load on a crowd.
pub struct Run {
    /// What was sent and seen.
    pub traffic: Traffic,
    /// Who was lost.
    pub lost: Lost,
    reasons: BTreeMap<String, usize>,
    sending: Option<Sending>,
    churn: Option<Churn>,
    /// Those that stay.
    clients: usize,
    look_ns: u64,
    looked_at: usize,
    tick_ns: u64,
    /// When actions were sent last by schedule.
    passed_ns: u64,
    slow: Range<usize>,
    slow_bytes_a_tick: usize,
    /// The server's process.
    pid: Option<u32>,
    /// The most memory that it was seen to have in the measured time.
    pub memory_peak_bytes: u64,
    progress: Progress,
    due_ns: u64,
}

/// Who sends, what and when.
pub struct Sending {
    /// What is sent.
    pub action: Action,
    /// The first so many clients.
    pub senders: usize,
    /// `None`: each when it sees its last one's event.
    pub schedule: Option<Schedule>,
    /// The action that was sent last.
    pub text: Vec<u8>,
}

/// Which clients read how.
pub struct Readers {
    /// Those that stay.
    pub clients: usize,
    /// Those of them that are slow.
    pub slow: Range<usize>,
    /// What each of them reads in a second.
    pub slow_bytes_per_s: u32,
}

impl Run {
    /// A load that has not begun.
    pub fn new(
        traffic: Traffic,
        readers: Readers,
        churn: Option<Churn>,
        pid: Option<u32>,
        progress: Progress,
    ) -> Self {
        let ticks_per_s = 1_000_000_000 / TICK_NS as usize;
        Self {
            traffic,
            lost: Lost::default(),
            reasons: BTreeMap::new(),
            sending: None,
            churn,
            clients: readers.clients,
            look_ns: 0,
            looked_at: 0,
            tick_ns: 0,
            passed_ns: 0,
            slow: readers.slow,
            slow_bytes_a_tick: (readers.slow_bytes_per_s as usize / ticks_per_s).max(1),
            pid,
            memory_peak_bytes: 0,
            progress,
            due_ns: 0,
        }
    }

    /// Senders begin.
    pub fn start(&mut self, crowd: &mut Crowd, sending: Sending) -> Result<(), BenchError> {
        let (is_closed, senders) = (sending.schedule.is_none(), sending.senders);
        self.sending = Some(sending);
        self.due_ns = 0;
        if is_closed {
            self.traffic.answered.extend((0..senders).rev());
            self.answer(crowd)?;
        }
        Ok(())
    }

    /// From now on nobody sends another action, and nobody comes and goes.
    pub fn stop(&mut self) {
        self.sending = None;
        self.churn = None;
    }

    /// The measured time has begun.
    pub fn start_measuring(&mut self) {
        self.due_ns = 0;
    }

    /// Whether any of those that stay is still there.
    pub fn someone_is_there(&self) -> bool {
        self.lost.steady + self.lost.slow + self.lost.stalled < self.clients
    }

    /// Makes room for what is printed next.
    pub fn clear_progress(&mut self) {
        self.progress.clear();
    }

    /// Who was lost, and how.
    pub fn take_lost(&mut self) -> Lost {
        let mut lost = std::mem::take(&mut self.lost);
        lost.reasons = std::mem::take(&mut self.reasons).into_iter().collect();
        lost.reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        lost
    }

    /// Whether a slow client is there that has not seen all yet.
    pub fn waits_for_slow(&self, crowd: &Crowd) -> bool {
        self.slow.clone().any(|number| {
            let client = &crowd.clients[number];
            client.is_open() && !self.traffic.is_at_end(&client.view)
        })
    }

    /// Those who saw the event of their last action send their next one.
    fn answer(&mut self, crowd: &mut Crowd) -> Result<(), BenchError> {
        while let Some(number) = self.traffic.answered.pop() {
            let Some(sending) = &mut self.sending else { continue };
            if sending.schedule.is_none() && crowd.clients[number].is_open() {
                let now_ns = crowd.tools.clock_ns();
                sending.send(crowd, number, &mut self.traffic, now_ns, now_ns);
                self.flush(crowd, number)?;
            }
        }
        Ok(())
    }

    fn flush(&mut self, crowd: &mut Crowd, number: usize) -> Result<(), BenchError> {
        let client = &mut crowd.clients[number];
        match client.flush() {
            Some(ending) => {
                client.end();
                self.ended(crowd, number, ending)
            }
            None => Ok(()),
        }
    }

    /// `sender` sends what it owes, as far as its socket takes it.
    fn pay(&mut self, crowd: &mut Crowd, sender: usize) -> Result<(), BenchError> {
        while let Some(sending) = &mut self.sending
            && crowd.clients[sender].is_open()
            && sending.pay(crowd, sender, &mut self.traffic)
        {
            self.flush(crowd, sender)?;
        }
        Ok(())
    }

    /// Notes how old what steady clients show is.
    fn look(&mut self, crowd: &Crowd, now_ns: u64) {
        while self.look_ns <= now_ns {
            self.look_ns += LOOK_NS;
        }
        if !self.traffic.record.is_on() {
            return;
        }
        let mut fresh = 0;
        for _ in 0..self.clients.min(LOOKED_AT) {
            let client = &crowd.clients[self.looked_at];
            self.looked_at = (self.looked_at + 1) % self.clients;
            if client.view.kind == Kind::Steady && client.is_open() {
                fresh += u64::from(self.traffic.note_age(&client.view, now_ns));
            }
        }
        self.traffic.record.age.add_n(0, fresh);
    }

    fn tick(&mut self, crowd: &mut Crowd, now_ns: u64) -> Result<(), BenchError> {
        self.tick_ns = now_ns + TICK_NS;
        for number in self.slow.clone() {
            if crowd.clients[number].is_open() {
                crowd.read(number, self.slow_bytes_a_tick, false, self)?;
            }
        }
        if self.traffic.record.is_on()
            && let Some(pid) = self.pid
        {
            // If it has ended, its clients are lost, which says it all.
            let bytes = usage::about_resident_bytes(pid).unwrap_or(0);
            self.memory_peak_bytes = self.memory_peak_bytes.max(bytes);
        }
        Ok(())
    }

    fn count_reason(&mut self, ending: Ending) {
        if self.reasons.len() < MOST_REASONS || self.reasons.contains_key(&ending) {
            *self.reasons.entry(ending).or_default() += 1;
        }
    }

    fn visited(&mut self, crowd: &mut Crowd, number: usize) {
        let now_ns = crowd.tools.read_ns;
        // Rooms of plain text show nothing to newcomers.
        let shows_nothing = crowd.dial.protocol == Protocol::Text;
        let client = &mut crowd.clients[number];
        let is_here = client.is_open() && (shows_nothing || client.view.place.is_some());
        if is_here
            && client.view.visit == Visit::Coming
            && let Some(churn) = &mut self.churn
        {
            client.view.visit = Visit::Here;
            churn.arrived(number, now_ns);
        }
    }
}

impl Sending {
    fn send(
        &mut self,
        crowd: &mut Crowd,
        number: usize,
        traffic: &mut Traffic,
        time_ns: u64,
        now_ns: u64,
    ) {
        let client = &mut crowd.clients[number];
        let which = traffic.send(number, &mut client.view, time_ns, now_ns);
        client.sent += 1;
        self.action.render(which, client.sent, &mut self.text);
        client.say(&self.text);
    }

    /// Hands what `sender` owes to its client, as far as that has room. Returns whether it was
    /// anything.
    fn pay(&mut self, crowd: &mut Crowd, sender: usize, traffic: &mut Traffic) -> bool {
        let now_ns = crowd.tools.clock_ns();
        let mut has_sent = false;
        while traffic.has_room()
            && crowd.clients[sender].unsent_bytes() < MOST_UNSENT_BYTES
            && let Some(schedule) = &self.schedule
            && let Some(time_ns) = schedule.owed_ns(sender as u64, crowd.clients[sender].scheduled)
        {
            crowd.clients[sender].scheduled += 1;
            self.send(crowd, sender, traffic, time_ns, now_ns);
            has_sent = true;
        }
        has_sent
    }
}

impl Observer for Run {
    #[inline]
    fn show(
        &mut self,
        client: usize,
        view: &mut View,
        place: i64,
        now_ns: u64,
    ) -> Result<(), BenchError> {
        self.traffic.show(client, view, place, now_ns)
    }
}

impl Load for Run {
    #[inline]
    fn due_ns(&self) -> u64 {
        self.due_ns
    }

    fn do_due(&mut self, crowd: &mut Crowd, now_ns: u64) -> Result<(), BenchError> {
        if self.traffic.record.second_end_ns() <= now_ns {
            self.traffic.record.end_second(now_ns);
        }
        if self.look_ns <= now_ns {
            self.look(crowd, now_ns);
        }
        if let Some(Sending { schedule: Some(schedule), .. }) = &mut self.sending {
            self.passed_ns = now_ns;
            for sender in schedule.pass(now_ns) {
                self.pay(crowd, sender as usize)?;
            }
        }
        if self.tick_ns <= now_ns {
            self.tick(crowd, now_ns)?;
        }
        if let Some(churn) = &mut self.churn {
            churn.do_due(crowd, now_ns)?;
        }
        self.progress.tell(now_ns, &self.traffic.record);
        let schedule = self.sending.as_ref().and_then(|sending| sending.schedule.as_ref());
        self.due_ns = [
            self.traffic.record.second_end_ns(),
            self.look_ns,
            schedule.map_or(u64::MAX, |schedule| schedule.next_ns().max(self.passed_ns + PASS_NS)),
            self.tick_ns,
            self.churn.as_ref().map_or(u64::MAX, Churn::due_ns),
        ]
        .into_iter()
        .min()
        .unwrap_or(u64::MAX);
        Ok(())
    }

    fn attended(&mut self, crowd: &mut Crowd, number: usize) -> Result<(), BenchError> {
        if number >= self.clients {
            self.visited(crowd, number);
        } else if let Some(sending) = &self.sending
            && sending.schedule.is_some()
            && number < sending.senders
            && crowd.clients[number].unsent_bytes() == 0
        {
            self.pay(crowd, number)?;
        }
        if self.traffic.answered.is_empty() { Ok(()) } else { self.answer(crowd) }
    }

    fn ended(
        &mut self,
        crowd: &mut Crowd,
        number: usize,
        ending: Ending,
    ) -> Result<(), BenchError> {
        let view = &crowd.clients[number].view;
        let what = match view.kind {
            Kind::Steady | Kind::Speaker => {
                self.lost.steady += 1;
                if view.kind == Kind::Steady {
                    self.traffic.lose(view, crowd.tools.read_ns);
                }
                ""
            }
            Kind::Slow => {
                self.lost.slow += 1;
                "slow: "
            }
            Kind::Stalled => {
                self.lost.stalled += 1;
                "stalled: "
            }
            Kind::Visitor => {
                match view.visit {
                    // Nothing waits for it.
                    Visit::Coming => crowd.forget(number),
                    Visit::Here => {}
                    Visit::Leaving => return Ok(()),
                }
                "one that came and went: "
            }
        };
        self.count_reason(format!("{what}{ending}"));
        Ok(())
    }
}
