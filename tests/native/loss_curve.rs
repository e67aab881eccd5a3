//! The loss as rows and as a picture.

use std::fs;
use std::io::Cursor;
use std::path::PathBuf;

use denoise::loss_curve::{COLUMNS, LossCurve, Point, draw};

use crate::cli::Folder;

fn point(step: u64, loss: f32) -> Point {
    Point { step, loss, images_per_second: 12.5, learning_rate: 1e-4, seconds: step as f64 / 8.0 }
}

#[test]
fn a_curve_grows_by_rows() {
    let folder = Folder::new("curve");
    let path = PathBuf::from(folder.path("loss.csv"));
    let mut curve = LossCurve::open(&path, 0).unwrap();
    for step in 1..=3 {
        curve.append(point(step, 1.0 / step as f32)).unwrap();
    }
    let expected = format!("{COLUMNS}\n1,1,12.50,1e-4,0.125\n2,0.5,12.50,1e-4,0.250\n3,0.33333334,12.50,1e-4,0.375\n");
    assert_eq!(fs::read_to_string(&path).unwrap(), expected);

    // A run that was killed while it wrote a row, and goes on from its checkpoint of step 2.
    fs::write(&path, format!("{expected}4,0.2")).unwrap();
    let mut curve = LossCurve::open(&path, 2).unwrap();
    assert_eq!(curve.points(), [point(1, 1.0), point(2, 0.5)]);
    curve.append(point(3, f32::NAN)).unwrap();
    let curve = LossCurve::open(&path, 9).unwrap();
    assert_eq!(curve.points().len(), 3);
    assert!(curve.points()[2].loss.is_nan());
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1);

    // Killed earlier than that.
    for text in ["", "step", COLUMNS] {
        fs::write(&path, text).unwrap();
        assert_eq!(LossCurve::open(&path, 9).unwrap().points(), []);
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{COLUMNS}\n"));
    }
    for (text, expected) in [
        ("a,b\n1,2\n".to_string(), "loss.csv: is no curve of a loss"),
        ("hello".to_string(), "its first line is not step,loss"),
        (format!("{COLUMNS}\n1,1,1,1,1\n2,x,1,1,1\n"), "has a line 3"),
        (format!("{COLUMNS}\n1,1\n"), "has a line 2"),
    ] {
        fs::write(&path, &text).unwrap();
        let error = LossCurve::open(&path, 9).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text, "it is still there");
    }
    let nowhere = LossCurve::open(&folder.0.join("nowhere/loss.csv"), 0).map(|_| ()).unwrap_err().to_string();
    assert!(nowhere.contains("nowhere/loss.csv: could not be written"), "{nowhere}");
}

/// The colours of a chart's pixels.
fn pixels(points: &[Point], width: usize, height: usize) -> Vec<[u8; 3]> {
    let png = draw(points, width, height).unwrap();
    let mut reader = png::Decoder::new(Cursor::new(png)).read_info().unwrap();
    assert_eq!(reader.info().size(), (width as u32, height as u32));
    let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut bytes).unwrap();
    bytes.as_chunks().0.to_vec()
}

/// Whether a colour is the line's, or nearly: a strong blue.
fn is_line([red, _, blue]: [u8; 3]) -> bool {
    red < 60 && blue > 180
}

#[test]
fn a_chart_shows_how_the_loss_falls() {
    let points: Vec<Point> = (1..=500).map(|step| point(step * 20, 100.0 / (step as f32 + 100.0))).collect();
    let (width, height) = (640, 360);
    let pixels = pixels(&points, width, height);
    // From left to right, the line is in every column and goes down.
    let rows: Vec<usize> = (100..600)
        .map(|x| (0..height).find(|y| is_line(pixels[y * width + x])).unwrap_or_else(|| panic!("no line at {x}")))
        .collect();
    assert!(rows.is_sorted(), "the line goes up");
    assert!(rows[0] < 80 && rows[499] > 270, "from row {} to {}", rows[0], rows[499]);
}

#[test]
fn any_losses_make_a_chart() {
    let strange = [f32::NAN, f32::INFINITY, -1.0, 0.0, f32::MIN_POSITIVE, f32::MAX, 1e-45];
    for losses in [&[][..], &[0.1], &strange[..4], &strange[4..], &strange, &[0.1, 0.1000001, 0.1], &[9e-5, 1.2e-4]] {
        for first in [0, 1, u64::MAX - 10] {
            let points: Vec<Point> = losses.iter().zip(first..).map(|(&loss, step)| point(step, loss)).collect();
            let pixels = pixels(&points, 160, 120);
            let seen = losses.iter().any(|loss| loss.is_finite() && *loss > 0.0);
            assert_eq!(pixels.iter().any(|&pixel| is_line(pixel)), seen, "{losses:?} from {first}");
        }
    }
    for (width, height) in [(0, 300), (300, 0), (159, 300), (300, 119), (8193, 300), (300, usize::MAX)] {
        assert!(draw(&[], width, height).unwrap_err().to_string().contains("cannot be drawn"));
    }
}
