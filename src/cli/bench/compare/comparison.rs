//! What all rounds together measured.

use super::{
    plan::{Goal, Plan, Reference},
    rounds::{Missing, Run},
    statistics::{self, Summary},
    table,
};
use crate::cli::bench::outcome::{Outcome, Setting};
use serde_json::{Value, json};

/// A plan, and what was measured.
pub struct Comparison {
    pub plan: Plan,
    /// How often everything was measured.
    pub rounds: usize,
    /// Whether the numbers tell nothing about speed.
    pub quick: bool,
    pub runs: Vec<Run>,
}

impl Comparison {
    /// The outcomes of a case, one for each round, `None` where there is none.
    pub fn outcomes(&self, load: usize, case: usize) -> impl Iterator<Item = Option<&Outcome>> {
        let of_case = move |run: &&Run| run.load == load && run.case == case;
        self.runs.iter().filter(of_case).map(|run| run.result.as_ref().ok())
    }

    /// Why a case was never measured, if its server was not there.
    pub fn absence(&self, load: usize, case: usize) -> Option<&Missing> {
        let mut of_case = self.runs.iter().filter(|run| run.load == load && run.case == case);
        let missing = of_case.next()?.result.as_ref().err()?;
        (!matches!(missing, Missing::Failed(_))).then_some(missing)
    }

    /// The outcome of a case's round with the median of events, to be drawn.
    pub fn typical(&self, load: usize, case: usize) -> Option<&Outcome> {
        let mut outcomes: Vec<&Outcome> = self.outcomes(load, case).flatten().collect();
        let events_per_s =
            |outcome: &&Outcome| outcome.traffic.as_ref().map_or(0.0, |t| t.events_per_s);
        outcomes.sort_by(|a, b| events_per_s(a).total_cmp(&events_per_s(b)));
        outcomes.get(outcomes.len().checked_sub(1)? / 2).copied()
    }

    /// The median of a case's numbers.
    pub fn median(&self, load: usize, case: usize, of: fn(&Outcome) -> Option<f64>) -> Option<f64> {
        let numbers = self.outcomes(load, case).flatten().filter_map(of).collect();
        Summary::of(numbers).map(|summary| summary.median)
    }

    /// What was measured for a goal of a load.
    pub fn measured(&self, load: usize, goal: &Goal) -> Option<Summary> {
        statistics::measured(goal, |name| match self.case(load, name) {
            Some(case) => self.outcomes(load, case).collect(),
            None => Vec::new(),
        })
    }

    /// Why nothing was measured for a goal of a load.
    pub fn why_not(&self, load: usize, goal: &Goal) -> String {
        let other = match &goal.reference {
            Reference::Nothing => None,
            Reference::Over(other) | Reference::Minus(other) => Some(other),
        };
        let absent = |name: &String| {
            let missing = self.absence(load, self.case(load, name)?)?;
            Some(format!("{name} {}", missing_verb(missing)))
        };
        let absent = [Some(&goal.case), other].into_iter().flatten().find_map(absent);
        absent.unwrap_or_else(|| "not measured".to_owned())
    }

    fn case(&self, load: usize, name: &str) -> Option<usize> {
        self.plan.loads[load].cases.iter().position(|case| case.name == name)
    }

    /// Whether a case failed that could be started, or a server did not start.
    pub fn has_failures(&self) -> bool {
        let is_failure = |run: &Run| match &run.result {
            Err(Missing::Failed(_) | Missing::DidNotStart) => true,
            Err(Missing::NotInstalled) | Ok(_) => false,
        };
        self.runs.iter().any(is_failure)
    }

    /// Where it was measured, from the first outcome.
    pub fn setting(&self) -> Option<&Setting> {
        self.runs.iter().find_map(|run| run.result.as_ref().ok()).map(|outcome| &outcome.setting)
    }

    /// How the numbers were made, in a sentence or two.
    pub fn method(&self) -> String {
        let rounds = match self.rounds {
            1 => "One round.".to_owned(),
            rounds => format!("Medians of {rounds} rounds; ratios are made within a round."),
        };
        match self.quick {
            true => format!("{rounds} Quick: these numbers tell nothing about speed."),
            false => rounds,
        }
    }

    /// All of it as Markdown.
    pub fn to_markdown(&self) -> String {
        let mut text = self.setting().map(setting_text).unwrap_or_default();
        text.push_str(&format!("{}\n", self.method()));
        for (place, load) in self.plan.loads.iter().enumerate() {
            let table = table::of_load(self, place).to_markdown();
            text.push_str(&format!(
                "\n## {}\n\nOptions: `{}`\n\n{table}",
                load.title(),
                load.options_text()
            ));
        }
        if let Some(goals) = table::of_goals(self) {
            text.push_str(&format!("\n## Goals\n\n{}", goals.to_markdown()));
        }
        text
    }

    /// All outcomes of all rounds, with names.
    pub fn to_json(&self) -> Value {
        let run = |run: &Run| {
            let load = &self.plan.loads[run.load];
            let mut value = json!({
                "round": run.round,
                "load": load.name,
                "case": load.cases[run.case].name,
            });
            match &run.result {
                Ok(outcome) => value["outcome"] = json!(outcome),
                Err(Missing::Failed(what)) => value["missing"] = json!(format!("failed: {what}")),
                Err(missing) => value["missing"] = json!(missing.as_str()),
            }
            value
        };
        let runs: Vec<Value> = self.runs.iter().map(run).collect();
        json!({ "rounds": self.rounds, "quick": self.quick, "runs": runs })
    }
}

fn missing_verb(missing: &Missing) -> &'static str {
    match missing {
        Missing::NotInstalled => "is not installed",
        Missing::DidNotStart => "did not start",
        Missing::Failed(_) => "failed",
    }
}

/// The lines above tables and plots.
pub fn setting_text(setting: &Setting) -> String {
    let Setting { date, version, kernel, processor, cores, .. } = setting;
    format!(
        "statesync {version}, {date}\n{cores} cores of {processor}, {kernel}; the load runs \
         on the same machine\n"
    )
}
