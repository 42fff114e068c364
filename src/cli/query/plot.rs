//! A span of values drawn with dots in the terminal, as wide and as high as its window.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style};
use ratatui::symbols::Marker;
use ratatui::text::Line;
use ratatui::widgets::{Axis, Chart, Dataset, GraphType, Widget};

use super::Span;
use super::answer::Metric;
use super::table::{clock, series_text, shared};
use super::unit::Unit;
use crate::cli::terminal;

/// Series that are drawn; more cannot be told apart.
const N_DRAWN_MAX: usize = 8;
/// The fewest rows of a plot.
const HEIGHT_MIN: u16 = 10;
/// Beyond so many seconds the axis shows dates.
const DAY_S: f64 = 86_400.0;
/// Of each series in turn.
const COLOURS: [(Color, &str); N_DRAWN_MAX] = [
    (Color::Cyan, "36"),
    (Color::Yellow, "33"),
    (Color::Green, "32"),
    (Color::Magenta, "35"),
    (Color::Blue, "34"),
    (Color::Red, "31"),
    (Color::LightCyan, "96"),
    (Color::LightYellow, "93"),
];

/// How many values a plot of this width shows: two dots a column.
pub fn n_points(width: usize) -> i64 {
    (width as i64 * 2).clamp(40, 2_000)
}

/// The plot, its axes, and below it what each line is.
pub fn draw(
    series: &[(Metric, Vec<(f64, f64)>)],
    span: Span,
    unit: Unit,
    (width, height): (usize, usize),
    has_colour: bool,
) -> String {
    if series.is_empty() {
        return String::new();
    }
    let drawn = &series[..series.len().min(N_DRAWN_MAX)];
    let legend = legend(series, drawn.len(), unit, has_colour);
    let rows = (height as u16).saturating_sub(legend.len() as u16 + 2).max(HEIGHT_MIN);
    let area = Rect::new(0, 0, (width as u16).clamp(20, 500), rows);
    // What is no number is not drawn: the line has a gap there, and so it has where values are missing.
    let pieces: Vec<(usize, Vec<(f64, f64)>)> = drawn
        .iter()
        .enumerate()
        .flat_map(|(place, (_, values))| pieces(values, span).into_iter().map(move |piece| (place, piece)))
        .collect();
    let (low, high) = bounds(&pieces);
    let (from, to) = (span.from_ms as f64 / 1_000.0, span.to_ms as f64 / 1_000.0);
    let dataset = |(place, points): &'_ (usize, Vec<(f64, f64)>)| (COLOURS[*place].0, points.clone());
    let owned: Vec<(Color, Vec<(f64, f64)>)> = pieces.iter().map(dataset).collect();
    let datasets = owned.iter().map(|(colour, points)| {
        let kind = if points.len() > 1 { GraphType::Line } else { GraphType::Scatter };
        Dataset::default()
            .marker(Marker::Braille)
            .graph_type(kind)
            .style(Style::new().fg(*colour))
            .data(points)
    });
    let with_date = to - from > DAY_S;
    let times = [from, (from + to) / 2.0, to].map(|at| Line::from(clock(at, with_date)));
    let values = [0.0, 0.25, 0.5, 0.75, 1.0].map(|part| Line::from(unit.show(low + (high - low) * part)));
    let chart = Chart::new(datasets.collect())
        .legend_position(None)
        .x_axis(Axis::default().bounds([from, to]).labels(times))
        .y_axis(Axis::default().bounds([low, high]).labels(values));
    let mut buffer = Buffer::empty(area);
    chart.render(area, &mut buffer);
    let mut lines = written(&buffer, has_colour);
    lines.extend(legend);
    lines.join("\n")
}

/// Runs of values without a hole between them.
fn pieces(values: &[(f64, f64)], span: Span) -> Vec<Vec<(f64, f64)>> {
    let step = span.step_ms as f64 / 1_000.0;
    let known: Vec<(f64, f64)> = values.iter().copied().filter(|(_, value)| value.is_finite()).collect();
    known.chunk_by(|a, b| b.0 - a.0 <= step * 1.5).map(<[_]>::to_vec).collect()
}

/// Least and most of all, a little apart from each other.
fn bounds(pieces: &[(usize, Vec<(f64, f64)>)]) -> (f64, f64) {
    let values = || pieces.iter().flat_map(|(_, points)| points.iter().map(|(_, value)| *value));
    let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
    if low > high {
        return (0.0, 1.0);
    }
    let room = if high > low { 0.0 } else { (high.abs() * 0.1).max(0.5) };
    // What begins near nothing is drawn from nothing on.
    let low = if low >= 0.0 && low < high * 0.5 { 0.0 } else { low - room };
    (low, high + room)
}

fn legend(series: &[(Metric, Vec<(f64, f64)>)], n_drawn: usize, unit: Unit, has_colour: bool) -> Vec<String> {
    let (same, _) = shared(series.iter().map(|(metric, _)| metric));
    let mut lines = Vec::new();
    if !same.is_empty() {
        lines.push(terminal::printable(&series_text(&same)).into_owned());
    }
    for (place, (metric, values)) in series[..n_drawn].iter().enumerate() {
        let own: Metric = metric
            .iter()
            .filter(|(name, _)| !same.contains_key(*name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let last = values.last().map_or_else(String::new, |(_, value)| unit.show(*value));
        let text = format!("{}  {last}", terminal::printable(&series_text(&own)));
        lines.push(match has_colour {
            true => format!("\x1b[{}m\u{2500}\u{2500}\x1b[0m {text}", COLOURS[place].1),
            false => format!("\u{2500}\u{2500} {text}"),
        });
    }
    if series.len() > n_drawn {
        let more = series.len() - n_drawn;
        lines.push(format!("and {more} more that are not drawn; topk({n_drawn}, ...) chooses"));
    }
    lines
}

/// The lines of a buffer, with the colours of what is drawn.
fn written(buffer: &Buffer, has_colour: bool) -> Vec<String> {
    let area = buffer.area;
    let line = |y: u16| {
        let mut text = String::new();
        let mut colour = Color::Reset;
        for x in 0..area.width {
            let Some(cell) = buffer.cell((x, y)) else { continue };
            if has_colour && cell.fg != colour {
                colour = cell.fg;
                let code = COLOURS.iter().find(|(known, _)| *known == colour).map_or("0", |(_, code)| *code);
                text += &format!("\x1b[{code}m");
            }
            text += cell.symbol();
        }
        if colour != Color::Reset {
            text += "\x1b[0m";
        }
        text.trim_end().to_owned()
    };
    (0..area.height).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(values: Vec<(f64, f64)>) -> String {
        let metric = Metric::from([("__name__".to_owned(), "a_bytes".to_owned())]);
        let span = Span { from_ms: 0, to_ms: 60_000, step_ms: 1_000 };
        draw(&[(metric, values)], span, Unit::Bytes, (40, 12), false)
    }

    #[test]
    fn rise_goes_from_below_left_to_above_right() {
        let text = plot((0..60).map(|n| (f64::from(n), f64::from(n) * 1024.0)).collect());
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.iter().all(|line| line.chars().count() <= 40), "{text}");
        let dots = |line: &str| line.chars().position(|c| ('\u{2801}'..='\u{28ff}').contains(&c));
        let drawn: Vec<usize> = lines.iter().filter_map(|line| dots(line)).collect();
        assert!(drawn.len() > 5 && drawn.is_sorted_by(|a, b| a >= b), "{text}");
        assert!(lines[0].contains("59 KiB") && text.ends_with("59 KiB"), "{text}");
    }

    #[test]
    fn holes_and_single_values_are_drawn_as_such() {
        let span = Span { from_ms: 0, to_ms: 60_000, step_ms: 1_000 };
        let values = [(0.0, 1.0), (1.0, 2.0), (2.0, f64::NAN), (3.0, 1.0), (9.0, 1.0)];
        assert_eq!(pieces(&values, span).iter().map(Vec::len).collect::<Vec<_>>(), [2, 1, 1]);
        assert!(plot(vec![(30.0, f64::INFINITY)]).lines().count() > 5);
        assert_eq!(bounds(&[(0, vec![(0.0, 7.0)])]), (6.3, 7.7));
    }
}
