//! What one session has not been sent yet: bounded, and past its bound only the newest. Pure.

use crate::state::Topic;
use bytes::Bytes;
use std::{collections::VecDeque, io::IoSlice};

/// The most frames that go into one write. Linux takes up to 1,024 pieces; more than some dozens
/// make a write no cheaper for each.
pub const MAX_FRAMES_IN_A_WRITE: usize = 64;

/// What a frame of the session's own costs besides its bytes: its place in the queue and its
/// allocation. Without it, thousands of empty pongs would count as nothing.
const OWN_FRAME_OVERHEAD_BYTES: usize = 128;

/// What a broadcast frame, whose bytes all sessions share, costs besides them: its place.
pub const SHARED_FRAME_OVERHEAD_BYTES: usize = 48;

/// A queue of frames. The first may be sent in part; a frame once begun is always finished.
#[derive(Debug)]
pub struct Outbox {
    frames: VecDeque<Queued>,
    /// Bytes of the first frame that are sent.
    sent_of_first: usize,
    /// What is broadcast, by what may become of it.
    newest: Share,
    changes: Share,
    messages: Share,
    /// The session's own frames.
    own: Share,
    max_pending_bytes: usize,
    /// Changes were skipped: no more are taken before the state was asked for.
    is_behind: bool,
}

/// Frames of one sort.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Share {
    bytes: usize,
    frames: usize,
}

impl Share {
    fn add(&mut self, cost: usize) {
        (self.bytes, self.frames) = (self.bytes + cost, self.frames + 1);
    }

    fn remove(&mut self, cost: usize) {
        (self.bytes, self.frames) = (self.bytes - cost, self.frames - 1);
    }
}

/// The newest of each topic of which only that matters, and one that is half sent.
const MAX_KEPT_OF_TOPICS: usize = 3;

/// Where, among frames, the newest of the topics is of which only that matters.
pub struct Newest([Option<usize>; 2]);

impl Newest {
    /// Of frames with these topics.
    pub fn of(
        topics: impl DoubleEndedIterator<Item = Option<Topic>> + ExactSizeIterator + Clone,
    ) -> Self {
        let newest = |of| topics.clone().rposition(|topic| topic == Some(of));
        Self([newest(Topic::State), newest(Topic::Users)])
    }

    /// Whether a newer one takes the place of the frame at `index`, of this topic.
    pub fn supersedes(&self, index: usize, topic: Topic) -> bool {
        match topic {
            Topic::State | Topic::Users => !self.0.contains(&Some(index)),
            Topic::Change | Topic::Message => false,
        }
    }
}

fn cost(frame: &Bytes, topic: Option<Topic>) -> usize {
    let overhead = match topic {
        Some(_) => SHARED_FRAME_OVERHEAD_BYTES,
        None => OWN_FRAME_OVERHEAD_BYTES,
    };
    frame.len() + overhead
}

#[derive(Debug)]
struct Queued {
    frame: Bytes,
    /// With a topic, a newer frame of the same topic makes this one superfluous.
    topic: Option<Topic>,
}

impl Outbox {
    /// An empty outbox. Past `max_pending_bytes` what is superfluous goes.
    pub fn new(max_pending_bytes: usize) -> Self {
        Self {
            frames: VecDeque::new(),
            sent_of_first: 0,
            newest: Share::default(),
            changes: Share::default(),
            messages: Share::default(),
            own: Share::default(),
            max_pending_bytes,
            is_behind: false,
        }
    }

    /// Whether all is sent.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// How many frames wait.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether the session's own answers have filled the outbox. Then it must not be read, so that
    /// it gets no more of them: this bounds what may not be skipped.
    pub fn is_full_of_answers(&self) -> bool {
        self.own.bytes >= self.max_pending_bytes
    }

    /// Appends a frame, `sent` bytes of which are sent already (only ever when the outbox is
    /// empty). Says what topic does not fit any more: of states and counts, all that waited but the
    /// newest is gone; of what may not be skipped frame by frame, all.
    pub fn push(&mut self, frame: Bytes, sent: usize, topic: Option<Topic>) -> Option<Topic> {
        debug_assert!(sent == 0 || self.is_empty(), "only the first frame is sent in part");
        if topic == Some(Topic::Change) && self.is_behind {
            return None;
        }
        if self.is_empty() {
            self.sent_of_first = sent;
        }
        self.count(topic, |share, cost| share.add(cost), cost(&frame, topic));
        self.frames.push_back(Queued { frame, topic });
        self.make_room(topic?)
    }

    /// Drops what is too much of a topic.
    fn make_room(&mut self, topic: Topic) -> Option<Topic> {
        let max = self.max_pending_bytes;
        match topic {
            // Of so few, none is superfluous: do not look at the whole queue for each frame.
            Topic::State | Topic::Users
                if self.newest.bytes + self.own.bytes > max
                    && self.newest.frames > MAX_KEPT_OF_TOPICS =>
            {
                self.drop_superseded();
                Some(topic)
            }
            // One always fits.
            Topic::Change if self.changes.bytes > max && self.changes.frames > 1 => {
                self.lose_changes();
                Some(topic)
            }
            Topic::Message if self.messages.bytes > max && self.messages.frames > 1 => {
                self.drop_all(topic);
                Some(topic)
            }
            _ => None,
        }
    }

    /// Drops the changes that wait, and takes no more of them before [`Outbox::resume`].
    pub fn lose_changes(&mut self) {
        self.is_behind = true;
        self.drop_all(Topic::Change);
    }

    /// Takes changes again.
    pub fn resume(&mut self) {
        self.is_behind = false;
    }

    /// Whether changes were skipped.
    pub fn is_behind(&self) -> bool {
        self.is_behind
    }

    fn count(&mut self, topic: Option<Topic>, change: fn(&mut Share, usize), cost: usize) {
        match topic {
            Some(Topic::State | Topic::Users) => change(&mut self.newest, cost),
            Some(Topic::Change) => change(&mut self.changes, cost),
            Some(Topic::Message) => change(&mut self.messages, cost),
            None => change(&mut self.own, cost),
        }
    }

    /// Drops the frames that `is_dropped` says, but for one that is half sent.
    fn drop_where(&mut self, is_dropped: impl Fn(usize, Topic) -> bool) {
        let is_first_begun = self.sent_of_first > 0;
        let mut index = 0;
        let mut dropped = Vec::new();
        self.frames.retain(|Queued { frame, topic }| {
            let is_begun = index == 0 && is_first_begun;
            let is_out = topic.is_some_and(|topic| !is_begun && is_dropped(index, topic));
            if is_out {
                dropped.push((*topic, cost(frame, *topic)));
            }
            index += 1;
            !is_out
        });
        for (topic, cost) in dropped {
            self.count(topic, |share, cost| share.remove(cost), cost);
        }
        // The places of hundreds are not kept for a few.
        self.frames.shrink_to(2 * self.frames.len());
    }

    fn drop_all(&mut self, of: Topic) {
        self.drop_where(|_, topic| topic == of);
    }

    /// Keeps, of each topic of which only the newest matters, that.
    pub fn drop_superseded(&mut self) {
        let newest = Newest::of(self.frames.iter().map(|queued| queued.topic));
        self.drop_where(|index, topic| newest.supersedes(index, topic));
    }

    /// Fills `slices` with what is to be sent next and returns how many it filled.
    pub fn fill<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut skip = self.sent_of_first;
        let mut filled = 0;
        for (slice, queued) in slices.iter_mut().zip(&self.frames) {
            *slice = IoSlice::new(&queued.frame[skip..]);
            skip = 0;
            filled += 1;
        }
        filled
    }

    /// Notes that `count` bytes of what [`Outbox::fill`] gave are sent.
    pub fn advance(&mut self, mut count: usize) {
        while let Some(first) = self.frames.front() {
            let left = first.frame.len() - self.sent_of_first;
            if count < left {
                self.sent_of_first += count;
                return;
            }
            count -= left;
            self.sent_of_first = 0;
            let (topic, cost) = (first.topic, cost(&first.frame, first.topic));
            self.count(topic, |share, cost| share.remove(cost), cost);
            self.frames.pop_front();
        }
        // An idle session holds no buffer.
        self.frames = VecDeque::new();
    }

    /// Takes everything out, as one piece.
    pub fn take_all(&mut self) -> Bytes {
        let all = match self.frames.len() {
            1 => self.frames[0].frame.slice(self.sent_of_first..),
            _ => {
                let length = self.frames.iter().map(|queued| queued.frame.len()).sum();
                let mut all = Vec::with_capacity(length);
                self.frames.iter().for_each(|queued| all.extend_from_slice(&queued.frame));
                Bytes::from(all).slice(self.sent_of_first..)
            }
        };
        *self = Self { is_behind: self.is_behind, ..Self::new(self.max_pending_bytes) };
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(outbox: &Outbox) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); MAX_FRAMES_IN_A_WRITE];
        let filled = outbox.fill(&mut slices);
        slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect()
    }

    fn push(outbox: &mut Outbox, frame: &'static str, topic: Option<Topic>) {
        outbox.push(frame.into(), 0, topic);
    }

    #[test]
    fn below_its_bound_everything_is_sent_in_order() {
        let mut outbox = Outbox::new(100);
        push(&mut outbox, "s1", Some(Topic::State));
        push(&mut outbox, "u1", Some(Topic::Users));
        push(&mut outbox, "s2", Some(Topic::State));
        push(&mut outbox, "e1", None);
        assert_eq!(written(&outbox), b"s1u1s2e1");
        outbox.advance(3);
        assert_eq!(written(&outbox), b"1s2e1");
        outbox.advance(5);
        assert!(outbox.is_empty());
    }

    #[test]
    fn past_its_bound_only_the_newest_of_each_topic_stays() {
        let mut outbox =
            Outbox::new(3 * (2 + SHARED_FRAME_OVERHEAD_BYTES) + 2 + OWN_FRAME_OVERHEAD_BYTES);
        push(&mut outbox, "s1", Some(Topic::State));
        push(&mut outbox, "u1", Some(Topic::Users));
        push(&mut outbox, "e1", None);
        push(&mut outbox, "s2", Some(Topic::State));
        push(&mut outbox, "s3", Some(Topic::State));
        assert_eq!(written(&outbox), b"u1e1s3");
    }

    #[test]
    fn a_frame_that_is_half_sent_is_finished() {
        let mut outbox = Outbox::new(8);
        outbox.push("state1".into(), 2, Some(Topic::State));
        for state in ["state2", "state3", "state4"] {
            push(&mut outbox, state, Some(Topic::State));
        }
        assert_eq!(written(&outbox), b"ate1state4");
    }

    #[test]
    fn changes_are_all_kept_or_all_skipped_until_the_state_was_asked_for() {
        let mut outbox = Outbox::new(2 * (2 + SHARED_FRAME_OVERHEAD_BYTES));
        push(&mut outbox, "S0", Some(Topic::State));
        push(&mut outbox, "c1", Some(Topic::Change));
        push(&mut outbox, "c2", Some(Topic::Change));
        assert_eq!(written(&outbox), b"S0c1c2");
        outbox.advance(3);
        let lost = outbox.push("c3".into(), 0, Some(Topic::Change));
        assert_eq!(lost, Some(Topic::Change), "three do not fit");
        assert!(outbox.is_behind());
        assert_eq!(written(&outbox), b"1", "what is begun is finished");
        push(&mut outbox, "c4", Some(Topic::Change));
        assert_eq!(written(&outbox), b"1", "a change without the one before it is worth nothing");
        outbox.resume();
        push(&mut outbox, "S4", Some(Topic::State));
        push(&mut outbox, "c5", Some(Topic::Change));
        assert_eq!(written(&outbox), b"1S4c5");
    }

    #[test]
    fn being_behind_outlives_what_was_taken_out() {
        let mut outbox = Outbox::new(1);
        push(&mut outbox, "c1", Some(Topic::Change));
        push(&mut outbox, "c2", Some(Topic::Change));
        push(&mut outbox, "e", None);
        outbox.take_all();
        assert!(outbox.is_behind(), "an event stream takes everything at once");
    }

    #[test]
    fn messages_that_do_not_fit_are_told_of() {
        let mut outbox = Outbox::new(2 * (2 + SHARED_FRAME_OVERHEAD_BYTES));
        assert_eq!(outbox.push("m1".into(), 0, Some(Topic::Message)), None);
        assert_eq!(outbox.push("m2".into(), 0, Some(Topic::Message)), None);
        push(&mut outbox, "s1", Some(Topic::State));
        assert_eq!(written(&outbox), b"m1m2s1", "a state does not push messages out");
        let lost = outbox.push("m3".into(), 0, Some(Topic::Message));
        assert_eq!(lost, Some(Topic::Message));
        assert_eq!(written(&outbox), b"s1", "who is closed for it needs none of them");
    }

    #[test]
    fn one_message_and_one_change_always_fit() {
        for topic in [Topic::Message, Topic::Change] {
            let mut outbox = Outbox::new(2);
            assert_eq!(outbox.push("a long one".into(), 0, Some(topic)), None);
            assert_eq!(written(&outbox), b"a long one");
        }
    }

    #[test]
    fn one_frame_always_fits() {
        let mut outbox = Outbox::new(2);
        push(&mut outbox, "a long state", Some(Topic::State));
        assert_eq!(written(&outbox), b"a long state");
    }

    #[test]
    fn its_own_answers_fill_it_and_sending_them_empties_it() {
        let mut outbox = Outbox::new(OWN_FRAME_OVERHEAD_BYTES);
        push(&mut outbox, "state", Some(Topic::State));
        assert!(!outbox.is_full_of_answers(), "states can be skipped");
        push(&mut outbox, "error", None);
        assert!(outbox.is_full_of_answers());
        assert_eq!(outbox.take_all(), "stateerror");
        assert!(outbox.is_empty() && !outbox.is_full_of_answers());
    }

    #[test]
    fn small_answers_fill_it_too() {
        let mut outbox = Outbox::new(64 * 1024);
        let mut pongs = 0;
        while !outbox.is_full_of_answers() {
            push(&mut outbox, "", None);
            pongs += 1;
        }
        assert!(pongs <= 512, "{pongs} empty frames fit");
    }

    proptest! {
        /// Whatever is pushed and however it is sent: frames come whole and in order, answers are
        /// never lost, the newest of each topic comes last of its kind, and memory is bounded.
        #[test]
        fn what_arrives_is_whole_in_order_and_ends_with_the_newest(
            steps in prop::collection::vec((0u8..4, 1usize..40), 1..200),
        ) {
            const LIMIT: usize = 1000;
            let mut outbox = Outbox::new(LIMIT);
            let (mut sent, mut answers, mut newest) = (Vec::new(), Vec::new(), [None, None]);
            for (number, (kind, size)) in steps.into_iter().enumerate() {
                let topic = match kind {
                    0 => Some(Topic::State),
                    1 => Some(Topic::Users),
                    2 => None,
                    _ => {
                        let pending = written(&outbox);
                        let count = size.min(pending.len());
                        sent.extend_from_slice(&pending[..count]);
                        outbox.advance(count);
                        continue;
                    }
                };
                match topic {
                    Some(topic) => newest[topic as usize] = Some(number),
                    None => answers.push(number),
                }
                let frame = format!("<{number}:{}>", "x".repeat(size));
                outbox.push(frame.into(), 0, topic);
                let kept = outbox.frames.iter().filter(|queued| queued.topic.is_some()).count();
                prop_assert_eq!(kept, outbox.newest.frames);
                prop_assert!(outbox.newest.frames <= MAX_KEPT_OF_TOPICS.max(LIMIT / SHARED_FRAME_OVERHEAD_BYTES + 1));
            }
            while !outbox.is_empty() {
                let pending = written(&outbox);
                sent.extend_from_slice(&pending);
                outbox.advance(pending.len());
            }
            prop_assert_eq!((outbox.newest, outbox.own), (Share::default(), Share::default()));
            let text = String::from_utf8(sent).unwrap();
            let numbers: Vec<usize> = text
                .split_terminator('>')
                .map(|frame| frame[1..].split(':').next().unwrap().parse().unwrap())
                .collect();
            prop_assert!(numbers.is_sorted(), "out of order: {:?}", numbers);
            for number in answers.into_iter().chain(newest.into_iter().flatten()) {
                prop_assert!(numbers.contains(&number), "{} is lost: {:?}", number, numbers);
            }
        }
    }
}
