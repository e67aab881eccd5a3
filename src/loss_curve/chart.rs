//! The curve as a picture: dots for the points, a line through their moving mean, and a logarithmic axis.

use super::Point;
use crate::{Error, Result};

type Colour = [u8; 3];

const PAPER: Colour = [255, 255, 255];
const GRID: Colour = [232, 234, 238];
const INK: Colour = [88, 96, 112];
const DOTS: Colour = [148, 180, 232];
const LINE: Colour = [24, 84, 196];

/// Everything is drawn so many times as large, and made smaller, so that edges are smooth.
const SCALE: usize = 3;
/// Pixels of the margins: left, right, top, bottom.
const MARGINS: [f64; 4] = [92.0, 32.0, 40.0, 56.0];
/// How large a dot of the font is.
const DOT: f64 = 2.0;

/// The losses over the steps as a PNG of this size. Losses that are not positive numbers have no place on a logarithmic axis,
/// and are left out.
///
/// # Errors
/// When the picture is too small for the axes, or larger than 8192 pixels a side.
pub fn draw(points: &[Point], width: usize, height: usize) -> Result<Vec<u8>> {
    if !(160..=8192).contains(&width) || !(120..=8192).contains(&height) {
        return Err(Error::Settings(format!(
            "A chart of {width}×{height} pixels cannot be drawn; it must have 160×120 to 8192×8192."
        )));
    }
    let points: Vec<(f64, f64)> = points
        .iter()
        .filter(|point| point.loss > 0.0 && point.loss.is_finite())
        .map(|point| (point.step as f64, f64::from(point.loss)))
        .collect();
    // Without a point the axes are from 0.1 to 1, and a step long.
    let last = points.iter().fold(1.0, |last: f64, point| last.max(point.0));
    let low = points.iter().map(|point| point.1).reduce(f64::min).unwrap_or(0.1) / 1.1;
    let high = points.iter().map(|point| point.1).reduce(f64::max).unwrap_or(1.0) * 1.1;
    let [left, right, top, bottom] = MARGINS;
    let (right, bottom) = (width as f64 - right, height as f64 - bottom);
    let x = |step: f64| left + step / last * (right - left);
    let y = |loss: f64| bottom - (loss / low).ln() / (high / low).ln() * (bottom - top);

    let mut canvas = Canvas::new(width, height);
    for tick in ticks(0.0, last, 8) {
        canvas.rectangle([x(tick) - 0.5, top, x(tick) + 0.5, bottom], GRID);
        canvas.text(x(tick), bottom + 12.0, 0.5, &number(tick));
    }
    for tick in logarithmic_ticks(low, high) {
        canvas.rectangle([left, y(tick) - 0.5, right, y(tick) + 0.5], GRID);
        canvas.text(left - 10.0, y(tick) - 3.5 * DOT, 1.0, &number(tick));
    }
    canvas.text(left, 14.0, 0.0, "loss");
    canvas.text(right, bottom + 34.0, 1.0, "steps");
    for &(step, loss) in &points {
        canvas.disc(x(step), y(loss), 1.3, DOTS);
    }
    let mut before: Option<(f64, f64)> = None;
    for (step, mean) in smooth(&points) {
        let here = (x(step), y(mean));
        let from = before.unwrap_or(here);
        let pieces = (2.0 * (here.0 - from.0).hypot(here.1 - from.1)).ceil().max(1.0);
        for piece in 1..=pieces as usize {
            let part = piece as f64 / pieces;
            canvas.disc(from.0 + part * (here.0 - from.0), from.1 + part * (here.1 - from.1), 1.4, LINE);
        }
        before = Some(here);
    }
    canvas.png()
}

/// The mean of the losses so far, of which older ones count less and less: as if of the last fiftieth of all points, and at the
/// beginning, where losses fall fast, of fewer.
fn smooth(points: &[(f64, f64)]) -> impl Iterator<Item = (f64, f64)> {
    let most = (points.len() as f64 / 50.0).max(1.0);
    let mut mean = 0.0;
    points.iter().enumerate().map(move |(i, &(step, loss))| {
        let share = 1.0 / (i as f64 / 4.0).clamp(1.0, most);
        mean = (1.0 - share) * mean + share * loss; // so it is positive, as they are
        (step, mean)
    })
}

/// At most so many round numbers between two.
fn ticks(low: f64, high: f64, most: usize) -> Vec<f64> {
    let rough = (high - low) / most as f64;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|&step| step >= rough).unwrap_or(rough);
    let (from, to) = ((low / step).ceil() as i64, (high / step).floor() as i64);
    (from..=to).map(|i| i as f64 * step).collect()
}

/// Round numbers on a logarithmic axis: 1, 2 and 5 of each power of ten, or only some of the powers where that would be many;
/// evenly spread ones where the axis is short.
fn logarithmic_ticks(low: f64, high: f64) -> Vec<f64> {
    if high / low < 6.0 {
        return ticks(low, high, 8);
    }
    let decades = (high / low).log10();
    let digits: &[f64] = if decades > 4.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
    let powers = low.log10().floor() as i32..=high.log10().ceil() as i32;
    let all = powers
        .step_by((decades / 8.0).max(1.0) as usize)
        .flat_map(|power| digits.iter().map(move |digit| digit * 10_f64.powi(power)));
    all.filter(|tick| (low..=high).contains(tick)).collect()
}

/// A number in few letters: 20k for 20000, 1e-5 for 0.00001.
fn number(x: f64) -> String {
    let short = |x: f64| format!("{x:.5}").trim_end_matches('0').trim_end_matches('.').to_string();
    match x {
        0.0 => "0".into(),
        _ if x >= 1e6 => short(x / 1e6) + "M",
        _ if x >= 1e3 => short(x / 1e3) + "k",
        _ if x < 1e-3 => format!("{x:.1e}").replace(".0e", "e"),
        _ => short(x),
    }
}

/// A picture, [`SCALE`] times as large as it will be.
struct Canvas {
    width: usize,
    height: usize,
    pixels: Vec<Colour>,
}

impl Canvas {
    fn new(width: usize, height: usize) -> Self {
        let (width, height) = (width * SCALE, height * SCALE);
        Canvas { width, height, pixels: vec![PAPER; width * height] }
    }

    /// Colours the pixels of which `inside` says so, from [left, top] to [right, bottom].
    fn fill(&mut self, edges: [f64; 4], colour: Colour, inside: impl Fn(f64, f64) -> bool) {
        let [left, top, right, bottom] = edges.map(|edge| (edge * SCALE as f64).round().max(0.0) as usize);
        for y in top..bottom.min(self.height) {
            for x in left..right.min(self.width) {
                if inside((x as f64 + 0.5) / SCALE as f64, (y as f64 + 0.5) / SCALE as f64) {
                    self.pixels[y * self.width + x] = colour;
                }
            }
        }
    }

    fn rectangle(&mut self, edges: [f64; 4], colour: Colour) {
        self.fill(edges, colour, |_, _| true);
    }

    fn disc(&mut self, x: f64, y: f64, radius: f64, colour: Colour) {
        let inside = |a: f64, b: f64| (a - x).hypot(b - y) <= radius;
        self.fill([x - radius - 1.0, y - radius - 1.0, x + radius + 1.0, y + radius + 1.0], colour, inside);
    }

    /// Writes a text whose top is at y; x is its left edge for an `anchor` of 0, its right edge for 1.
    fn text(&mut self, x: f64, y: f64, anchor: f64, text: &str) {
        let width = DOT * (6 * text.len()).saturating_sub(1) as f64;
        let left = (x - anchor * width).round();
        for (i, letter) in text.chars().enumerate() {
            let rows = FONT.iter().find(|(known, _)| *known == letter).map_or([0; 7], |(_, rows)| *rows);
            for (row, bits) in rows.into_iter().enumerate() {
                for column in (0..5).filter(|column| bits >> (4 - column) & 1 == 1) {
                    let (x, y) = (left + DOT * (6 * i + column) as f64, y.round() + DOT * row as f64);
                    self.rectangle([x, y, x + DOT, y + DOT], INK);
                }
            }
        }
    }

    /// The picture in its own size, each pixel the mean of what was drawn there.
    fn png(&self) -> Result<Vec<u8>> {
        let (width, height) = (self.width / SCALE, self.height / SCALE);
        let mean = |pixel: usize, channel: usize| {
            let (x, y) = (pixel % width * SCALE, pixel / width * SCALE);
            let places = (0..SCALE * SCALE).map(|i| (y + i / SCALE) * self.width + x + i % SCALE);
            let sum: usize = places.map(|place| usize::from(self.pixels[place][channel])).sum();
            (sum / (SCALE * SCALE)) as u8
        };
        let image: Vec<u8> = (0..width * height * 3).map(|i| mean(i / 3, i % 3)).collect();
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, width as u32, height as u32);
        encoder.set_color(png::ColorType::Rgb);
        let written = encoder.write_header().and_then(|mut writer| writer.write_image_data(&image));
        written.map_err(|error| Error::Settings(format!("The chart could not be made: {error}.")))?;
        Ok(bytes)
    }
}

/// The letters that charts have: seven rows of five dots, the leftmost the highest bit.
const FONT: [(char, [u8; 7]); 21] = [
    ('0', [0x0e, 0x11, 0x13, 0x15, 0x19, 0x11, 0x0e]),
    ('1', [0x04, 0x0c, 0x04, 0x04, 0x04, 0x04, 0x0e]),
    ('2', [0x0e, 0x11, 0x01, 0x02, 0x04, 0x08, 0x1f]),
    ('3', [0x1f, 0x02, 0x04, 0x02, 0x01, 0x11, 0x0e]),
    ('4', [0x02, 0x06, 0x0a, 0x12, 0x1f, 0x02, 0x02]),
    ('5', [0x1f, 0x10, 0x1e, 0x01, 0x01, 0x11, 0x0e]),
    ('6', [0x06, 0x08, 0x10, 0x1e, 0x11, 0x11, 0x0e]),
    ('7', [0x1f, 0x01, 0x02, 0x04, 0x08, 0x08, 0x08]),
    ('8', [0x0e, 0x11, 0x11, 0x0e, 0x11, 0x11, 0x0e]),
    ('9', [0x0e, 0x11, 0x11, 0x0f, 0x01, 0x02, 0x0c]),
    ('.', [0x00, 0x00, 0x00, 0x00, 0x00, 0x0c, 0x0c]),
    ('-', [0x00, 0x00, 0x00, 0x1f, 0x00, 0x00, 0x00]),
    ('k', [0x10, 0x10, 0x12, 0x14, 0x18, 0x14, 0x12]),
    ('M', [0x11, 0x1b, 0x15, 0x15, 0x11, 0x11, 0x11]),
    ('e', [0x00, 0x00, 0x0e, 0x11, 0x1f, 0x10, 0x0e]),
    ('l', [0x0c, 0x04, 0x04, 0x04, 0x04, 0x04, 0x0e]),
    ('o', [0x00, 0x00, 0x0e, 0x11, 0x11, 0x11, 0x0e]),
    ('p', [0x00, 0x00, 0x1e, 0x11, 0x1e, 0x10, 0x10]),
    ('s', [0x00, 0x00, 0x0e, 0x10, 0x0e, 0x01, 0x1e]),
    ('t', [0x08, 0x08, 0x1c, 0x08, 0x08, 0x09, 0x06]),
    (' ', [0; 7]),
];
