//! Throughput against the size of an archive, for the four servers, as a picture (SVG).

use std::fmt::Write as _;

use crate::report::Row;

const SERVERS: [(&str, &str); 4] = [
    ("waystation", "#d1495b"),
    ("nginx", "#00798c"),
    ("dufs", "#edae49"),
    ("SeaweedFS", "#66757f"),
];
const SIZES: [&str; 5] = ["64 KiB", "1 MiB", "8 MiB", "32 MiB", "256 MiB"];
const STEPS: [f64; 7] = [10.0, 30.0, 100.0, 300.0, 1_000.0, 3_000.0, 10_000.0];
const WIDTH: f64 = 440.0;
const HEIGHT: f64 = 300.0;
const MARGIN: f64 = 60.0;

/// None if neither uploads nor downloads were measured.
pub(crate) fn draw(rows: &[Row]) -> Option<String> {
    let panels: Vec<_> = [
        ("put", "Upload (PUT), one client"),
        ("get", "Download (GET), one client"),
    ]
    .into_iter()
    .filter_map(|(method, title)| panel(rows, method, title))
    .collect();
    if panels.is_empty() {
        return None;
    }
    let mut text = String::new();
    let mut left = MARGIN;
    for panel in &panels {
        writeln!(text, "<g transform=\"translate({left},50)\">{panel}</g>").unwrap();
        left += WIDTH + 1.5 * MARGIN;
    }
    let (width, height) = (left, HEIGHT + 130.0);
    let mut legend = String::new();
    for (index, (name, colour)) in (0_u32..).zip(SERVERS) {
        let x = MARGIN + f64::from(index) * 130.0;
        let y = height - 20.0;
        writeln!(legend,
            "<circle cx=\"{x}\" cy=\"{}\" r=\"5\" fill=\"{colour}\"/><text x=\"{}\" y=\"{y}\">{name}</text>",
            y - 4.0,
            x + 10.0
        )
        .unwrap();
    }
    Some(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"13\" fill=\"#222\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n{text}{legend}</svg>\n"
    ))
}

fn panel(rows: &[Row], method: &str, title: &str) -> Option<String> {
    let row = |size: &str| rows.iter().find(|row| row.id == format!("{method} {size}"));
    row(SIZES[0])?;
    let mut text = format!("<text x=\"0\" y=\"-20\" font-weight=\"bold\">{title}, MB/s</text>\n");
    for step in STEPS {
        let y = height_of(step);
        writeln!(
            text,
            "<line x1=\"0\" x2=\"{WIDTH}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#ddd\"/>\
             <text x=\"-8\" y=\"{:.1}\" text-anchor=\"end\">{step}</text>",
            y + 4.0
        )
        .unwrap();
    }
    for (index, size) in SIZES.into_iter().enumerate() {
        let (x, y) = (place_of(index), HEIGHT + 20.0);
        writeln!(
            text,
            "<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{size}</text>"
        )
        .unwrap();
    }
    for (name, colour) in SERVERS {
        let points: Vec<_> = SIZES
            .into_iter()
            .enumerate()
            .filter_map(|(index, size)| {
                let median = row(size)?.result(name)?.median();
                Some((place_of(index), height_of(median)))
            })
            .collect();
        let line: Vec<_> = points
            .iter()
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        let line = line.join(" ");
        writeln!(
            text,
            "<polyline points=\"{line}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2.5\"/>"
        )
        .unwrap();
        for (x, y) in points {
            writeln!(
                text,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{colour}\"/>"
            )
            .unwrap();
        }
    }
    Some(text)
}

/// Both axes are logarithmic; sizes stand at equal distances.
fn height_of(value: f64) -> f64 {
    let [least, .., most] = STEPS;
    let share = (value.max(least) / least).ln() / (most / least).ln();
    HEIGHT * (1.0 - share)
}

#[allow(clippy::cast_precision_loss, reason = "one of a few")]
fn place_of(index: usize) -> f64 {
    WIDTH * (index as f64 + 0.5) / SIZES.len() as f64
}
