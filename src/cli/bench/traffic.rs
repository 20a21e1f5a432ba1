//! Actions that are sent, and what becomes of them at each client.
//!
//! No state says whose action made it. So actions are matched with places by their order: a room's
//! k-th action answers for the k-th place after the first. With one sender that is exact. With
//! several, two actions that are under way at the same time may be taken for each other, which
//! leaves every count and the mean of the latencies as they are, and makes them spread less.

use super::{age::FirstSeen, error::BenchError, record::Record};
use std::collections::VecDeque;

/// The most actions that may be under way, of all rooms together: so that a server that takes
/// everything and answers nothing does not fill the memory. 96 MiB.
const MOST_UNDER_WAY: usize = 4 * 1024 * 1024;

/// The most times of [`FirstSeen`], of all rooms together: ten seconds with 100,000 actions each.
/// 8 MiB.
const MOST_FIRST_SEEN: usize = 1024 * 1024;

/// How a client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// As fast as it can.
    Steady,
    /// Only so much in a time.
    Slow,
    /// Not at all, once it is there.
    Stalled,
    /// It comes and goes.
    Visitor,
    /// As fast as it can, but what it sends is shown to others only.
    Speaker,
}

/// Where a [`Kind::Visitor`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visit {
    /// It has not been shown anything yet.
    Coming,
    /// It is there, for a while.
    Here,
    /// It has said goodbye.
    Leaving,
}

/// What a client has seen.
#[derive(Debug)]
pub struct View {
    /// How it reads.
    pub kind: Kind,
    /// The number of its room, from 0.
    pub room: usize,
    /// The place that it was shown last.
    pub place: Option<i64>,
    /// The number of users it was told last.
    pub users: Option<u64>,
    /// How many times it was told one.
    pub users_events: u64,
    /// It was not shown every place.
    pub has_skipped: bool,
    /// A sender in a closed loop: the place that answers its last action.
    pub awaited: Option<i64>,
    /// Its own actions that it has not been shown.
    unseen: usize,
    /// Where a visitor is.
    pub visit: Visit,
}

impl View {
    /// Of a client that has just begun to connect.
    pub fn new(kind: Kind, room: usize) -> Self {
        Self {
            kind,
            room,
            place: None,
            users: None,
            users_events: 0,
            has_skipped: false,
            awaited: None,
            unseen: 0,
            visit: Visit::Coming,
        }
    }
}

struct Flight {
    /// When it was to be sent.
    sent_ns: u64,
    /// The client that sent it.
    sender: usize,
    /// How many steady clients are at its place.
    shown_by: usize,
}

struct Room {
    /// The place before the first action.
    base: i64,
    /// The place once all actions that were sent are applied.
    target: i64,
    /// Steady clients.
    viewers: usize,
    /// How many of them are before the place of the first flight.
    behind: usize,
    /// The actions that some steady client has not seen the place of. The last one leads to
    /// `target`.
    flights: VecDeque<Flight>,
    first_seen: FirstSeen,
}

impl Room {
    /// The place that the first of the flights leads to.
    #[inline]
    fn first_place(&self) -> i64 {
        self.target + 1 - self.flights.len() as i64
    }

    /// How many steady clients are at `place`, or at any before the first flight.
    fn shown_by(&mut self, place: i64) -> &mut usize {
        let index = usize::try_from(place - self.first_place()).ok();
        match index.and_then(|index| self.flights.get_mut(index)) {
            Some(flight) => &mut flight.shown_by,
            None => &mut self.behind,
        }
    }
}

/// All actions of a run, and what clients have seen of them.
pub struct Traffic {
    rooms: Vec<Room>,
    /// What was measured.
    pub record: Record,
    /// Every client saw places in order, none of them twice.
    pub in_order: bool,
    /// Senders who may send their next action.
    pub answered: Vec<usize>,
    is_closed_loop: bool,
    /// Senders are not shown what they send ([`Kind::Speaker`]).
    has_speakers: bool,
    under_way: usize,
    /// When the last action was sent.
    pub last_sent_ns: u64,
    /// When the last steady client saw the last place that all have seen.
    pub last_seen_ns: u64,
}

impl Traffic {
    /// No traffic yet, in rooms whose steady clients are all at the same place.
    pub fn new<'a>(
        rooms: usize,
        is_closed_loop: bool,
        views: impl Iterator<Item = &'a View>,
    ) -> Self {
        let most = MOST_FIRST_SEEN / rooms.max(1);
        let mut rooms = vec![(0_usize, None::<i64>); rooms];
        let mut has_speakers = false;
        for view in views {
            has_speakers |= view.kind == Kind::Speaker;
            let (viewers, place) = &mut rooms[view.room];
            *viewers += usize::from(view.kind == Kind::Steady);
            *place = (*place).max(view.place);
        }
        let rooms = rooms.into_iter().map(|(viewers, place)| {
            let base = place.unwrap_or(0);
            let first_seen = FirstSeen::new(base, most);
            let (flights, behind) = (VecDeque::new(), viewers);
            Room { base, target: base, viewers, behind, flights, first_seen }
        });
        Self {
            rooms: rooms.collect(),
            record: Record::new(),
            in_order: true,
            answered: Vec::new(),
            is_closed_loop,
            has_speakers,
            under_way: 0,
            last_sent_ns: 0,
            last_seen_ns: 0,
        }
    }

    /// Whether another action may be sent.
    pub fn has_room(&self) -> bool {
        self.under_way < MOST_UNDER_WAY
    }

    /// `sender` sends an action whose time was `sent_ns`. Returns which action of its room it is,
    /// from 1.
    pub fn send(&mut self, sender: usize, view: &mut View, sent_ns: u64, now_ns: u64) -> i64 {
        let room = &mut self.rooms[view.room];
        room.target += 1;
        if room.viewers > 0 {
            room.flights.push_back(Flight { sent_ns, sender, shown_by: 0 });
            self.under_way += 1;
            view.unseen += usize::from(view.kind == Kind::Steady);
        }
        if self.is_closed_loop && view.kind != Kind::Speaker {
            view.awaited = Some(room.target);
        }
        self.record.actions += u64::from(self.record.is_on());
        self.last_sent_ns = now_ns;
        room.target - room.base
    }

    /// `client` is shown `place`.
    ///
    /// # Errors
    /// [`BenchError::Unasked`] if not so many actions were sent.
    #[inline]
    pub fn show(
        &mut self,
        client: usize,
        view: &mut View,
        place: i64,
        now_ns: u64,
    ) -> Result<(), BenchError> {
        let Some(before) = view.place else {
            view.place = Some(place);
            return Ok(());
        };
        if view.kind == Kind::Visitor {
            return Ok(());
        }
        let room = &mut self.rooms[view.room];
        if place > room.target {
            return Err(unasked(client, place, room.target));
        }
        if place <= before {
            self.in_order = false;
            return Ok(());
        }
        view.place = Some(place);
        let (is_on, follows) = (self.record.is_on(), self.record.follows());
        if view.kind != Kind::Steady {
            self.record.events += u64::from(is_on && view.kind != Kind::Speaker);
            return Ok(());
        }
        let skipped = place.abs_diff(before) - 1;
        let first = room.first_place();
        if follows {
            let flight = room.flights.get((place - first) as usize);
            self.record.delivered(flight.map_or(0, |flight| now_ns.saturating_sub(flight.sent_ns)));
        }
        if is_on {
            self.record.skipped += skipped;
            view.has_skipped |= skipped > 0;
        }
        room.first_seen.see(place, now_ns);
        *room.shown_by(before) -= 1;
        *room.shown_by(place) += 1;
        // Of thousands that are skipped, nobody but a sender looks for its own.
        for place in before + 1..=place {
            if view.unseen == 0 {
                break;
            }
            let flight = room.flights.get((place - first) as usize);
            if let Some(flight) = flight.filter(|flight| flight.sender == client) {
                view.unseen -= 1;
                if follows {
                    self.record.sender.add(now_ns.saturating_sub(flight.sent_ns));
                }
            }
        }
        self.pop_seen(view.room, now_ns, follows);
        if view.awaited.is_some_and(|awaited| awaited <= place) {
            view.awaited = None;
            self.answered.push(client);
        }
        Ok(())
    }

    /// All clients see the places in one order, so it is always the first flight that ends.
    #[inline]
    fn pop_seen(&mut self, room: usize, now_ns: u64, follows: bool) {
        let room = &mut self.rooms[room];
        while room.behind == 0
            && let Some(flight) = room.flights.pop_front()
        {
            room.behind = flight.shown_by;
            if follows {
                self.record.last.add(now_ns.saturating_sub(flight.sent_ns));
            }
            self.last_seen_ns = now_ns;
            self.under_way -= 1;
            if self.has_speakers {
                self.answered.push(flight.sender);
            }
        }
    }

    /// A steady client is not there any more: nobody waits for it.
    pub fn lose(&mut self, view: &View, now_ns: u64) {
        let room = &mut self.rooms[view.room];
        room.viewers -= 1;
        *room.shown_by(view.place.unwrap_or(room.base)) -= 1;
        if room.viewers == 0 {
            self.under_way -= room.flights.len();
            room.flights.clear();
        }
        self.pop_seen(view.room, now_ns, false);
    }

    /// Notes how old what a steady client shows is: 0 is not noted but told by `true`.
    #[inline]
    pub fn note_age(&mut self, view: &View, now_ns: u64) -> bool {
        let age = self.rooms[view.room].first_seen.age_ns(view.place.unwrap_or(i64::MAX), now_ns);
        if age > 0 {
            self.record.age.add(age);
        }
        age == 0
    }

    /// Whether every steady client has seen every action's place.
    pub fn is_over(&self) -> bool {
        self.under_way == 0
    }

    /// Whether a client is at the place that all actions lead to.
    pub fn is_at_end(&self, view: &View) -> bool {
        view.place == Some(self.rooms[view.room].target)
    }
}

#[cold]
fn unasked(client: usize, place: i64, target: i64) -> BenchError {
    BenchError::Unasked(format!(
        "client {client} was shown {place}, but what was sent leads to {target} only"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};

    const NS_PER_MS: u64 = 1_000_000;

    fn views(kinds: &[Kind]) -> Vec<View> {
        let view = |kind: &Kind| View { place: Some(10), ..View::new(*kind, 0) };
        kinds.iter().map(view).collect()
    }

    fn traffic(is_closed_loop: bool, views: &[View]) -> Traffic {
        let mut traffic = Traffic::new(1, is_closed_loop, views.iter());
        traffic.record.begin(0);
        traffic
    }

    fn show(traffic: &mut Traffic, views: &mut [View], client: usize, place: i64, ms: u64) {
        let shown = traffic.show(client, &mut views[client], place, ms * NS_PER_MS);
        shown.unwrap_or_else(|error| panic!("{place} to {client}: {error}"));
    }

    #[test]
    fn an_action_is_followed_to_its_sender_to_everyone_and_to_the_last() {
        let mut views = views(&[Kind::Steady, Kind::Steady]);
        let mut traffic = traffic(true, &views);
        assert_eq!(traffic.send(0, &mut views[0], NS_PER_MS, 2 * NS_PER_MS), 1);
        assert!(!traffic.is_over());
        show(&mut traffic, &mut views, 1, 11, 3);
        assert_eq!((traffic.answered.pop(), traffic.is_over()), (None, false));
        show(&mut traffic, &mut views, 0, 11, 5);
        assert_eq!((traffic.answered.pop(), traffic.is_over()), (Some(0), true));
        assert!(traffic.is_at_end(&views[1]));

        traffic.record.end(1_000 * NS_PER_MS);
        assert_eq!((traffic.record.actions, traffic.record.events), (1, 2));
        let ms = |times: &super::super::record::Times| {
            let latency = times.latency();
            (latency.count, latency.p50_ms.round(), latency.max_ms.round())
        };
        assert_eq!(ms(&traffic.record.sender), (1, 4.0, 4.0));
        assert_eq!(ms(traffic.record.every()), (2, 2.0, 4.0));
        assert_eq!(ms(&traffic.record.last), (1, 4.0, 4.0));
    }

    #[test]
    fn skipped_places_count_as_seen_but_not_as_delivered() {
        let mut views = views(&[Kind::Steady, Kind::Steady]);
        let mut traffic = traffic(false, &views);
        for _ in 0..3 {
            traffic.send(0, &mut views[0], 0, 0);
        }
        show(&mut traffic, &mut views, 0, 13, 1);
        (11..=13).for_each(|place| show(&mut traffic, &mut views, 1, place, 2));
        assert!(traffic.is_over() && traffic.in_order);
        assert_eq!((traffic.record.events, traffic.record.skipped), (4, 2));
        assert_eq!(views.iter().map(|view| view.has_skipped).collect::<Vec<_>>(), [true, false]);
        assert_eq!(traffic.record.sender.latency().count, 3);
    }

    #[test]
    fn a_place_that_comes_again_or_goes_back_is_out_of_order() {
        for again in [11, 12] {
            let mut views = views(&[Kind::Steady]);
            let mut traffic = traffic(false, &views);
            traffic.send(0, &mut views[0], 0, 0);
            traffic.send(0, &mut views[0], 0, 0);
            show(&mut traffic, &mut views, 0, 12, 1);
            assert!(traffic.in_order);
            show(&mut traffic, &mut views, 0, again, 2);
            assert!(!traffic.in_order, "{again} after 12");
            assert_eq!(traffic.record.events, 1);
        }
    }

    #[test]
    fn what_nobody_asked_for_ends_the_run() {
        let mut views = views(&[Kind::Steady]);
        let mut traffic = traffic(false, &views);
        let shown = traffic.show(0, &mut views[0], 11, 0);
        assert!(matches!(shown, Err(BenchError::Unasked(_))));
    }

    #[test]
    fn nobody_waits_for_those_who_are_slow_or_lost() {
        let mut views = views(&[Kind::Steady, Kind::Steady, Kind::Slow, Kind::Stalled]);
        let mut traffic = traffic(false, &views);
        (0..3).for_each(|_| _ = traffic.send(0, &mut views[0], 0, 0));
        show(&mut traffic, &mut views, 2, 11, 1);
        assert_eq!(traffic.record.events, 1, "a slow client's event counts");
        show(&mut traffic, &mut views, 0, 11, 1);
        show(&mut traffic, &mut views, 1, 11, 1);
        show(&mut traffic, &mut views, 1, 12, 1);
        show(&mut traffic, &mut views, 0, 12, 1);
        traffic.lose(&views[1], 2);
        assert!(!traffic.is_over());
        show(&mut traffic, &mut views, 0, 13, 3);
        assert!(traffic.is_over());
        assert_eq!(traffic.record.every().latency().count, 0, "the second goes on");
        traffic.record.end(NS_PER_MS);
        assert_eq!(traffic.record.every().latency().count, 5);
    }

    #[test]
    fn when_nobody_is_left_nothing_is_waited_for() {
        let mut views = views(&[Kind::Steady]);
        let mut traffic = traffic(true, &views);
        traffic.send(0, &mut views[0], 0, 0);
        traffic.lose(&views[0], 0);
        assert!(traffic.is_over());
        traffic.send(0, &mut views[0], 0, 0);
        assert!(traffic.is_over());
    }

    #[test]
    fn who_is_not_shown_its_own_action_goes_on_when_all_others_are() {
        let mut views = views(&[Kind::Speaker, Kind::Steady, Kind::Steady]);
        let mut traffic = traffic(true, &views);
        traffic.send(0, &mut views[0], 0, 0);
        show(&mut traffic, &mut views, 1, 11, 1);
        assert_eq!(traffic.answered.pop(), None);
        show(&mut traffic, &mut views, 2, 11, 1);
        assert_eq!(traffic.answered.pop(), Some(0));
    }

    #[test]
    fn age_is_noted_while_a_client_shows_something_old() {
        let mut views = views(&[Kind::Steady, Kind::Steady]);
        let mut traffic = traffic(false, &views);
        traffic.send(0, &mut views[0], 0, 0);
        show(&mut traffic, &mut views, 0, 11, 1);
        assert!(traffic.note_age(&views[0], 4 * NS_PER_MS));
        assert!(!traffic.note_age(&views[1], 4 * NS_PER_MS));
        let age = traffic.record.age.latency();
        assert_eq!((age.count, age.max_ms.round()), (1, 3.0));
    }

    proptest! {
        #[test]
        fn every_action_is_shown_or_skipped_once_at_each_client_whatever_they_read_at_once(
            steps in vec((0_usize..4, 1_i64..5), 0..200),
        ) {
            let mut views = views(&[Kind::Steady; 3]);
            let mut traffic = traffic(false, &views);
            let mut target = 10;
            for (who, by) in steps {
                match views.get(who).and_then(|view| view.place) {
                    // Nobody reads: somebody sends.
                    None => {
                        traffic.send(0, &mut views[0], 0, 0);
                        target += 1;
                    }
                    Some(before) if before < target => {
                        show(&mut traffic, &mut views, who, target.min(before + by), 1);
                    }
                    Some(_) => {}
                }
                let all_have_seen = views.iter().all(|view| view.place == Some(target));
                prop_assert_eq!(traffic.is_over(), all_have_seen);
            }
            for who in 0..views.len() {
                if views[who].place != Some(target) {
                    show(&mut traffic, &mut views, who, target, 1);
                }
            }
            prop_assert!(traffic.is_over() && traffic.in_order);
            let actions = (target - 10) as u64;
            let record = &traffic.record;
            prop_assert_eq!(record.events + record.skipped, 3 * actions);
            prop_assert_eq!(record.sender.latency().count, actions);
            prop_assert_eq!(record.last.latency().count, actions);
        }
    }
}
