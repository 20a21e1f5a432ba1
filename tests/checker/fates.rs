//! What became of each action of one identity, as far as its owner was told.

use super::{
    history::{Action, History, Record, Welcome, What},
    rules::{Shown, Violation},
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// So many numbers back the server knows whether one was refused.
const REMEMBERED: u64 = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Applied,
    Refused,
}

/// One action.
#[derive(Debug, Clone)]
pub struct Fate {
    pub id: u64,
    pub action: Action,
    /// The server applied it at this position or later.
    pub earliest: u64,
    /// The server applied it at this position or earlier.
    pub latest: u64,
    pub verdict: Option<Verdict>,
    first_sent: u64,
    sends: usize,
    /// It was answered as decided just now, and not before.
    answered_as_new: bool,
    /// It was decided; how, was not said.
    is_settled: bool,
}

impl Fate {
    fn new(id: u64, action: Action, at: u64) -> Self {
        Self {
            id,
            action,
            earliest: 0,
            latest: u64::MAX,
            verdict: None,
            first_sent: at,
            sends: 0,
            answered_as_new: false,
            is_settled: false,
        }
    }

    /// What it added to the number.
    pub fn amount(&self) -> i64 {
        let applied = self.verdict == Some(Verdict::Applied);
        if applied { self.action.amount().unwrap_or_default() } else { 0 }
    }

    fn judge(&mut self, verdict: Verdict) -> Result<(), String> {
        match self.verdict.replace(verdict) {
            Some(other) if other != verdict => {
                Err(format!("action {} was said to be {other:?}, now {verdict:?}", self.id))
            }
            _ => Ok(()),
        }
    }
}

/// Follows one identity through its history.
struct Follower<'a> {
    history: &'a History,
    fates: BTreeMap<u64, Fate>,
    /// Per connection: the `last_id` it began with, and what it has sent and no answer to.
    came_with: BTreeMap<usize, u64>,
    unanswered: BTreeMap<usize, VecDeque<u64>>,
    /// The connections that had their first state.
    had_state: BTreeSet<usize>,
    /// Per connection: the highest number that was known to be decided when it was opened.
    decided_before: BTreeMap<usize, Option<u64>>,
    highest_decided: Option<u64>,
}

/// The actions of one identity, in the order of their numbers, each with its verdict.
pub fn fates(history: &History, shown: &Shown) -> Result<Vec<Fate>, Violation> {
    let mut follower = Follower {
        history,
        fates: BTreeMap::new(),
        came_with: BTreeMap::new(),
        unanswered: BTreeMap::new(),
        had_state: BTreeSet::new(),
        decided_before: BTreeMap::new(),
        highest_decided: None,
    };
    for (index, record) in history.records.iter().enumerate() {
        let heeded = follower.heed(record);
        heeded.map_err(|what| Violation::new("exactly once", what, history.around(index)))?;
    }
    follower.finish(shown)
}

impl Follower<'_> {
    fn heed(&mut self, record: &Record) -> Result<(), String> {
        let connection = record.connection;
        match &record.what {
            What::Connecting => {
                self.decided_before.insert(connection, self.highest_decided);
                Ok(())
            }
            What::Welcome(welcome) => self.welcome(connection, welcome),
            What::Sent { id, action } => {
                let fate = self.fates.entry(*id);
                let fate = fate.or_insert_with(|| Fate::new(*id, *action, record.at));
                assert_eq!(fate.action, *action, "the checker itself has used number {id} twice");
                fate.sends += 1;
                self.unanswered.entry(connection).or_default().push_back(*id);
                Ok(())
            }
            What::State { seq, .. } => {
                self.state(connection, *seq);
                Ok(())
            }
            What::Acked { id, seq, duplicate } => self.acked(connection, *id, *seq, *duplicate),
            What::Refused { id: Some(id), code, retry, duplicate } => {
                self.refused(connection, *id, code, *retry, *duplicate)
            }
            What::Refused { id: None, code, .. } => {
                Err(format!("an action with a good number was refused without it: {code}"))
            }
            _ => Ok(()),
        }
    }

    fn welcome(&mut self, connection: usize, welcome: &Welcome) -> Result<(), String> {
        let before = self.decided_before.get(&connection).copied().flatten();
        if welcome.last_id < before {
            let last_id = welcome.last_id;
            return Err(format!("{before:?} was known to be decided, but last_id is {last_id:?}"));
        }
        let Some(last_id) = welcome.last_id else {
            let refused = &welcome.refused;
            return match refused.is_empty() {
                true => Ok(()),
                false => Err(format!("the server knows no number, but has refused {refused:?}")),
            };
        };
        let highest = self.fates.last_key_value().map(|(id, _)| *id);
        if Some(last_id) > highest {
            return Err(format!(
                "last_id is {last_id}, but the highest number sent is {highest:?}"
            ));
        }
        let refused: BTreeSet<u64> = welcome.refused.iter().copied().collect();
        let oldest = (last_id + 1).saturating_sub(REMEMBERED).max(1);
        let is_in_range = refused.iter().all(|id| (oldest..=last_id).contains(id));
        if !welcome.refused.is_sorted() || refused.len() < welcome.refused.len() || !is_in_range {
            return Err(format!(
                "refused must be rising and in {oldest}..={last_id}: {:?}",
                welcome.refused
            ));
        }
        for (id, fate) in self.fates.range_mut(oldest..=last_id) {
            let is_refused = refused.contains(id);
            fate.judge(if is_refused { Verdict::Refused } else { Verdict::Applied })?;
            fate.latest = fate.latest.min(welcome.seq);
        }
        self.came_with.insert(connection, last_id);
        self.highest_decided = self.highest_decided.max(Some(last_id));
        Ok(())
    }

    /// The first state has in it all that `welcome` said is applied.
    fn state(&mut self, connection: usize, seq: u64) {
        if self.had_state.insert(connection)
            && let Some(last_id) = self.came_with.get(&connection)
        {
            let (_, last) = self.fates.range_mut(..=last_id).next_back().expect("it was checked");
            last.latest = last.latest.min(seq);
        }
    }

    /// The action that an answer is about. Answers come in the order in which actions were sent.
    fn answered(&mut self, connection: usize, id: u64) -> Result<&mut Fate, String> {
        let next = self.unanswered.get_mut(&connection).and_then(VecDeque::pop_front);
        match self.fates.get_mut(&id) {
            Some(fate) if next == Some(id) => Ok(fate),
            _ => Err(format!("{id} was answered; the next answer here must be about {next:?}")),
        }
    }

    /// An answer that decides: what may be said as new, and what as a duplicate.
    fn decided(
        &mut self,
        connection: usize,
        id: u64,
        duplicate: bool,
    ) -> Result<&mut Fate, String> {
        self.highest_decided = self.highest_decided.max(Some(id));
        let came_with = self.came_with.get(&connection).copied().unwrap_or_default();
        let fate = self.answered(connection, id)?;
        match duplicate {
            true if fate.sends < 2 => {
                Err(format!("number {id} was sent once, and is called a duplicate"))
            }
            false if fate.answered_as_new => {
                Err(format!("number {id} was decided twice: two answers without duplicate"))
            }
            false if id <= came_with => {
                let said = format!("welcome said that {came_with} was decided");
                Err(format!("{said}; then number {id} was decided as new"))
            }
            _ => {
                fate.answered_as_new |= !duplicate;
                Ok(fate)
            }
        }
    }

    fn acked(
        &mut self,
        connection: usize,
        id: u64,
        seq: u64,
        duplicate: bool,
    ) -> Result<(), String> {
        let fate = self.decided(connection, id, duplicate)?;
        fate.judge(Verdict::Applied)?;
        if duplicate {
            fate.latest = fate.latest.min(seq);
        } else if seq > fate.latest {
            let (id, latest) = (fate.id, fate.latest);
            return Err(format!("action {id} was kept by {latest}, but its ack says {seq}"));
        } else {
            (fate.earliest, fate.latest) = (seq, seq);
        }
        Ok(())
    }

    fn refused(
        &mut self,
        connection: usize,
        id: u64,
        code: &str,
        retry: bool,
        duplicate: bool,
    ) -> Result<(), String> {
        match (code, retry, duplicate) {
            ("id_gap" | "not_durable", true, false) => self.answered(connection, id).map(drop),
            ("unknown_action" | "bad_field" | "out_of_range", false, false) => {
                self.decided(connection, id, false)?.judge(Verdict::Refused)
            }
            ("refused", false, true) => self.decided(connection, id, true)?.judge(Verdict::Refused),
            ("id_too_old", false, _) => {
                self.answered(connection, id)?.is_settled = true;
                let highest = self.fates.last_key_value().map_or(0, |(id, _)| *id);
                match id + REMEMBERED > highest {
                    true => {
                        Err(format!("number {id} is too old, but none above {highest} was sent"))
                    }
                    false => Ok(()),
                }
            }
            _ => Err(format!("{id} refused with {code}, retry {retry}, duplicate {duplicate}")),
        }
    }

    fn finish(mut self, shown: &Shown) -> Result<Vec<Fate>, Violation> {
        for fate in self.fates.values() {
            self.judge(fate).map_err(|what| {
                Violation::new("exactly once", what, self.history.about(fate.id))
            })?;
        }
        // Numbers are decided in order, so each is between its neighbours; and what was not sent
        // yet cannot stand before what was shown already.
        let mut earliest = 0;
        for fate in self.fates.values_mut() {
            earliest = fate.earliest.max(earliest).max(shown.until(fate.first_sent) + 1);
            fate.earliest = earliest;
        }
        let mut latest = u64::MAX;
        for fate in self.fates.values_mut().rev() {
            latest = fate.latest.min(latest);
            fate.latest = latest;
        }
        for fate in self.fates.values().filter(|fate| fate.verdict == Some(Verdict::Applied)) {
            if fate.earliest > fate.latest {
                let Fate { id, earliest, latest, .. } = fate;
                let what = format!(
                    "action {id} cannot have been applied before position {earliest}, but is said \
                     to have been by {latest}"
                );
                return Err(Violation::new("one order", what, self.history.about(*id)));
            }
        }
        Ok(self.fates.into_values().collect())
    }

    fn judge(&self, fate: &Fate) -> Result<(), String> {
        let Fate { id, action, .. } = fate;
        match (fate.verdict, action.amount()) {
            (Some(Verdict::Applied), None) => {
                Err(format!("action {id} is {action:?}, and was applied"))
            }
            (Some(Verdict::Refused), Some(_)) => {
                Err(format!("action {id} is {action:?}, and was refused for good"))
            }
            (None, _) => {
                let how = if fate.is_settled { "how, was never said" } else { "it never was" };
                Err(format!("action {id} was to be decided; {how}"))
            }
            _ => Ok(()),
        }
    }
}
