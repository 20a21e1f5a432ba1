//! What is compared: the servers, the loads, and what is expected of them. Read from TOML, with all
//! mistakes told at once, before anything runs.

mod fields;
pub mod metric;
pub mod options;
#[cfg(test)]
mod tests;

use self::fields::{Fields, Problems, Text};
use statesync::config::{ConfigErrors, Source, suggestion};
use std::collections::BTreeMap;
use toml::{Spanned, de::DeTable};

/// Far more than anybody waits for.
const MOST_ROUNDS: usize = 1_000;

/// Servers and loads, checked: every name in it is that of something.
#[derive(Debug)]
pub struct Plan {
    /// How often everything is measured.
    pub rounds: usize,
    pub servers: Vec<Server>,
    pub loads: Vec<Load>,
}

/// A program that prints its URL when it listens.
#[derive(Debug)]
pub struct Server {
    pub name: String,
    /// Commands to be run once before it is started.
    pub install: Vec<Vec<String>>,
    /// The program and its arguments.
    pub command: Vec<String>,
    pub environment: BTreeMap<String, String>,
}

/// What servers are measured under.
#[derive(Debug)]
pub struct Load {
    pub name: String,
    /// The same in words.
    pub about: String,
    /// Options of `bench`.
    pub options: Vec<String>,
    pub cases: Vec<Case>,
    pub goals: Vec<Goal>,
}

impl Load {
    /// Its name, and what it is in words.
    pub fn title(&self) -> String {
        match self.about == self.name {
            true => self.name.clone(),
            false => format!("{}: {}", self.name, self.about),
        }
    }

    /// Its options, in a line.
    pub fn options_text(&self) -> String {
        match self.options.is_empty() {
            true => "none".to_owned(),
            false => self.options.join(" "),
        }
    }
}

/// A server under a load.
#[derive(Debug)]
pub struct Case {
    pub name: String,
    /// The server's place in [`Plan::servers`].
    pub server: usize,
    /// Options of `bench` after the load's.
    pub options: Vec<String>,
    /// Appended to the URL that the server prints.
    pub path: String,
    /// Added to the server's.
    pub environment: BTreeMap<String, String>,
}

/// What is expected of a case.
#[derive(Debug)]
pub struct Goal {
    /// A few words for tables.
    pub about: String,
    /// A JSON pointer into [an outcome](super::super::outcome) (RFC 6901), to a number, or a boolean, which counts as 1 or 0.
    pub metric: String,
    /// The case's name.
    pub case: String,
    pub reference: Reference,
    pub at_least: Option<f64>,
    pub at_most: Option<f64>,
}

/// What a goal's number is compared with, in the same round.
#[derive(Debug, PartialEq)]
pub enum Reference {
    Nothing,
    /// It is divided by this case's.
    Over(String),
    /// This case's is taken off.
    Minus(String),
}

impl Plan {
    /// Leaves out all loads but those of these names. Tells a name that there is none of.
    pub fn keep_only(&mut self, names: &[String]) -> Result<(), String> {
        let known: Vec<&str> = self.loads.iter().map(|load| load.name.as_str()).collect();
        if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
            let meant = suggestion(unknown, known.iter().copied());
            let known = known.join(", ");
            return Err(format!("--only: there is no {unknown:?}{meant}; known are {known}"));
        }
        self.loads.retain(|load| names.contains(&load.name));
        Ok(())
    }

    /// Reads a plan; messages call the file `name`.
    pub fn parse(name: &str, text: &str) -> Result<Plan, ConfigErrors> {
        let source = Source::new(name, text);
        let root = source.parse().map_err(ConfigErrors::sorted)?;
        let mut problems = Problems::new(source);
        let plan = plan(&mut problems, root);
        match problems.found.is_empty() {
            true => Ok(plan),
            false => Err(ConfigErrors::sorted(problems.found)),
        }
    }
}

fn plan<'i>(problems: &mut Problems<'i>, root: DeTable<'i>) -> Plan {
    let mut fields = Fields::new(problems, "", (0, root));
    let rounds = fields.count("rounds", 1, MOST_ROUNDS).unwrap_or(1);
    let mut servers: Vec<Server> = Vec::new();
    let server_tables = fields.tables("server");
    let load_tables = fields.tables("load");
    for (key, tables) in [("server", &server_tables), ("load", &load_tables)] {
        if tables.is_empty() {
            fields.wrong(0, key, format!("there is none: write [[{key}]] with a name"));
        }
    }
    for table in server_tables {
        let taken: Vec<&str> = servers.iter().map(|server| server.name.as_str()).collect();
        let server = server(Fields::new(fields.problems(), "server", table), &taken);
        servers.push(server);
    }
    let mut loads: Vec<Load> = Vec::new();
    for table in load_tables {
        let taken: Vec<&str> = loads.iter().map(|load| load.name.as_str()).collect();
        let load = load(Fields::new(fields.problems(), "load", table), &taken, &servers);
        loads.push(load);
    }
    fields.finish();
    Plan { rounds, servers, loads }
}

fn server(mut fields: Fields<'_, '_>, taken: &[&str]) -> Server {
    let name = fields.needed_text("name", "\"what the tables call it\"");
    let name = own_name(&mut fields, name, taken);
    let install = fields.commands("install");
    let command = fields.texts("command").map(Spanned::into_inner).unwrap_or_default();
    if command.is_empty() {
        let message = "missing: write command = [\"program\", \"argument\"]";
        fields.wrong(fields.offset(), "command", message);
    }
    let environment = fields.environment("environment");
    fields.finish();
    Server { name, install, command, environment }
}

fn load(mut fields: Fields<'_, '_>, taken: &[&str], servers: &[Server]) -> Load {
    let name = fields.needed_text("name", "\"what --only calls it\"");
    let name = own_name(&mut fields, name, taken);
    let about = fields.text("about").map_or_else(|| name.clone(), Spanned::into_inner);
    let options = fields.texts("options");
    let options_offset = options.as_ref().map_or(fields.offset(), |options| options.span().start);
    let options = options.map(Spanned::into_inner).unwrap_or_default();
    if let Err(message) = options::check(&options) {
        fields.wrong(options_offset, "options", message);
    }
    let mut cases: Vec<Case> = Vec::new();
    for table in fields.tables("case") {
        let taken: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
        let fields = Fields::new(fields.problems(), "load.case", table);
        let case = case(fields, &taken, &options, servers);
        cases.push(case);
    }
    if cases.is_empty() {
        fields.wrong(fields.offset(), "case", "there is none: write [[load.case]] with a server");
    }
    let mut goals = Vec::new();
    for table in fields.tables("goal") {
        goals.push(goal(Fields::new(fields.problems(), "load.goal", table), &cases));
    }
    fields.finish();
    Load { name, about, options, cases, goals }
}

fn case(
    mut fields: Fields<'_, '_>,
    taken: &[&str],
    load_options: &[String],
    servers: &[Server],
) -> Case {
    let server = fields.needed_text("server", "\"the name of a [[server]]\"");
    let name = fields.text("name").or_else(|| server.clone());
    let name = own_name(&mut fields, name, taken);
    let known: Vec<&str> = servers.iter().map(|server| server.name.as_str()).collect();
    let server = server.and_then(|server| named(&mut fields, "server", &server, &known));
    let options = fields.texts("options");
    let offset = options.as_ref().map(|options| options.span().start);
    let options = options.map(Spanned::into_inner).unwrap_or_default();
    // The load's own are told at the load.
    if let (Some(offset), Ok(())) = (offset, options::check(load_options))
        && let Err(message) = options::check(&[load_options, &options].concat())
    {
        fields.wrong(offset, "options", message);
    }
    let path = fields.text("path");
    if let Some(wrong) = path.as_ref().filter(|path| !path.get_ref().starts_with('/')) {
        fields.wrong(wrong.span().start, "path", "a path begins with \"/\"");
    }
    let path = path.map_or_else(|| "/".to_owned(), Spanned::into_inner);
    let environment = fields.environment("environment");
    fields.finish();
    Case { name, server: server.unwrap_or_default(), options, path, environment }
}

fn goal(mut fields: Fields<'_, '_>, cases: &[Case]) -> Goal {
    let known: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    let metric = fields.needed_text("metric", "\"/traffic/events_per_s\"");
    if let Some(metric) = &metric
        && let Err(message) = metric::check(metric.get_ref())
    {
        fields.wrong(metric.span().start, "metric", message);
    }
    let metric = metric.map(Spanned::into_inner).unwrap_or_default();
    let about = fields.text("about").map_or_else(|| metric.clone(), Spanned::into_inner);
    let case = fields.needed_text("case", "\"the name of a case\"");
    let over = fields.text("over");
    let minus = fields.text("minus");
    for (key, value) in [("case", &case), ("over", &over), ("minus", &minus)] {
        if let Some(value) = value {
            named(&mut fields, key, value, &known);
        }
    }
    if let (Some(_), Some(minus)) = (&over, &minus) {
        fields.wrong(minus.span().start, "minus", "either over or minus, not both");
    }
    let reference = match (over, minus) {
        (Some(over), _) => Reference::Over(over.into_inner()),
        (None, Some(minus)) => Reference::Minus(minus.into_inner()),
        (None, None) => Reference::Nothing,
    };
    let (at_least, at_most) = (fields.number("at_least"), fields.number("at_most"));
    match (at_least, at_most) {
        (None, None) => fields.wrong(fields.offset(), "at_least", "missing, and at_most, too"),
        (Some(least), Some(most)) if least > most => {
            fields.wrong(
                fields.offset(),
                "at_least",
                "nothing is at least that and at most at_most",
            );
        }
        _ => {}
    }
    let case = case.map(Spanned::into_inner).unwrap_or_default();
    fields.finish();
    Goal { about, metric, case, reference, at_least, at_most }
}

/// A name that nothing else of the kind has.
fn own_name(fields: &mut Fields<'_, '_>, name: Option<Text>, taken: &[&str]) -> String {
    let Some(name) = name else { return String::new() };
    if taken.contains(&name.get_ref().as_str()) {
        let message = format!("{:?} is there already: names must differ", name.get_ref());
        fields.wrong(name.span().start, "name", message);
    }
    name.into_inner()
}

/// The place of `name` among `known`.
fn named(
    fields: &mut Fields<'_, '_>,
    key: &'static str,
    name: &Text,
    known: &[&str],
) -> Option<usize> {
    let place = known.iter().position(|known| known == name.get_ref());
    if place.is_none() {
        let meant = suggestion(name.get_ref(), known.iter().copied());
        let known = known.join(", ");
        let message = format!("there is no {:?}{meant}; known are {known}", name.get_ref());
        fields.wrong(name.span().start, key, message);
    }
    place
}
