use super::*;

const GOOD: &str = r#"
rounds = 3

[[server]]
name = "ours"
command = ["{statesync}", "serve"]
environment = { STATESYNC__JOURNAL__KIND = "memory" }

[[server]]
name = "theirs"
install = [["make"], ["make", "install"]]
command = ["theirs"]

[[load]]
name = "one"
about = "ten clients, one sender"
options = ["--clients", "10", "--seconds", "1"]

[[load.case]]
server = "ours"
name = "ours, text"
options = ["--protocol", "text", "--seconds", "2"]
path = "/echo"
environment = { A = "b" }

[[load.case]]
server = "theirs"

[[load.goal]]
about = "events"
metric = "/traffic/events_per_s"
case = "ours, text"
over = "theirs"
at_least = 0.9

[[load.goal]]
metric = "/traffic/in_order"
case = "theirs"
at_least = 1

[[load]]
name = "idle"
options = ["--idle"]

[[load.case]]
server = "ours"
"#;

fn problems(text: &str) -> String {
    Plan::parse("plan.toml", text).expect_err("something is wrong").to_string()
}

#[test]
fn a_plan_is_read_with_its_defaults() {
    let plan = Plan::parse("plan.toml", GOOD).expect("nothing is wrong");
    assert_eq!(plan.rounds, 3);
    let [ours, theirs] = &plan.servers[..] else { panic!("two servers: {:?}", plan.servers) };
    assert_eq!(ours.environment["STATESYNC__JOURNAL__KIND"], "memory");
    assert_eq!(theirs.install, [vec!["make"], vec!["make", "install"]]);
    let [one, idle] = &plan.loads[..] else { panic!("two loads: {:?}", plan.loads) };
    assert_eq!((one.about.as_str(), idle.about.as_str()), ("ten clients, one sender", "idle"));
    let [first, second] = &one.cases[..] else { panic!("two cases: {:?}", one.cases) };
    assert_eq!(
        (first.name.as_str(), first.server, first.path.as_str()),
        ("ours, text", 0, "/echo")
    );
    assert_eq!((second.name.as_str(), second.server, second.path.as_str()), ("theirs", 1, "/"));
    let [events, order] = &one.goals[..] else { panic!("two goals: {:?}", one.goals) };
    assert_eq!(events.reference, Reference::Over("theirs".to_owned()));
    assert_eq!(events.at_least, Some(0.9));
    assert_eq!(order.reference, Reference::Nothing);
    assert_eq!(order.about, "/traffic/in_order");
}

#[test]
fn all_mistakes_are_told_at_once_with_their_places() {
    let wrong = r#"round = 3
[[server]]
name = "ours"
command = "serve"
[[server]]
name = "ours"
command = ["x"]
colour = "red"
[[load]]
name = "one"
options = ["--clinets", "10"]
[[load.case]]
server = "our"
path = "echo"
[[load.case]]
server = "ours"
[[load.goal]]
metric = "/traffic/event_per_s"
case = "ours"
over = "thiers"
[[load.goal]]
metric = "/traffic/every"
case = "ours"
over = "ours"
minus = "ours"
at_least = 2
at_most = 1
"#;
    let text = problems(wrong);
    let expected = [
        "plan.toml:1:1: round: unknown key (did you mean \"rounds\"?); known are rounds, server, load",
        "plan.toml:4:11: server.command: want a list of strings, found the string \"serve\"",
        "plan.toml:6:8: server.name: \"ours\" is there already",
        "plan.toml:8:1: server.colour: unknown key",
        "plan.toml:11:11: load.options: unexpected argument '--clinets' found",
        "plan.toml:13:10: load.case.server: there is no \"our\" (did you mean \"ours\"?)",
        "plan.toml:14:8: load.case.path: a path begins with \"/\"",
        "plan.toml:18:10: load.goal.metric: \"/traffic/event_per_s\" is not measured (did you mean \
         \"/traffic/events_per_s\"?); known are",
        "plan.toml:20:8: load.goal.over: there is no \"thiers\"",
        "load.goal.at_least: missing, and at_most, too",
        "plan.toml:22:10: load.goal.metric: \"/traffic/every\" is no single number",
        "plan.toml:25:9: load.goal.minus: either over or minus, not both",
        "load.goal.at_least: nothing is at least that and at most at_most",
    ];
    for line in expected {
        assert!(text.contains(line), "{line:?} is missing:\n{text}");
    }
}

#[test]
fn what_is_no_toml_and_what_is_nothing_is_told() {
    assert!(problems("rounds = three").contains("plan.toml:1:10: not TOML"));
    let nothing = problems("");
    assert!(nothing.contains("server: there is none"), "{nothing}");
    assert!(nothing.contains("load: there is none"), "{nothing}");
    let text = problems("rounds = 0\nserver = 1\nload = [2]");
    for part in ["want a whole number from 1 to", "write [[server]]", "want a table, [[load]]"] {
        assert!(text.contains(part), "{part:?} is missing:\n{text}");
    }
}

#[test]
fn options_that_the_comparison_gives_itself_are_refused() {
    let text = problems(&GOOD.replace("\"--idle\"", "\"--pid=1\""));
    assert!(text.contains("--pid is given by the comparison itself"), "{text}");
    let in_case = problems(&GOOD.replace("\"text\", \"--seconds\"", "\"txet\", \"--seconds\""));
    assert!(
        in_case.contains("plan.toml:22:11: load.case.options: invalid value 'txet'"),
        "{in_case}"
    );
}

#[test]
fn an_option_of_a_case_wins_over_the_loads() {
    let plan = Plan::parse("plan.toml", GOOD).expect("nothing is wrong");
    let options = [plan.loads[0].options.as_slice(), &plan.loads[0].cases[0].options].concat();
    assert_eq!(options::seconds(&options), 2.0 + 2.0, "its own time, and the default warm-up");
}

#[test]
fn a_quick_load_has_few_clients_and_no_more_of_a_kind_than_clients() {
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let cases = [
        ("--clients 10", "--seconds=0.3 --warmup=0.1 --clients=10"),
        ("--clients 1000 --senders 5", "--seconds=0.3 --warmup=0.1 --clients=50"),
        (
            "--clients 1000 --rooms 100 --senders 500 --stall 60 --slow 1 --slow-clients 70",
            "--seconds=0.3 --warmup=0.1 --clients=50 --rooms=50 --senders=12 --stall=12 \
             --slow-clients=12",
        ),
        ("--idle", "--seconds=0.3 --warmup=0.1 --clients=50"),
    ];
    for (options, expected) in cases {
        let quick = options::quick(&words(options));
        assert_eq!(quick.join(" "), expected, "{options}");
        let all = [words(options), quick].concat();
        assert_eq!(options::check(&all), Ok(()), "{options}");
        assert!((options::seconds(&all) - 0.4).abs() < 1e-9, "{options}");
    }
}

#[test]
fn only_some_loads_are_kept_and_unknown_ones_told() {
    let mut plan = Plan::parse("plan.toml", GOOD).expect("nothing is wrong");
    let unknown = plan.keep_only(&["idel".to_owned()]).expect_err("there is none");
    assert_eq!(
        unknown,
        "--only: there is no \"idel\" (did you mean \"idle\"?); known are one, idle"
    );
    assert_eq!(plan.keep_only(&["idle".to_owned()]), Ok(()));
    assert_eq!(plan.loads.len(), 1);
}
