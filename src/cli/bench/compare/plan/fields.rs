//! The keys of one table, asked for one after the other. Those that nobody asked for are unknown.

use statesync::config::{Problem, Source, found, suggestion};
use std::collections::BTreeMap;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// A value, with the bytes where it stands.
pub type Text = Spanned<String>;

/// Where the file's problems are collected.
pub struct Problems<'i> {
    source: Source<'i>,
    pub found: Vec<Problem>,
}

impl<'i> Problems<'i> {
    pub fn new(source: Source<'i>) -> Self {
        Self { source, found: Vec::new() }
    }

    /// Adds one, about the `key` at this byte.
    pub fn add(&mut self, offset: usize, key: &str, message: impl Into<String>) {
        let place = self.source.place(offset);
        self.found.push(Problem { place, key: key.to_owned(), message: message.into() });
    }
}

/// A table whose keys are asked for. [`Fields::finish`] tells the unknown ones.
pub struct Fields<'p, 'i> {
    problems: &'p mut Problems<'i>,
    /// What the table is called, such as `load.case`; empty for the whole file.
    name: &'static str,
    /// Where it begins.
    offset: usize,
    table: DeTable<'i>,
    asked: Vec<&'static str>,
}

impl<'p, 'i> Fields<'p, 'i> {
    pub fn new(
        problems: &'p mut Problems<'i>,
        name: &'static str,
        (offset, table): (usize, DeTable<'i>),
    ) -> Self {
        Self { problems, name, offset, table, asked: Vec::new() }
    }

    /// Where the table begins.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Says that something is wrong with the value of a key.
    pub fn wrong(&mut self, offset: usize, key: &str, message: impl Into<String>) {
        let key = self.full(key);
        self.problems.add(offset, &key, message);
    }

    fn full(&self, key: &str) -> String {
        [self.name, key]
            .iter()
            .filter(|part| !part.is_empty())
            .copied()
            .collect::<Vec<_>>()
            .join(".")
    }

    fn take(&mut self, key: &'static str) -> Option<Spanned<DeValue<'i>>> {
        self.asked.push(key);
        self.table.remove(key)
    }

    /// A value, if the key is there and `convert` takes it.
    fn read<T>(
        &mut self,
        key: &'static str,
        want: &str,
        convert: impl Fn(&DeValue<'_>) -> Option<T>,
    ) -> Option<Spanned<T>> {
        let value = self.take(key)?;
        let span = value.span();
        match convert(value.get_ref()) {
            Some(converted) => Some(Spanned::new(span, converted)),
            None => {
                let message = format!("want {want}, found {}", found(value.get_ref()));
                self.wrong(span.start, key, message);
                None
            }
        }
    }

    /// A text that may be missing.
    pub fn text(&mut self, key: &'static str) -> Option<Text> {
        self.read(key, "a string", text)
    }

    /// A text that must be there, and not be empty.
    pub fn needed_text(&mut self, key: &'static str, example: &str) -> Option<Text> {
        if !self.table.contains_key(key) {
            self.asked.push(key);
            self.wrong(self.offset, key, format!("missing: write {key} = {example}"));
            return None;
        }
        let text = self.text(key)?;
        if text.get_ref().trim().is_empty() {
            self.wrong(text.span().start, key, format!("empty: write {key} = {example}"));
        }
        Some(text)
    }

    /// A list of texts, such as a command; empty if it is missing.
    pub fn texts(&mut self, key: &'static str) -> Option<Spanned<Vec<String>>> {
        self.read(key, "a list of strings", texts)
    }

    /// A list of commands.
    pub fn commands(&mut self, key: &'static str) -> Vec<Vec<String>> {
        let want = "a list of commands, each a list of strings that is not empty";
        let commands = |value: &DeValue<'_>| list(value, command);
        self.read(key, want, commands).map(Spanned::into_inner).unwrap_or_default()
    }

    /// A table of texts.
    pub fn environment(&mut self, key: &'static str) -> BTreeMap<String, String> {
        let want = "a table of strings, such as { NAME = \"value\" }";
        self.read(key, want, variables).map(Spanned::into_inner).unwrap_or_default()
    }

    /// Any number.
    pub fn number(&mut self, key: &'static str) -> Option<f64> {
        self.read(key, "a number", number).map(Spanned::into_inner)
    }

    /// A whole number in these limits.
    pub fn count(&mut self, key: &'static str, least: usize, most: usize) -> Option<usize> {
        let count = |value: &DeValue<'_>| match value {
            DeValue::Integer(number) => number.as_str().replace('_', "").parse().ok(),
            _ => None,
        };
        let in_limits = |count: &usize| (least..=most).contains(count);
        let want = format!("a whole number from {least} to {most}");
        self.read(key, &want, |value| count(value).filter(in_limits)).map(Spanned::into_inner)
    }

    /// The tables `[[key]]`, each with the byte where it begins.
    pub fn tables(&mut self, key: &'static str) -> Vec<(usize, DeTable<'i>)> {
        let Some(value) = self.take(key) else { return Vec::new() };
        let start = value.span().start;
        let full = self.full(key);
        let DeValue::Array(list) = value.into_inner() else {
            self.wrong(start, key, format!("want tables: write [[{full}]], with two brackets"));
            return Vec::new();
        };
        let mut tables = Vec::new();
        for element in list {
            let start = element.span().start;
            match element.into_inner() {
                DeValue::Table(table) => tables.push((start, table)),
                other => {
                    let message = format!("want a table, [[{full}]], found {}", found(&other));
                    self.wrong(start, key, message);
                }
            }
        }
        tables
    }

    /// What is collected so far, to go on with a table inside this one.
    pub fn problems(&mut self) -> &mut Problems<'i> {
        self.problems
    }

    /// Tells what nobody asked for.
    pub fn finish(mut self) {
        for key in std::mem::take(&mut self.table).keys() {
            let meant = suggestion(key.get_ref(), self.asked.iter().copied());
            let message = format!("unknown key{meant}; known are {}", self.asked.join(", "));
            self.wrong(key.span().start, key.get_ref(), message);
        }
    }
}

fn text(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        _ => None,
    }
}

fn list<T>(value: &DeValue<'_>, item: fn(&DeValue<'_>) -> Option<T>) -> Option<Vec<T>> {
    match value {
        DeValue::Array(items) => items.iter().map(|value| item(value.get_ref())).collect(),
        _ => None,
    }
}

fn texts(value: &DeValue<'_>) -> Option<Vec<String>> {
    list(value, text)
}

fn command(value: &DeValue<'_>) -> Option<Vec<String>> {
    texts(value).filter(|words| !words.is_empty())
}

fn variables(value: &DeValue<'_>) -> Option<BTreeMap<String, String>> {
    let DeValue::Table(table) = value else { return None };
    let pair = |(name, value): (&Spanned<std::borrow::Cow<'_, str>>, &Spanned<DeValue<'_>>)| {
        Some((name.get_ref().to_string(), text(value.get_ref())?))
    };
    table.iter().map(pair).collect()
}

fn number(value: &DeValue<'_>) -> Option<f64> {
    let number: f64 = match value {
        DeValue::Integer(number) => number.as_str().replace('_', "").parse().ok()?,
        DeValue::Float(number) => number.as_str().replace('_', "").parse().ok()?,
        _ => return None,
    };
    number.is_finite().then_some(number)
}
