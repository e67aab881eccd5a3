//! How the loss went: as rows of a CSV file while a network learns, and as a picture.

mod chart;

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

pub use chart::draw;

use crate::checkpoint::problem;
use crate::{Error, Result};

/// What is noted of a step, or of a few.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// How many steps were done, this one counted.
    pub step: u64,
    /// The loss of the step, or the mean of those since the last point.
    pub loss: f32,
    /// Images the network learned from in a second.
    pub images_per_second: f32,
    /// By how much it learned.
    pub learning_rate: f64,
    /// How long the run has taken so far.
    pub seconds: f64,
}

/// A CSV file that grows by a row at a time, with [`COLUMNS`] as its first.
pub struct LossCurve {
    path: PathBuf,
    file: File,
    points: Vec<Point>,
}

/// The names of the columns.
pub const COLUMNS: &str = "step,loss,images_per_second,learning_rate,seconds";

impl LossCurve {
    /// The curve in the file at `path`, for a run that goes on after step `until`: rows of later steps, which will be done
    /// again, are taken out, and so is a last row that was not finished. A new run, whose `until` is 0, begins anew.
    ///
    /// # Errors
    /// When the file has something else in it, or cannot be read or written.
    pub fn open(path: &Path, until: u64) -> Result<Self> {
        let failed = |done: &'static str| move |error: std::io::Error| Error::file(path, problem(&error, done, 0));
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            text => text.map_err(failed("read"))?,
        };
        let mut points = parse(path, &text)?;
        points.retain(|point| point.step <= until);
        let rows: String = points.iter().map(row).collect();
        let part = path.with_extension("csv.part");
        fs::write(&part, format!("{COLUMNS}\n{rows}")).map_err(failed("written"))?;
        fs::rename(&part, path).map_err(failed("written"))?;
        let file = OpenOptions::new().append(true).open(path).map_err(failed("written"))?;
        Ok(LossCurve { path: path.into(), file, points })
    }

    /// Adds a row.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn append(&mut self, point: Point) -> Result<()> {
        self.points.push(point);
        let written = self.file.write_all(row(&point).as_bytes());
        written.map_err(|error| Error::file(&self.path, problem(&error, "written", 1)))
    }

    /// All points so far.
    pub fn points(&self) -> &[Point] {
        &self.points
    }
}

/// A point as a line of the file.
fn row(point: &Point) -> String {
    let Point { step, loss, images_per_second, learning_rate, seconds } = point;
    format!("{step},{loss},{images_per_second:.2},{learning_rate:e},{seconds:.3}\n")
}

/// The points of a file, without a last one that was cut off.
fn parse(path: &Path, text: &str) -> Result<Vec<Point>> {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut lines = whole.lines();
    match lines.next() {
        None if COLUMNS.starts_with(text) => return Ok(Vec::new()), // not even the first line was finished
        Some(COLUMNS) => {}
        _ => {
            return Err(Error::file(
                path,
                format!("is no curve of a loss: its first line is not {COLUMNS}. Move it away."),
            ));
        }
    }
    let point = |line: &str| {
        let [step, loss, images_per_second, learning_rate, seconds] = *line.split(',').collect::<Vec<_>>() else {
            return None;
        };
        Some(Point {
            step: step.parse().ok()?,
            loss: loss.parse().ok()?,
            images_per_second: images_per_second.parse().ok()?,
            learning_rate: learning_rate.parse().ok()?,
            seconds: seconds.parse().ok()?,
        })
    };
    let wrong =
        |i: usize| Error::file(path, format!("has a line {} that is no row of {COLUMNS}. Move it away.", i + 2));
    lines.enumerate().map(|(i, line)| point(line).ok_or_else(|| wrong(i))).collect()
}
