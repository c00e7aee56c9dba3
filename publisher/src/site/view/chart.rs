//! Chart of a runtime's archive sizes over its versions, as SVG coordinates.

use super::{Catalogue, archives};
use joblet_format::{Arch, Release, RuntimeName, text};
use serde::Serialize;

/// Width in the chart's own units; the template scales it.
const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 68.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 34.0;

#[derive(Serialize)]
pub(super) struct Chart {
    width: f64,
    height: f64,
    /// Start and end of horizontal lines.
    left: f64,
    right: f64,
    ticks: Vec<Tick>,
    series: Vec<Series>,
    /// Labels of the first and last position on the x axis.
    from: String,
    to: String,
}

/// A horizontal line at a round size.
#[derive(Serialize)]
struct Tick {
    y: f64,
    label: String,
}

/// One architecture.
#[derive(Serialize)]
struct Series {
    architecture: &'static str,
    /// `x,y x,y …` for a polyline.
    line: String,
    dots: Vec<Dot>,
}

#[derive(Serialize)]
struct Dot {
    x: f64,
    y: f64,
    yanked: bool,
    text: String,
}

/// A version with its position on the x axis.
struct Step<'a> {
    release: &'a Release,
    day: Option<&'a str>,
    /// Position: days if every version has a date, else indexes.
    at: f64,
}

impl<'a> Catalogue<'a> {
    /// The chart of `name`; `None` for fewer than two versions.
    pub(super) fn chart(&self, name: &'a RuntimeName) -> Option<Chart> {
        let steps = self.steps(name);
        let (first, last) = (steps.first()?, steps.last()?);
        let sizes = |step: &Step| archives(step.release).map(|(_, it)| it.size).max();
        let largest = steps.iter().filter_map(sizes).max()?;
        if steps.len() < 2 || last.at <= first.at {
            return None;
        }
        let (from, span) = (first.at, last.at - first.at);
        let (step, top) = scale(largest);
        let x = |at: f64| LEFT + (WIDTH - LEFT - RIGHT) * (at - from) / span;
        let y = |size: u64| TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - real(size) / real(top));
        let series = Arch::ALL.into_iter().map(|arch| Series::new(arch, &steps, &x, &y));
        let label = |step: &Step| match step.day {
            Some(day) => day.to_owned(),
            None => step.release.version.to_string(),
        };
        Some(Chart {
            width: WIDTH,
            height: HEIGHT,
            left: LEFT,
            right: WIDTH - RIGHT,
            ticks: (0..=top / step)
                .map(|at| Tick { y: round(y(at * step)), label: tick(at * step) })
                .collect(),
            series: series.filter(|series| !series.dots.is_empty()).collect(),
            from: label(first),
            to: label(last),
        })
    }

    /// The versions in the order of the x axis: by date if every version has one.
    fn steps(&self, name: &'a RuntimeName) -> Vec<Step<'a>> {
        let releases = self.registry.runtimes[name].values();
        let mut steps: Vec<_> = releases
            .enumerate()
            .map(|(at, release)| Step {
                release,
                day: self.day(name, release),
                at: real(at as u64),
            })
            .collect();
        if steps.iter().all(|step| step.day.is_some()) {
            steps.sort_by_key(|step| step.day);
            for step in &mut steps {
                step.at = step.day.map_or(0.0, days);
            }
        }
        if steps.first().map(|step| step.at) == steps.last().map(|step| step.at) {
            for (at, step) in steps.iter_mut().enumerate() {
                (step.at, step.day) = (real(at as u64), None); // all on one day
            }
        }
        steps
    }
}

impl Series {
    fn new(arch: Arch, steps: &[Step], x: &impl Fn(f64) -> f64, y: &impl Fn(u64) -> f64) -> Self {
        let dot = |step: &Step| {
            let artifact = step.release.artifact(arch)?;
            let (version, size) = (&step.release.version, text::size(artifact.size));
            let day = step.day.map(|day| format!(", {day}")).unwrap_or_default();
            let yanked = step.release.yanked.is_some();
            let text =
                format!("{version} {arch}: {size}{day}{}", if yanked { ", yanked" } else { "" });
            Some(Dot { x: round(x(step.at)), y: round(y(artifact.size)), yanked, text })
        };
        let dots: Vec<_> = steps.iter().filter_map(dot).collect();
        let points: Vec<_> = dots.iter().map(|dot| format!("{},{}", dot.x, dot.y)).collect();
        Self { architecture: arch.as_str(), line: points.join(" "), dots }
    }
}

/// Distance of horizontal lines, and the highest one: at most five, at round sizes.
fn scale(largest: u64) -> (u64, u64) {
    let decade = 10_u64.pow(largest.max(10).ilog10());
    let steps = [decade / 5, decade / 2, decade, decade.saturating_mul(2)];
    let step = steps.into_iter().find(|step| largest.div_ceil(*step) <= 5).unwrap_or(u64::MAX);
    (step, largest.div_ceil(step).max(1).saturating_mul(step))
}

/// `150 MB`: a round size needs no decimals.
fn tick(size: u64) -> String {
    if size == 0 { "0".to_owned() } else { text::size(size).replace(".0 ", " ") }
}

/// Approximate day number of `YYYY-MM-DD`, with months of 31 days.
fn days(day: &str) -> f64 {
    let number = |part: &str| part.parse::<u64>().unwrap_or(0);
    let mut parts = day.split('-').map(number);
    let mut next = || parts.next().unwrap_or(0);
    real(next() * 372 + next() * 31 + next())
}

#[expect(clippy::cast_precision_loss)] // for drawing
fn real(number: u64) -> f64 {
    number as f64
}

fn round(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grid_lines_are_at_round_sizes() {
        for (largest, want) in [
            (0, (2, 2)),
            (7, (2, 8)),
            (100, (20, 100)),
            (151_000_000, (50_000_000, 200_000_000)),
            (499_000_000, (100_000_000, 500_000_000)),
            (2_900_000_000, (1_000_000_000, 3_000_000_000)),
            (9_999, (2_000, 10_000)),
        ] {
            assert_eq!(scale(largest), want, "{largest}");
        }
        let (step, top) = scale(u64::MAX);
        assert!(top / step <= 5);
        assert_eq!((tick(0), tick(150_000_000)), ("0".into(), "150 MB".into()));
        assert_eq!(tick(2_500_000_000), "2.5 GB");
        assert!(days("2025-12-31") < days("2026-01-01"));
    }
}
