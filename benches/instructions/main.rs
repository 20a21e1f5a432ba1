//! How many instructions the hot paths take: the same number on a busy machine as on an idle one,
//! so that a change of one percent shows. `cargo bench --bench instructions`; needs valgrind.
//!
//! Each case runs in a process of its own under callgrind, which counts what [`counted`] calls, and
//! nothing else: not what the case prepares, not the kernel. That is our code, the crates' and the
//! C library's, built as a release is. `--keep` keeps the counts, and later runs show how far they
//! are from those. What else to ask for: `cargo bench --bench instructions -- --help`.
//!
//! Why not the crate gungraun, which does the same: beside eleven crates it needs a program of its
//! own, of the same version and made of 179 crates, installed by everyone who runs this, and it does
//! not put all cases into one table with the price of one session. What of it is needed here is
//! `callgrind.rs`.

#![forbid(unsafe_code)]

mod apply;
mod callgrind;
mod decode;
mod encode;
mod journal;
mod kept;
mod round;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::hint::black_box;

#[derive(Debug, Parser)]
#[command(name = "instructions", bin_name = "cargo bench --bench instructions --")]
struct Options {
    /// Count only the cases whose names hold one of these
    names: Vec<String>,
    /// Keep the counts: later runs are compared with them
    #[arg(long)]
    keep: bool,
    /// Run one case, as callgrind is told to
    #[arg(long, hide = true, value_name = "CASE")]
    run: Option<String>,
    /// What cargo says when it is to measure
    #[arg(long, hide = true)]
    bench: bool,
}

/// Something whose instructions are worth knowing.
struct Case {
    name: &'static str,
    /// What one call of [`Work::run`] does so many of, with its article.
    unit: &'static str,
    units: u64,
    prepare: fn() -> Result<Box<dyn Work>>,
}

/// What is counted. It runs twice: at first everything is new, and only the second time counts.
trait Work {
    fn run(&mut self);

    /// Looks whether both runs did what they should.
    fn check(&mut self) -> Result<()>;
}

/// The function whose calls callgrind counts, by this name.
#[inline(never)]
fn counted(work: &mut dyn Work) {
    work.run();
    // Not a call in tail position, which would be a jump, and no return to count up to.
    black_box(work);
}

fn run(case: &Case) -> Result<()> {
    let mut work = (case.prepare)()?;
    work.run();
    counted(&mut *work);
    work.check()
}

fn cases() -> impl Iterator<Item = &'static Case> {
    let all = [decode::CASES, apply::CASES, encode::CASES, round::CASES, journal::CASES];
    all.into_iter().flatten()
}

/// A round needs two for each session, more than the 1,024 that a shell allows. Under valgrind it is
/// too late to ask.
fn allow_open_files() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    Ok(())
}

fn main() -> Result<()> {
    let options = Options::parse();
    if let Some(name) = &options.run {
        return run(cases().find(|case| case.name == name).context("no such case")?);
    }
    allow_open_files()?;
    let is_wanted = |case: &&Case| {
        let names = &options.names;
        names.is_empty() || names.iter().any(|part| case.name.contains(part.as_str()))
    };
    let wanted: Vec<_> = cases().filter(is_wanted).collect();
    ensure!(!wanted.is_empty(), "no case has such a name");
    if !options.bench {
        // `cargo test` only wants to know whether it works.
        return wanted.into_iter().try_for_each(run);
    }
    let mut kept = kept::read()?;
    println!("| what | instructions | for each | compared |\n|---|---:|---:|---:|");
    for case in wanted {
        let count = callgrind::count(case.name).with_context(|| case.name)?;
        let each = count as f64 / case.units as f64;
        let compared = kept.get(case.name).map_or(String::new(), |before| {
            format!("{:+.2} %", (count as f64 / *before as f64 - 1.0) * 100.0)
        });
        println!("| {} | {count} | {each:.1} {} | {compared} |", case.name, case.unit);
        kept.insert(case.name.to_owned(), count);
    }
    if options.keep {
        kept::write(&kept)?;
    }
    println!("\nBy function: callgrind_annotate {}", callgrind::output("CASE").display());
    Ok(())
}
