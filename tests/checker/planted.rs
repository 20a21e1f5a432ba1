//! Made-up histories: good ones pass, and each planted violation is found by its rule.

use super::{
    history::{Action, History, What},
    rules::{Violation, check},
};

/// A history in the making. Each line is written as the wire has it.
struct Story(History);

impl Story {
    fn of(who: &str) -> Self {
        Self(History::new(who))
    }

    fn add(mut self, connection: usize, what: What) -> Self {
        self.0.add(connection, what);
        self
    }

    /// Connects, and is welcomed at this position.
    fn welcome(self, connection: usize, seq: u64, last_id: Option<u64>) -> Self {
        self.welcome_with(connection, seq, last_id, &[])
    }

    fn welcome_with(
        self,
        connection: usize,
        seq: u64,
        last_id: Option<u64>,
        refused: &[u64],
    ) -> Self {
        self.begin(connection).welcomed(connection, seq, last_id, refused)
    }

    fn begin(self, connection: usize) -> Self {
        self.add(connection, What::Connecting)
    }

    fn welcomed(self, at: usize, seq: u64, last_id: Option<u64>, refused: &[u64]) -> Self {
        let last_id = last_id.map_or("null".into(), |id| id.to_string());
        self.told(
            at,
            &format!(
                r#"{{"type":"welcome","protocol":"statesync.v1","session":{at},"epoch":"e",
                "seq":{seq},"last_id":{last_id},"refused":{refused:?},"forgotten_until":0,"max_in_flight":64,
                "heartbeat_ms":20000}}"#
            ),
        )
    }

    fn told(self, connection: usize, message: &str) -> Self {
        self.add(connection, What::from_message(message).expect("something to record"))
    }

    fn sent(self, connection: usize, id: u64, action: Action) -> Self {
        self.add(connection, What::Sent { id, action })
    }

    fn plus(self, connection: usize, id: u64, by: i64) -> Self {
        self.sent(connection, id, Action::Plus(by))
    }

    fn ack(self, connection: usize, id: u64, seq: u64) -> Self {
        self.told(connection, &format!(r#"{{"type":"ack","id":{id},"seq":{seq}}}"#))
    }

    fn ack_again(self, connection: usize, id: u64, seq: u64) -> Self {
        let ack = format!(r#"{{"type":"ack","id":{id},"seq":{seq},"duplicate":true}}"#);
        self.told(connection, &ack)
    }

    fn refused(self, connection: usize, id: u64, code: &str, retry: bool) -> Self {
        let error = format!(r#"{{"type":"error","code":"{code}","id":{id},"retry":{retry}}}"#);
        self.told(connection, &error)
    }

    fn state(self, connection: usize, seq: u64, value: i64) -> Self {
        self.told(connection, &format!(r#"{{"type":"state","seq":{seq},"value":{value}}}"#))
    }

    fn value(self, connection: usize, value: i64) -> Self {
        self.told(connection, &format!(r#"{{"type":"state","value":{value}}}"#))
    }
}

fn judge(stories: Vec<Story>, total: i64) -> Result<(), Violation> {
    let histories: Vec<History> = stories.into_iter().map(|story| story.0).collect();
    check(&histories, &[("the last reader".into(), total)]).map(drop)
}

#[track_caller]
fn passes(stories: Vec<Story>, total: i64) {
    if let Err(violation) = judge(stories, total) {
        panic!("this history breaks nothing, but {violation}");
    }
}

#[track_caller]
fn breaks(rule: &str, stories: Vec<Story>, total: i64) {
    let violation = judge(stories, total).expect_err("a violation was planted").to_string();
    assert!(violation.contains(&format!("\"{rule}\"")), "expected {rule:?}, but {violation}");
}

/// Two actions, the second of which lost its answer and was asked about again.
fn ann() -> Story {
    Story::of("Ann")
        .welcome(1, 0, None)
        .state(1, 0, 0)
        .plus(1, 1, 5)
        .ack(1, 1, 1)
        .state(1, 1, 5)
        .plus(1, 2, 3)
        .welcome(2, 2, Some(2))
        .state(2, 2, 8)
}

#[test]
fn what_follows_the_protocol_passes() {
    passes(vec![ann()], 8);
    let again = ann().plus(2, 2, 3).ack_again(2, 2, 2).plus(2, 1, 5).ack_again(2, 1, 2);
    passes(vec![again], 8);
    let too_much = ann().sent(2, 3, Action::TooMuch).refused(2, 3, "out_of_range", false);
    passes(vec![too_much.welcome_with(3, 3, Some(3), &[3]).state(3, 3, 8)], 8);
    let overtaking = ann()
        .plus(2, 4, 1)
        .refused(2, 4, "id_gap", true)
        .plus(2, 3, 1)
        .ack(2, 3, 3)
        .plus(2, 4, 1)
        .ack(2, 4, 4)
        .state(2, 4, 10);
    passes(vec![overtaking], 10);
}

#[test]
fn who_was_cut_off_before_anything_arrived_sends_again_from_number_1() {
    let story = || Story::of("Ann").welcome(1, 0, None).plus(1, 1, 5).welcome(2, 0, None);
    passes(vec![story().plus(2, 1, 5).ack(2, 1, 1).state(2, 1, 5)], 5);
    // It arrived, but was not kept yet when the second connection came.
    passes(vec![story().plus(2, 1, 5).ack_again(2, 1, 1)], 5);
    breaks("exactly once", vec![story()], 0);
    breaks("nothing odd", vec![story().add(2, What::GivenUp { id: 1 })], 0);
}

#[test]
fn a_lost_acknowledged_action_is_found() {
    let lost = ann().plus(2, 3, 1).ack(2, 3, 3);
    breaks("the final sum", vec![lost], 8);
    let state_without = ann().plus(2, 3, 1).ack(2, 3, 3).state(2, 3, 8);
    breaks("each state is the sum", vec![state_without], 9);
}

#[test]
fn a_doubled_action_is_found() {
    breaks("the final sum", vec![ann()], 11);
    breaks("each state is the sum", vec![ann().state(2, 3, 11)], 11);
    let acked_twice = ann().plus(2, 3, 1).ack(2, 3, 3).plus(2, 3, 1).ack(2, 3, 4);
    breaks("exactly once", vec![acked_twice], 10);
    let decided_before = ann().plus(2, 2, 3).ack(2, 2, 3);
    breaks("exactly once", vec![decided_before], 8);
}

#[test]
fn an_action_without_a_decision_is_found() {
    breaks("exactly once", vec![ann().plus(2, 3, 1)], 8);
}

#[test]
fn decisions_that_disagree_are_found() {
    let acked_then_refused = ann().welcome_with(3, 2, Some(2), &[1]);
    breaks("exactly once", vec![acked_then_refused], 8);
    let refused = ann().sent(2, 3, Action::Nonsense).refused(2, 3, "unknown_action", false);
    breaks("exactly once", vec![refused.welcome(3, 3, Some(3))], 8);
    breaks("exactly once", vec![ann().welcome(3, 2, Some(1))], 8);
    breaks("exactly once", vec![ann().welcome(3, 2, None)], 8);
    breaks("exactly once", vec![ann().welcome(3, 2, Some(3))], 8);
}

#[test]
fn a_good_action_that_is_refused_and_a_bad_one_that_is_applied_are_found() {
    let good = ann().plus(2, 3, 1).refused(2, 3, "out_of_range", false);
    breaks("exactly once", vec![good], 8);
    let bad = ann().sent(2, 3, Action::Nonsense).ack(2, 3, 3);
    breaks("exactly once", vec![bad], 8);
}

#[test]
fn answers_to_nothing_are_found() {
    breaks("exactly once", vec![ann().ack(2, 3, 3)], 8);
    breaks("exactly once", vec![ann().plus(2, 3, 1).ack_again(2, 3, 3)], 9);
    breaks("exactly once", vec![ann().plus(2, 3, 1).refused(2, 3, "id_too_old", false)], 9);
}

#[test]
fn answers_in_another_order_are_found() {
    let both = || ann().plus(2, 3, 1).plus(2, 2, 3);
    passes(vec![both().ack(2, 3, 3).ack_again(2, 2, 3)], 9);
    breaks("exactly once", vec![both().ack_again(2, 2, 2).ack(2, 3, 3)], 9);
}

#[test]
fn a_first_state_without_what_welcome_said_is_applied_is_found() {
    let story = || Story::of("Ann").welcome(1, 0, None).plus(1, 1, 5).welcome(2, 2, Some(1));
    passes(vec![story().state(2, 1, 5)], 5);
    breaks("one order", vec![story().state(2, 0, 0).state(2, 1, 5)], 5);
}

#[test]
fn a_falling_seq_is_found() {
    breaks("seq rises", vec![ann().state(2, 1, 5)], 8);
    breaks("seq rises", vec![ann().state(2, 2, 8)], 8);
}

#[test]
fn two_values_for_one_seq_are_found() {
    let other = Story::of("Ben").welcome(1, 2, None).state(1, 2, 7);
    breaks("one value per seq", vec![ann(), other], 8);
}

#[test]
fn a_value_that_is_shown_and_taken_back_is_found() {
    let later = Story::of("Ben").welcome(1, 1, None).state(1, 1, 5);
    breaks("nothing is taken back", vec![ann(), later], 8);
    let only_its_state = Story::of("Ben").welcome(1, 2, None).state(1, 1, 5);
    breaks("nothing is taken back", vec![ann(), only_its_state], 8);
    let acked = ann().plus(2, 3, 1).ack(2, 3, 3).welcome(3, 2, Some(2));
    breaks("nothing is taken back", vec![acked], 9);
    // Who began to connect before it was shown may come in earlier.
    let (early, ann) = (Story::of("Ben").begin(1), ann());
    passes(vec![ann, early.welcomed(1, 2, None, &[]).state(1, 2, 8)], 8);
}

#[test]
fn a_state_before_the_ack_of_its_action_is_found() {
    let late = ann().plus(2, 3, 1).state(2, 3, 9).ack(2, 3, 3);
    breaks("ack before its state", vec![late], 9);
}

#[test]
fn an_ack_for_another_position_is_found() {
    let acked = || ann().plus(2, 3, 1).ack(2, 3, 4);
    let ben = Story::of("Ben").begin(1);
    let ann = acked().state(2, 5, 9);
    passes(vec![ann, ben.welcomed(1, 3, None, &[]).state(1, 3, 8)], 9);
    let ben = Story::of("Ben").begin(1);
    let ann = acked().state(2, 5, 9);
    let early = ben.welcomed(1, 3, None, &[]).state(1, 3, 9);
    breaks("each state is the sum", vec![ann, early], 9);
    breaks("each state is the sum", vec![acked().state(2, 4, 8)], 9);
}

/// The answer is lost, but what others saw says where the action stands.
#[test]
fn an_open_action_may_stand_where_it_can_and_nowhere_else() {
    let ben = |value| {
        let story = Story::of("Ben").welcome(1, 0, None).state(1, 0, 0).plus(1, 1, 2).ack(1, 1, 1);
        story.state(1, 1, 2).plus(1, 2, 4).state(1, 3, value)
    };
    let decided = |story: Story| story.welcome(2, 4, Some(2));
    passes(vec![decided(ben(2)).state(2, 4, 6)], 6);
    passes(vec![decided(ben(6)).state(2, 4, 6)], 6);
    breaks("each state is the sum", vec![decided(ben(10)).state(2, 4, 6)], 6);
    breaks("each state is the sum", vec![decided(ben(2)).state(2, 4, 2)], 6);
}

#[test]
fn a_new_epoch_is_found() {
    let mut anew = Story::of("Ben").welcome(1, 5, None);
    let welcome = anew.0.records.last_mut().expect("a record");
    let What::Welcome(welcome) = &mut welcome.what else { panic!("the last is the welcome") };
    welcome.epoch = "another".into();
    breaks("one epoch", vec![ann(), anew], 8);
}

#[test]
fn what_is_taken_from_a_connection_whose_place_was_taken_is_found() {
    let both = ann().plus(1, 3, 1).ack(1, 3, 3);
    breaks("one identity, one place", vec![both], 9);
    // What was sent before may be answered after.
    let before = Story::of("Ann").welcome(1, 0, None).plus(1, 1, 5).welcome(2, 1, Some(1));
    passes(vec![before.ack(1, 1, 1)], 5);
}

#[test]
fn what_comes_before_welcome_or_is_no_message_is_found() {
    breaks("welcome first", vec![ann().begin(3).state(3, 2, 8)], 8);
    breaks("welcome first", vec![ann().welcomed(2, 2, Some(2), &[])], 8);
    breaks("nothing odd", vec![ann().told(2, r#"{"type":"news"}"#)], 8);
    breaks("nothing odd", vec![ann().told(2, r#"{"type":"ack","seq":1}"#)], 8);
    breaks("nothing odd", vec![ann().add(2, What::Ended(Some(1002)))], 8);
    breaks("nothing odd", vec![ann().refused(2, 2, "forgotten", false)], 8);
}

#[test]
fn classic_readers_see_values_of_the_one_order() {
    let cid = || Story::of("Cid").begin(1);
    let before = cid();
    passes(vec![ann(), before.value(1, 0).value(1, 5).value(1, 8)], 8);
    let before = cid();
    breaks("classic readers see the order", vec![ann(), before.value(1, 5).value(1, 0)], 8);
    passes(vec![ann(), cid().value(1, 8)], 8);
    breaks("classic readers see the order", vec![ann(), cid().value(1, 5)], 8);
    breaks("classic readers see the order", vec![ann(), cid().value(1, 8).value(1, 8)], 8);
}
