//! What must be true of all histories together, whatever happened.

use super::{
    fates::{Fate, fates},
    history::{History, Record, What},
    order::Order,
};
use std::{collections::BTreeMap, fmt};

/// A broken promise of docs/protocol.md, with the records that show it.
#[derive(Debug)]
pub struct Violation {
    pub rule: &'static str,
    what: String,
    evidence: Vec<String>,
}

impl Violation {
    pub fn new(rule: &'static str, what: impl Into<String>, evidence: Vec<String>) -> Self {
        Self { rule, what: what.into(), evidence }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the rule \"{}\" is broken: {}", self.rule, self.what)?;
        self.evidence.iter().try_for_each(|line| writeln!(f, "    {line}"))
    }
}

/// The highest position that anybody had been shown, at each moment.
pub struct Shown(Vec<(u64, u64)>);

impl Shown {
    pub fn new(histories: &[History]) -> Self {
        let records = histories.iter().flat_map(|history| &history.records);
        let mut shown: Vec<(u64, u64)> = records
            .filter_map(|record| match &record.what {
                What::State { seq, .. } | What::Acked { seq, .. } => Some((record.at, *seq)),
                _ => None,
            })
            .collect();
        shown.sort_unstable();
        let mut highest = 0;
        for (_, seq) in &mut shown {
            highest = highest.max(*seq);
            *seq = highest;
        }
        Self(shown)
    }

    /// The highest before this moment, or 0.
    pub fn until(&self, at: u64) -> u64 {
        let count = self.0.partition_point(|(shown, _)| *shown < at);
        count.checked_sub(1).map_or(0, |last| self.0[last].1)
    }
}

/// How much was checked.
#[derive(Debug)]
pub struct Checked {
    records: usize,
    actions: usize,
    positions: usize,
    total: i128,
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { records, actions, positions, total } = self;
        write!(f, "{actions} actions make {total}, in {positions} states and {records} records")
    }
}

/// Checks everything. `finals` are the numbers that were read when all was quiet, and by whom.
pub fn check(histories: &[History], finals: &[(String, i64)]) -> Result<Checked, Violation> {
    let shown = Shown::new(histories);
    one_epoch(histories)?;
    let order = Order::new(histories)?;
    for history in histories {
        nothing_odd(history)?;
        each_connection(history, &shown)?;
        one_place(history)?;
    }
    let owners = histories.iter().map(|history| Ok((history, fates(history, &shown)?)));
    let owners: Vec<(&History, Vec<Fate>)> = owners.collect::<Result<_, _>>()?;
    order.is_the_sum(&owners)?;
    order.holds_the_classic(histories, &shown)?;
    let total = owners.iter().flat_map(|(_, fates)| fates).map(|fate| i128::from(fate.amount()));
    let total = total.sum();
    for (who, value) in finals {
        if i128::from(*value) != total {
            let what = format!("{who} ended with {value}; all that was applied makes {total}");
            return Err(Violation::new("the final sum", what, order.end()));
        }
    }
    Ok(Checked {
        records: histories.iter().map(|history| history.records.len()).sum(),
        actions: owners.iter().map(|(_, fates)| fates.len()).sum(),
        positions: order.len(),
        total,
    })
}

fn one_epoch(histories: &[History]) -> Result<(), Violation> {
    let mut first: Option<(&str, String)> = None;
    for history in histories {
        for (index, record) in history.records.iter().enumerate() {
            let What::Welcome(welcome) = &record.what else { continue };
            let line = || history.line(index).to_string();
            match &first {
                None => first = Some((&welcome.epoch, line())),
                Some((epoch, _)) if *epoch == welcome.epoch => {}
                Some((_, other)) => {
                    let what = "the history began anew";
                    return Err(Violation::new("one epoch", what, vec![other.clone(), line()]));
                }
            }
        }
    }
    Ok(())
}

/// What no client here may ever be told.
fn nothing_odd(history: &History) -> Result<(), Violation> {
    for (index, record) in history.records.iter().enumerate() {
        let what = match &record.what {
            What::Odd(_) => "the protocol has no such message",
            What::Refused { code, .. } if code == "forgotten" => "nobody was away for long",
            What::Welcome(it) if it.forgotten_until > 0 => "nobody was away for long",
            What::GivenUp { .. } => "nobody's actions are unknown for good",
            What::TurnedAway(status) if (400..500).contains(status) => "the request was a good one",
            What::Ended(Some(1002 | 1003 | 1007..=1009)) => "the client did nothing wrong",
            _ => continue,
        };
        return Err(Violation::new("nothing odd", what, history.around(index)));
    }
    Ok(())
}

/// What one connection has heard so far.
#[derive(Default)]
struct Heard {
    began: u64,
    is_welcome: bool,
    state: Option<u64>,
    ack: Option<u64>,
}

/// On each connection: `welcome` first, positions that rise, nothing that was shown before is taken
/// back, and an `ack` before the first state that holds its action.
fn each_connection(history: &History, shown: &Shown) -> Result<(), Violation> {
    let mut connections: BTreeMap<usize, Heard> = BTreeMap::new();
    for (index, record) in history.records.iter().enumerate() {
        let heard = connections.entry(record.connection).or_default();
        heed(heard, record, shown)
            .map_err(|(rule, what)| Violation::new(rule, what, history.around(index)))?;
    }
    Ok(())
}

fn heed(heard: &mut Heard, record: &Record, shown: &Shown) -> Result<(), (&'static str, String)> {
    let is_v1 = matches!(
        record.what,
        What::State { .. } | What::Acked { .. } | What::Refused { .. } | What::Welcome(_)
    );
    if is_v1 && heard.is_welcome == matches!(record.what, What::Welcome(_)) {
        return Err(("welcome first", "welcome comes first, and once".into()));
    }
    match &record.what {
        What::Connecting => heard.began = record.at,
        What::Welcome(welcome) => {
            heard.is_welcome = true;
            not_taken_back("welcome", welcome.seq, heard.began, shown)?;
        }
        What::State { seq, .. } => match heard.state.replace(*seq) {
            None => not_taken_back("the first state", *seq, heard.began, shown)?,
            Some(before) if before >= *seq => {
                return Err(("seq rises", format!("a state at {seq} after one at {before}")));
            }
            Some(_) => {}
        },
        What::Acked { seq, duplicate: false, id } => {
            if heard.state >= Some(*seq) {
                let state = heard.state.unwrap_or_default();
                let what = format!("a state at {state} came before the ack of {id} at {seq}");
                return Err(("ack before its state", what));
            }
            if heard.ack.replace(*seq) >= Some(*seq) {
                return Err(("seq rises", format!("the ack of {id} is not above the one before")));
            }
        }
        _ => {}
    }
    Ok(())
}

fn not_taken_back(
    what: &str,
    seq: u64,
    began: u64,
    shown: &Shown,
) -> Result<(), (&'static str, String)> {
    let before = shown.until(began);
    match seq < before {
        true => {
            let what = format!(
                "{what} is at {seq}, but position {before} had been shown to somebody before this \
                 connection was opened"
            );
            Err(("nothing is taken back", what))
        }
        false => Ok(()),
    }
}

/// A connection as the place of an identity.
#[derive(Default)]
struct Place {
    began: u64,
    welcomed: Option<u64>,
    /// When a connection that began after this one's `welcome` had its own.
    taken: Option<u64>,
    first_sent: BTreeMap<u64, u64>,
}

/// Once a later connection with the same identity has its `welcome`, the earlier takes nothing more.
fn one_place(history: &History) -> Result<(), Violation> {
    let mut places: BTreeMap<usize, Place> = BTreeMap::new();
    for (index, record) in history.records.iter().enumerate() {
        let place = places.entry(record.connection).or_default();
        match &record.what {
            What::Connecting => place.began = record.at,
            What::Sent { id, .. } => drop(place.first_sent.entry(*id).or_insert(record.at)),
            What::Welcome(_) => {
                place.welcomed = Some(record.at);
                let began = Some(place.began);
                let is_earlier = |place: &&mut Place| {
                    place.taken.is_none() && place.welcomed.is_some() && place.welcomed < began
                };
                places.values_mut().filter(is_earlier).for_each(|it| it.taken = Some(record.at));
            }
            What::Acked { id, duplicate: false, .. } => {
                let sent = place.first_sent.get(id);
                if place.taken.is_some() && sent > place.taken.as_ref() {
                    let what = format!("{id} was taken from a connection whose place was taken");
                    let around = history.around(index);
                    return Err(Violation::new("one identity, one place", what, around));
                }
            }
            _ => {}
        }
    }
    Ok(())
}
