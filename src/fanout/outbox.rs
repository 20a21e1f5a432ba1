//! What one session has not been sent yet: bounded, and past its bound only the newest. Pure.

use crate::state::Topic;
use bytes::Bytes;
use std::{collections::VecDeque, io::IoSlice};

/// The most frames that go into one write: as many as the kernel takes without an extra buffer
/// (`UIO_FASTIOV` of Linux is 8, `IOV_MAX` is 1,024; between the two a write's cost is its bytes).
pub const MAX_FRAMES_IN_A_WRITE: usize = 64;

/// A queue of frames. The first may be sent in part; a frame once begun is always finished.
#[derive(Debug)]
pub struct Outbox {
    frames: VecDeque<Queued>,
    /// Bytes of the first frame that are sent.
    sent_of_first: usize,
    /// Bytes in all, and those of frames without a topic.
    bytes: usize,
    own_bytes: usize,
    max_pending_bytes: usize,
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
            bytes: 0,
            own_bytes: 0,
            max_pending_bytes,
        }
    }

    /// Whether all is sent.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Whether the session's own answers have filled the outbox. Then it must not be read, so that
    /// it gets no more of them: this bounds what may not be skipped.
    pub fn is_full_of_answers(&self) -> bool {
        self.own_bytes >= self.max_pending_bytes
    }

    /// Appends a frame, `sent` bytes of which are sent already (only ever when the outbox is
    /// empty).
    pub fn push(&mut self, frame: Bytes, sent: usize, topic: Option<Topic>) {
        debug_assert!(sent == 0 || self.is_empty(), "only the first frame is sent in part");
        if self.is_empty() {
            self.sent_of_first = sent;
        }
        self.bytes += frame.len();
        if topic.is_none() {
            self.own_bytes += frame.len();
        }
        self.frames.push_back(Queued { frame, topic });
        if self.bytes > self.max_pending_bytes {
            self.drop_superseded();
        }
    }

    /// Keeps, of each topic, only the newest frame, and the one that is half sent.
    fn drop_superseded(&mut self) {
        let newest = |topic| self.frames.iter().rposition(|queued| queued.topic == Some(topic));
        let newest = [newest(Topic::State), newest(Topic::Users)];
        let is_first_begun = self.sent_of_first > 0;
        let mut index = 0;
        let mut dropped_bytes = 0;
        self.frames.retain(|queued| {
            let is_begun = index == 0 && is_first_begun;
            let is_kept = queued.topic.is_none() || is_begun || newest.contains(&Some(index));
            if !is_kept {
                dropped_bytes += queued.frame.len();
            }
            index += 1;
            is_kept
        });
        self.bytes -= dropped_bytes;
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
            self.bytes -= first.frame.len();
            if first.topic.is_none() {
                self.own_bytes -= first.frame.len();
            }
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
                let mut all = Vec::with_capacity(self.bytes);
                self.frames.iter().for_each(|queued| all.extend_from_slice(&queued.frame));
                Bytes::from(all).slice(self.sent_of_first..)
            }
        };
        *self = Self::new(self.max_pending_bytes);
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
        let mut outbox = Outbox::new(8);
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
        push(&mut outbox, "state2", Some(Topic::State));
        push(&mut outbox, "state3", Some(Topic::State));
        assert_eq!(written(&outbox), b"ate1state3");
    }

    #[test]
    fn one_frame_always_fits() {
        let mut outbox = Outbox::new(2);
        push(&mut outbox, "a long state", Some(Topic::State));
        push(&mut outbox, "a longer state", Some(Topic::State));
        assert_eq!(written(&outbox), b"a longer state");
    }

    #[test]
    fn its_own_answers_fill_it_and_sending_them_empties_it() {
        let mut outbox = Outbox::new(4);
        push(&mut outbox, "state", Some(Topic::State));
        assert!(!outbox.is_full_of_answers(), "states can be skipped");
        push(&mut outbox, "error", None);
        assert!(outbox.is_full_of_answers());
        assert_eq!(outbox.take_all(), "stateerror");
        assert!(outbox.is_empty() && !outbox.is_full_of_answers());
    }

    proptest! {
        /// Whatever is pushed and however it is sent: frames come whole and in order, answers are
        /// never lost, the newest of each topic comes last of its kind, and memory is bounded.
        #[test]
        fn what_arrives_is_whole_in_order_and_ends_with_the_newest(
            steps in prop::collection::vec((0u8..4, 1usize..40), 1..200),
        ) {
            const LIMIT: usize = 64;
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
                let longest = 64;
                outbox.push(frame.into(), 0, topic);
                prop_assert!(outbox.bytes - outbox.own_bytes <= LIMIT + 3 * longest);
            }
            while !outbox.is_empty() {
                let pending = written(&outbox);
                sent.extend_from_slice(&pending);
                outbox.advance(pending.len());
            }
            prop_assert_eq!((outbox.bytes, outbox.own_bytes), (0, 0));
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
