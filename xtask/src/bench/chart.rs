//! The chart of docs/performance.svg: how many times as long as native, a line for each thing and a dot for each contestant.

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use super::row::{Row, distinct};

/// Contestants have the colours of their order.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(213, 94, 0),
];
const WIDTH: u32 = 900;
const LINE: u32 = 22;
const FRAME: u32 = 110;

/// The chart as text.
pub(crate) fn draw(rows: &[Row]) -> Result<String> {
    let dots: Vec<_> = rows
        .iter()
        .filter(|row| row.contestant != "native")
        .filter_map(|row| Some((row, row.found.as_ref().ok()?.ratio?)))
        .collect();
    let things = distinct(dots.iter().map(|(row, _)| row.what.as_str()));
    let contestants = distinct(dots.iter().map(|(row, _)| row.contestant.as_str()));
    let largest = dots.iter().map(|(_, ratio)| *ratio).fold(10.0, f64::max);
    let lines = i32::try_from(things.len())?;
    let mut text = String::new();
    {
        let size = (WIDTH, FRAME + LINE * u32::try_from(things.len())?);
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        area.fill(&WHITE).map_err(unable)?;
        let mut chart = ChartBuilder::on(&area)
            .caption("times as long as native (logarithmic)", ("sans-serif", 16))
            .margin(10)
            .x_label_area_size(30)
            .y_label_area_size(170)
            .build_cartesian_2d((0.5..largest * 1.5).log_scale(), 0..lines)
            .map_err(unable)?;
        let name = |line: &i32| {
            let found = usize::try_from(lines - line).ok();
            let found = found.and_then(|at| things.get(at));
            found.map_or_else(String::new, |thing| (*thing).to_owned())
        };
        chart
            .configure_mesh()
            .y_labels(things.len() + 1)
            .y_label_formatter(&name)
            .light_line_style(WHITE)
            .draw()
            .map_err(unable)?;
        for (contestant, colour) in contestants.iter().zip(COLOURS.into_iter().cycle()) {
            let own = dots.iter().filter(|(row, _)| row.contestant == *contestant);
            let points = own.filter_map(|(row, ratio)| {
                let at = things.iter().position(|thing| *thing == row.what)?;
                Some((*ratio, lines - i32::try_from(at).ok()?))
            });
            chart
                .draw_series(points.map(|at| Circle::new(at, 5, colour.filled())))
                .map_err(unable)?
                .label(*contestant)
                .legend(move |at| Circle::new(at, 5, colour.filled()));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerRight)
            .background_style(WHITE)
            .border_style(BLACK)
            .draw()
            .map_err(unable)?;
        area.present().map_err(unable)?;
    }
    Ok(text)
}

fn unable(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("the chart cannot be drawn: {error}")
}

#[cfg(test)]
mod tests {
    use super::super::row::read;
    use super::*;

    #[test]
    fn the_chart_names_things_and_contestants() {
        let row = |contestant: &str, ratio: f64| {
            format!(
                r#"{{"place":"here","section":"s","what":"open","unit":"ns","contestant":"{contestant}","value":2,"ratio":{ratio}}}"#
            )
        };
        let rows = [
            row("native", 1.0),
            row("ringfence", 1.5),
            row("strace", 20.0),
        ];
        let chart = draw(&read(&rows.join("\n")).unwrap()).unwrap();
        assert!(chart.starts_with("<svg"), "{chart}");
        for word in ["open", "ringfence", "strace"] {
            assert!(chart.contains(word), "{word}: {chart}");
        }
    }
}
