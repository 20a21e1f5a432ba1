//! Takes settings from the file and from the environment, and collects every problem on the way.
//!
//! Each key is asked for exactly once; what is left over when all have been asked for is unknown.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    ops::Range,
};

use toml::{
    Spanned,
    de::{DeArray, DeTable, DeValue},
};

use super::{Place, Problem, value::suggestion};

/// What every variable of this program begins with.
const PREFIX: &str = "STATESYNC__";

/// A key that holds tables in a list, which the environment cannot set.
const ROOM: &str = "room";

/// A value that is not what the key wants.
pub(super) struct Fault {
    /// The part of the TOML text that is wrong.
    pub(super) span: Range<usize>,
    pub(super) message: String,
}

/// The TOML type that a key wants. An environment variable is read as TOML if that gives this
/// type, else it is taken as it stands.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Wanted {
    Number,
    Text,
    Flag,
    /// A list of texts; one text is a list of one, and in a variable commas separate.
    List,
}

/// The values a number, a size or a length of time may have.
pub(super) struct Limit<T> {
    pub(super) least: T,
    pub(super) most: T,
    /// Why these: ends the message for a value outside.
    pub(super) reason: &'static str,
}

impl<T: PartialOrd> Limit<T> {
    /// Refuses a value outside, with the limits as `show` writes them.
    pub(super) fn check<S: Display>(&self, value: T, show: impl Fn(&T) -> S) -> Result<T, String> {
        if (&self.least..=&self.most).contains(&&value) {
            return Ok(value);
        }
        Err(self.outside(show(&value), show))
    }

    /// The message for a value outside.
    pub(super) fn outside<S: Display>(
        &self,
        value: impl Display,
        show: impl Fn(&T) -> S,
    ) -> String {
        let (least, most) = (show(&self.least), show(&self.most));
        format!("{value} is out of range: want {least} to {most}; {}", self.reason)
    }
}

/// Text of a TOML file, to turn byte offsets into places.
#[derive(Clone, Copy)]
pub struct Source<'i> {
    name: &'i str,
    text: &'i str,
}

impl<'i> Source<'i> {
    /// The text of the file that messages call `name`.
    pub fn new(name: &'i str, text: &'i str) -> Source<'i> {
        Source { name, text }
    }

    /// All keys with their places, or everything that is not TOML.
    pub fn parse(&self) -> Result<DeTable<'i>, Vec<Problem>> {
        let (root, errors) = DeTable::parse_recoverable(self.text);
        match errors.is_empty() {
            true => Ok(root.into_inner()),
            // What the parser guessed after a syntax error would only raise false alarms.
            false => Err(errors.iter().map(|error| syntax_problem(*self, error)).collect()),
        }
    }

    /// Where the byte at `offset` stands.
    pub fn place(&self, offset: usize) -> Place {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.matches('\n').count() + 1;
        let column = before.get(line_start..).unwrap_or("").chars().count() + 1;
        Place::position(self.name, line, column)
    }
}

/// What is still to be taken from the file and from the environment.
pub(super) struct Reader<'i> {
    pub(super) source: Source<'i>,
    root: DeTable<'i>,
    /// Sections inside sections, by their full names.
    set_aside: BTreeMap<&'static str, Spanned<DeValue<'i>>>,
    /// All of the environment: a key may name a variable.
    environment: BTreeMap<String, String>,
    /// Those of ours that no key has taken.
    variables: BTreeMap<String, String>,
    /// Every key that was asked for, by section, in the order asked.
    known: Vec<(&'static str, Vec<&'static str>)>,
    /// Keys that nobody asked for: section (empty for the top level), key, offset.
    unknown: Vec<(&'static str, String, usize)>,
    /// Where each key that is set stands; the one that won.
    places: BTreeMap<String, Place>,
    faulty: BTreeSet<String>,
    syntax_is_broken: bool,
    pub(super) problems: Vec<Problem>,
}

impl<'i> Reader<'i> {
    pub(super) fn new(
        name: &'i str,
        text: &'i str,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Reader<'i> {
        let source = Source::new(name, text);
        let (root, problems) = match source.parse() {
            Ok(root) => (root, Vec::new()),
            Err(problems) => (DeTable::new(), problems),
        };
        let syntax_is_broken = !problems.is_empty();
        let environment: BTreeMap<String, String> = environment.into_iter().collect();
        let ours = |(name, _): &(&String, &String)| name.starts_with(PREFIX);
        let variables = environment.iter().filter(ours);
        Reader {
            source,
            root,
            set_aside: BTreeMap::new(),
            variables: variables.map(|(name, value)| (name.clone(), value.clone())).collect(),
            environment,
            known: Vec::new(),
            unknown: Vec::new(),
            places: BTreeMap::new(),
            faulty: BTreeSet::new(),
            syntax_is_broken,
            problems,
        }
    }

    /// The section `[name]`, with no keys if the file does not have it. One inside another must
    /// have been [set aside](Section::set_aside).
    pub(super) fn section(&mut self, name: &'static str) -> Section<'_, 'i> {
        self.known.push((name, Vec::new()));
        let value = self.set_aside.remove(name).or_else(|| self.root.remove(name));
        let table = match value.map(|v| (v.span(), v.into_inner())) {
            Some((_, DeValue::Table(table))) => table,
            Some((span, other)) => {
                let message = format!("want a section, [{name}], found {}", found(&other));
                self.add(self.source.place(span.start), name, message);
                DeTable::new()
            }
            None => DeTable::new(),
        };
        Section { reader: self, name, table }
    }

    /// The tables `[[room]]`, each with the offset where it begins; `None` if the file has none.
    pub(super) fn rooms(&mut self) -> Option<Vec<(usize, DeTable<'i>)>> {
        let value = self.root.remove(ROOM)?;
        let place = self.source.place(value.span().start);
        let problems = self.problems.len();
        let tables = self.tables_in(ROOM, value);
        if tables.as_ref().is_some_and(Vec::is_empty) && self.problems.len() == problems {
            self.add(place, ROOM, "the list is empty: leave it out to get the default rooms");
        }
        Some(tables.unwrap_or_default())
    }

    /// The tables in a list, each with the offset where it begins.
    fn tables_in(
        &mut self,
        key: &str,
        value: Spanned<DeValue<'i>>,
    ) -> Option<Vec<(usize, DeTable<'i>)>> {
        let start = value.span().start;
        let DeValue::Array(list) = value.into_inner() else {
            let message = format!("want a list of tables: write [[{key}]], with two brackets");
            self.add(self.source.place(start), key, message);
            return None;
        };
        let mut tables = Vec::new();
        for element in list {
            let start = element.span().start;
            match element.into_inner() {
                DeValue::Table(table) => tables.push((start, table)),
                other => {
                    let message = format!("want a table, [[{key}]], found {}", found(&other));
                    self.add(self.source.place(start), key, message);
                }
            }
        }
        Some(tables)
    }

    /// The value of a variable that a key names.
    pub(super) fn variable(&mut self, name: &str) -> Option<String> {
        self.variables.remove(name);
        self.environment.get(name).cloned()
    }

    /// Whether something is wrong with this key, or below it.
    pub(super) fn has_problem_with(&self, key: &str) -> bool {
        self.problems.iter().any(|problem| problem.key.starts_with(key))
    }

    pub(super) fn add(&mut self, place: Place, key: &str, message: impl Into<String>) {
        self.problems.push(Problem { place, key: key.to_owned(), message: message.into() });
    }

    /// Reports that the values of two keys do not go together, at the one that was set; not if
    /// one of them is wrong by itself.
    pub(super) fn contradiction(&mut self, key: &str, other: &str, message: String) {
        if self.syntax_is_broken || self.faulty.contains(key) || self.faulty.contains(other) {
            return;
        }
        let set = self.places.get(key).or_else(|| self.places.get(other));
        let place = set.cloned().unwrap_or_default();
        self.add(place, key, message);
    }

    /// Reports what nobody asked for, and gives all problems.
    pub(super) fn finish(mut self) -> Vec<Problem> {
        let top_level = std::mem::take(&mut self.root);
        for key in top_level.keys() {
            let name = key.get_ref().to_string();
            self.unknown.push(("", name, key.span().start));
        }
        for (section, key, offset) in std::mem::take(&mut self.unknown) {
            let message = self.unknown_key(section, &key);
            let full = match section {
                "" => key,
                _ => format!("{section}.{key}"),
            };
            self.add(self.source.place(offset), &full, message);
        }
        for name in std::mem::take(&mut self.variables).into_keys() {
            let message = self.unknown_variable(&name);
            self.add(Place::variable(&name), "", message);
        }
        self.problems
    }

    fn unknown_key(&self, section: &str, key: &str) -> String {
        if let Some((right, _)) = self.known.iter().find(|(_, keys)| keys.contains(&key)) {
            return format!("unknown key; {key} belongs under [{right}]");
        }
        let inner = self.known.iter().find_map(|(name, _)| Some((*name, name.split_once('.')?.1)));
        if let Some((right, _)) = inner.filter(|(_, name)| *name == key) {
            return format!("unknown section; write [{right}]");
        }
        let here = self.known.iter().find(|(name, _)| *name == section);
        let (what, known): (_, Vec<&str>) = match here {
            Some((_, keys)) => ("key", keys.clone()),
            None => ("section", self.sections().collect()),
        };
        let meant = suggestion(key, known.iter().copied());
        format!("unknown {what}{meant}; known are {}", known.join(", "))
    }

    fn sections(&self) -> impl Iterator<Item = &'static str> {
        let names = self.known.iter().map(|(name, _)| *name);
        names.filter(|name| !name.contains('.')).chain([ROOM])
    }

    fn unknown_variable(&self, name: &str) -> String {
        let rest = name.strip_prefix(PREFIX).unwrap_or(name);
        if rest.split("__").next() == Some("ROOM") {
            return "rooms cannot be set by environment: write [[room]] in a file".into();
        }
        if rest.starts_with("AUTH__TOKEN") {
            return "tokens cannot be set so: write [[auth.token]] in a file, with token_variable = \
                    \"NAME\" for an environment variable that has the token"
                .into();
        }
        let all: Vec<String> = self.known_variables().collect();
        let meant = suggestion(name, all.iter().map(String::as_str));
        let section = rest.split("__").next().unwrap_or(rest);
        let prefix = format!("{PREFIX}{section}__");
        let of_section = all.iter().filter(|known| known.starts_with(&prefix));
        let mut known: Vec<&str> = of_section.map(String::as_str).collect();
        if known.is_empty() {
            known = all.iter().map(String::as_str).collect();
        }
        format!("unknown variable{meant}; known are {}", known.join(", "))
    }

    #[cfg(test)]
    pub(super) fn known_keys(&self) -> Vec<String> {
        let pairs = |(section, keys): &(&str, Vec<&str>)| {
            keys.iter().map(|key| format!("{section}.{key}")).collect::<Vec<_>>()
        };
        self.known.iter().flat_map(pairs).collect()
    }

    fn known_variables(&self) -> impl Iterator<Item = String> {
        let pairs = |(section, keys): &(&'static str, Vec<&'static str>)| {
            let section = *section;
            let name = move |key: &&'static str| variable_name(section, key);
            keys.iter().map(name).collect::<Vec<_>>()
        };
        self.known.iter().flat_map(pairs)
    }
}

/// One section, whose keys are asked for one after the other. Those left when it is dropped are
/// unknown.
pub(super) struct Section<'r, 'i> {
    reader: &'r mut Reader<'i>,
    name: &'static str,
    table: DeTable<'i>,
}

impl<'i> Section<'_, 'i> {
    /// Keeps the section inside this one that stands under `key` for later, when it is asked for
    /// by its full `name`.
    pub(super) fn set_aside(&mut self, key: &str, name: &'static str) {
        if let Some(value) = self.table.remove(key) {
            self.reader.set_aside.insert(name, value);
        }
    }

    /// The tables `[[section.key]]`, each with the offset where it begins.
    pub(super) fn tables(&mut self, key: &'static str) -> Vec<(usize, DeTable<'i>)> {
        let Some(value) = self.table.remove(key) else { return Vec::new() };
        self.reader.tables_in(&format!("{}.{key}", self.name), value).unwrap_or_default()
    }

    /// Where a key that was read stands; the program if it is not set.
    pub(super) fn place_of(&self, key: &str) -> Place {
        let full = format!("{}.{key}", self.name);
        self.reader.places.get(&full).cloned().unwrap_or_default()
    }

    /// The value of a key: from the environment, else from the file, else `default`. Both are
    /// checked if both are there.
    pub(super) fn read<T>(
        &mut self,
        key: &'static str,
        wanted: Wanted,
        default: T,
        convert: impl Fn(&Spanned<DeValue<'_>>) -> Result<T, Vec<Fault>>,
    ) -> T {
        if let Some((_, keys)) = self.reader.known.last_mut() {
            keys.push(key);
        }
        let mut result = default;
        if let Some(value) = self.table.remove(key) {
            let source = self.reader.source;
            let place = |offset| source.place(offset);
            self.take(key, &value, convert(&value), place, &mut result);
        }
        let variable = variable_name(self.name, key);
        if let Some(raw) = self.reader.variables.remove(&variable) {
            let value = variable_value(&raw, wanted);
            let place = |_| Place::variable(&variable);
            self.take(key, &value, convert(&value), place, &mut result);
        }
        result
    }

    fn take<T>(
        &mut self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        converted: Result<T, Vec<Fault>>,
        place: impl Fn(usize) -> Place,
        result: &mut T,
    ) {
        let full = format!("{}.{key}", self.name);
        let at = place(value.span().start);
        self.reader.places.insert(full.clone(), at);
        match converted {
            Ok(converted) => *result = converted,
            Err(faults) => {
                for fault in faults {
                    self.reader.add(place(fault.span.start), &full, fault.message);
                }
                self.reader.faulty.insert(full);
            }
        }
    }
}

impl Drop for Section<'_, '_> {
    fn drop(&mut self) {
        for key in self.table.keys() {
            let unknown = (self.name, key.get_ref().to_string(), key.span().start);
            self.reader.unknown.push(unknown);
        }
    }
}

/// A value for a message: its type, and itself if it is short.
pub fn found(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the string {text:?}"),
        DeValue::Integer(number) => format!("the number {number}"),
        DeValue::Float(number) => format!("the number {number}"),
        DeValue::Boolean(value) => format!("the boolean {value}"),
        DeValue::Datetime(date) => format!("the date {date}"),
        DeValue::Array(_) => "a list".into(),
        DeValue::Table(_) => "a table".into(),
    }
}

fn variable_name(section: &str, key: &str) -> String {
    format!("{PREFIX}{section}__{key}").replace('.', "__").to_ascii_uppercase()
}

fn variable_value(raw: &str, wanted: Wanted) -> Spanned<DeValue<'_>> {
    if let Ok(value) = DeValue::parse(raw.trim()) {
        let fits = match value.get_ref() {
            DeValue::Integer(_) => wanted == Wanted::Number,
            DeValue::String(_) => matches!(wanted, Wanted::Text | Wanted::List),
            DeValue::Boolean(_) => wanted == Wanted::Flag,
            DeValue::Array(_) => wanted == Wanted::List,
            _ => false,
        };
        if fits {
            return value;
        }
    }
    let text = |part: &str| Spanned::new(0..0, DeValue::String(part.trim().to_owned().into()));
    match wanted {
        Wanted::List if raw.trim().is_empty() => Spanned::new(0..0, DeValue::Array(DeArray::new())),
        Wanted::List => {
            let parts = raw.split(',').map(text).collect();
            Spanned::new(0..0, DeValue::Array(parts))
        }
        Wanted::Number | Wanted::Text | Wanted::Flag => text(raw),
    }
}

fn syntax_problem(source: Source<'_>, error: &toml::de::Error) -> Problem {
    let offset = error.span().map_or(source.text.len(), |span| span.start);
    let line = source.text.get(..offset).unwrap_or("").lines().next_back().unwrap_or("");
    let message = match unquoted_value(source.text, offset) {
        // The value is a secret.
        Some(_) if line.trim_start().starts_with("token") => {
            "a string needs quotation marks".to_owned()
        }
        Some(value) => format!("a string needs quotation marks: write \"{value}\""),
        None => error.message().trim_end_matches(", expected nothing").to_owned(),
    };
    Problem {
        place: source.place(offset),
        key: String::new(),
        message: format!("not TOML: {message}"),
    }
}

/// The value at `offset` if it looks like a string whose quotation marks were forgotten: by far
/// the most common mistake, and the parser takes `info` for a float that begins like `inf`.
fn unquoted_value(text: &str, offset: usize) -> Option<&str> {
    let (before, after) = text.split_at_checked(offset)?;
    if !before.trim_end_matches([' ', '\t']).ends_with(['=', '[', ',']) {
        return None;
    }
    let ends = |c: char| c.is_whitespace() || matches!(c, ',' | ']' | '}' | '#');
    let value = after.split(ends).next()?;
    let is_plain = |c: char| c.is_alphanumeric() || "-_.:/*".contains(c);
    let is_text = value.contains(|c: char| c.is_alphabetic() || c == ':');
    (value.chars().all(is_plain) && is_text).then_some(value)
}
