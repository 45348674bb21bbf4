//! What was measured: rows of rounds, their medians and spread, whether the bars are met; as Markdown
//! and as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

/// What one server did in all rounds of a row.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub(crate) name: String,
    pub(crate) rounds: Vec<f64>,
    /// Of the server, where many bytes were moved.
    pub(crate) cpu_seconds_per_gb: Option<f64>,
}

impl Measured {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            rounds: Vec::new(),
            cpu_seconds_per_gb: None,
        }
    }

    pub(crate) fn median(&self) -> f64 {
        let mut rounds = self.rounds.clone();
        rounds.sort_by(f64::total_cmp);
        let middle = rounds.len() / 2;
        if rounds.len() % 2 == 1 {
            rounds[middle]
        } else {
            f64::midpoint(rounds[middle - 1], rounds[middle])
        }
    }

    fn extreme(&self, choose: fn(f64, f64) -> f64) -> f64 {
        self.rounds.iter().copied().reduce(choose).unwrap()
    }

    fn cell(&self) -> String {
        let (median, least, most) = (
            self.median(),
            self.extreme(f64::min),
            self.extreme(f64::max),
        );
        if self.rounds.len() == 1 {
            return number(median);
        }
        format!("{} ({}–{})", number(median), number(least), number(most))
    }
}

/// Three digits that mean something.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// What a row has to reach.
#[derive(Clone, Debug)]
pub(crate) enum Bar {
    /// So many times the other's median, at least.
    AtLeast {
        of: &'static str,
        times: f64,
        other: &'static str,
    },
    /// So much, at most.
    AtMost { of: String, value: f64 },
    /// So much, at least.
    Reaches { of: String, value: f64 },
}

/// One kind of work, done by several servers in turn.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) unit: &'static str,
    pub(crate) results: Vec<Measured>,
    pub(crate) bars: Vec<Bar>,
}

impl Row {
    pub(crate) fn new(id: &str, title: &str, unit: &'static str) -> Self {
        Self {
            id: id.to_owned(),
            title: title.to_owned(),
            unit,
            results: Vec::new(),
            bars: Vec::new(),
        }
    }

    pub(crate) fn result(&self, name: &str) -> Option<&Measured> {
        self.results.iter().find(|result| result.name == name)
    }

    /// A row of one figure for each name.
    pub(crate) fn add(&mut self, name: &str, value: f64) {
        self.results.push(Measured {
            rounds: vec![value],
            ..Measured::new(name)
        });
    }

    /// How far a bar is reached, and whether that is enough; nothing if its servers did not take part.
    fn reached(&self, bar: &Bar) -> Option<(f64, bool)> {
        match bar {
            Bar::AtLeast { of, times, other } => {
                let ratio = self.result(of)?.median() / self.result(other)?.median();
                Some((ratio, ratio >= *times))
            }
            Bar::AtMost { of, value } => {
                let median = self.result(of)?.median();
                Some((median, median <= *value))
            }
            Bar::Reaches { of, value } => {
                let median = self.result(of)?.median();
                Some((median, median >= *value))
            }
        }
    }

    fn bars(&self) -> Vec<(String, f64, bool)> {
        let told = |bar: &Bar| {
            let (reached, is_met) = self.reached(bar)?;
            let text = match bar {
                Bar::AtLeast { of, times, other } => {
                    format!("{of} {reached:.2}× {other} (≥ {times}×)")
                }
                Bar::AtMost { of, value } => {
                    format!(
                        "{of} {} {} (≤ {})",
                        number(reached),
                        self.unit,
                        number(*value)
                    )
                }
                Bar::Reaches { of, value } => {
                    format!(
                        "{of} {} {} (≥ {})",
                        number(reached),
                        self.unit,
                        number(*value)
                    )
                }
            };
            Some((text, reached, is_met))
        };
        self.bars.iter().filter_map(told).collect()
    }

    /// What the limit did, for a result to be compared with.
    fn limit_of(&self, name: &str) -> Option<f64> {
        let is_synced = name.starts_with("waystation") && !name.contains("off");
        let synced = self.result("limit, synced").filter(|_| is_synced);
        synced
            .or_else(|| self.result("limit"))
            .map(Measured::median)
    }

    pub(crate) fn to_json(&self) -> Value {
        let results = self.results.iter().map(|result| {
            json!({
                "name": result.name,
                "median": result.median(),
                "least": result.extreme(f64::min),
                "most": result.extreme(f64::max),
                "rounds": result.rounds,
                "cpu_seconds_per_gb": result.cpu_seconds_per_gb,
                "share_of_limit": self.limit_of(&result.name).map(|limit| result.median() / limit),
            })
        });
        let bars = self.bars().into_iter().map(
            |(text, reached, is_met)| json!({"text": text, "reached": reached, "met": is_met}),
        );
        json!({
            "id": self.id,
            "work": self.title,
            "unit": self.unit,
            "results": results.collect::<Vec<_>>(),
            "bars": bars.collect::<Vec<_>>(),
        })
    }

    /// Its lines of the table: one for each server.
    pub(crate) fn to_markdown(&self) -> String {
        let mut text = String::new();
        let mut work = format!("**{}**, {}", self.title, self.unit);
        for result in &self.results {
            let share = self.limit_of(&result.name);
            let share = share.map(|limit| format!("{:.0} %", 100.0 * result.median() / limit));
            let limit = self
                .result("limit")
                .and_then(|limit| limit.cpu_seconds_per_gb);
            let cpu = result.cpu_seconds_per_gb.map(|cpu| match limit {
                Some(limit) if limit > 0.0 => format!("{cpu:.2} ({:.1}×)", cpu / limit),
                _ => format!("{cpu:.2}"),
            });
            let bars: Vec<_> = self
                .bars()
                .into_iter()
                .filter(|(text, ..)| text.starts_with(&format!("{} ", result.name)))
                .map(|(text, _, is_met)| {
                    let text = text[result.name.len() + 1..].to_owned();
                    let is_met = if is_met { "✓" } else { "**✗**" };
                    format!("{is_met} {text}")
                })
                .collect();
            writeln!(
                text,
                "| {work} | {} | {} | {} | {} | {} |",
                result.name,
                result.cell(),
                share.unwrap_or_default(),
                cpu.unwrap_or_default(),
                bars.join("; "),
            )
            .unwrap();
            work.clear();
        }
        text
    }
}

/// All rows as one table.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut text =
        "| work, unit | server | median (least–most) | of the limit | CPU s a GB (× the limit's) | bar |\n\
                    |---|---|---|---|---|---|\n"
            .to_owned();
    for row in rows {
        text.push_str(&row.to_markdown());
    }
    text
}
