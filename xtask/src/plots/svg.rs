//! Figures as SVG: one panel beside the other, two in a row.

use std::fmt::Write;

use super::{
    Figures, Panel,
    axis::{Axis, readable},
};

const PANELS_IN_A_ROW: usize = 2;
const WIDTH: f64 = 400.0;
const HEIGHT: f64 = 260.0;
/// The space around the area of a panel in which its line is.
const LEFT: f64 = 62.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 36.0;
const BOTTOM: f64 = 48.0;

/// More points than this have no dots: the line is dense enough.
const DOTS: usize = 40;

const STYLE: &str = "text{font:12px sans-serif;fill:#222}.heading{font-weight:bold}\
    .tick{fill:#666;font-size:11px}.grid{stroke:#ddd}.line{fill:none;stroke:#0b62a4;stroke-width:2}.dot{fill:#0b62a4}";

pub(super) fn draw(figures: &Figures) -> String {
    let columns = figures.panels.len().min(PANELS_IN_A_ROW);
    let rows = figures.panels.len().div_ceil(PANELS_IN_A_ROW);
    let (width, height) = (WIDTH * columns as f64, HEIGHT * rows as f64);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\">\n<title>{}</title>\n<style>{STYLE}</style>\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n",
        escaped(&title(figures)),
    );
    for (at, panel) in figures.panels.iter().enumerate() {
        let x = WIDTH * (at % PANELS_IN_A_ROW) as f64;
        let y = HEIGHT * (at / PANELS_IN_A_ROW) as f64;
        // Writing to a string cannot fail.
        let _ = writeln!(out, "<g transform=\"translate({x} {y})\">");
        draw_panel(&figures.across, panel, &mut out);
        out.push_str("</g>\n");
    }
    out.push_str("</svg>\n");
    out
}

/// What a reader who does not see the plot is told.
fn title(figures: &Figures) -> String {
    let headings: Vec<&str> = figures.panels.iter().map(|panel| panel.heading.as_str()).collect();
    format!("{}, by {}", headings.join("; "), figures.across)
}

fn draw_panel(across: &str, panel: &Panel, out: &mut String) {
    let xs = panel.points.iter().map(|(x, _)| *x);
    // A run is not a load: its hours are equally long.
    let xs = if across.starts_with("time ") { Axis::linear(xs) } else { Axis::new(xs) };
    let ys = Axis::new(panel.points.iter().map(|(_, y)| *y));
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    let x_of = |value| LEFT + xs.share(value) * (right - LEFT);
    let y_of = |value| bottom - ys.share(value) * (bottom - TOP);
    for tick in xs.ticks() {
        let (x, y, label) = (x_of(tick), bottom + 16.0, readable(tick));
        let _ = writeln!(
            out,
            "<path class=\"grid\" d=\"M{x:.1} {TOP}V{bottom}\"/>\
             <text class=\"tick\" text-anchor=\"middle\" x=\"{x:.1}\" y=\"{y}\">{label}</text>"
        );
    }
    for tick in ys.ticks() {
        let (x, y, label) = (LEFT - 6.0, y_of(tick), readable(tick));
        let _ = writeln!(
            out,
            "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/>\
             <text class=\"tick\" text-anchor=\"end\" x=\"{x}\" y=\"{:.1}\">{label}</text>",
            y + 4.0
        );
    }
    let _ = writeln!(
        out,
        "<text class=\"heading\" x=\"{LEFT}\" y=\"22\">{}</text>\
         <text text-anchor=\"middle\" x=\"{}\" y=\"{}\">{}</text>",
        escaped(&panel.heading),
        (LEFT + right) / 2.0,
        HEIGHT - 12.0,
        escaped(across),
    );
    let points: Vec<(f64, f64)> = panel.points.iter().map(|(x, y)| (x_of(*x), y_of(*y))).collect();
    out.push_str("<path class=\"line\" d=\"");
    for (at, (x, y)) in points.iter().enumerate() {
        let _ = write!(out, "{}{x:.1} {y:.1}", if at == 0 { "M" } else { "L" });
    }
    out.push_str("\"/>\n");
    if points.len() <= DOTS {
        for (x, y) in points {
            let _ = writeln!(out, "<circle class=\"dot\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>");
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_has_a_panel_for_each_column_and_a_dot_for_each_point() {
        let figures = Figures::parse("size (bytes),a < b,c\n1,2,3\n10,20,30\n").unwrap();
        let drawn = draw(&figures);
        assert_eq!(drawn.matches("<g ").count(), 2);
        assert_eq!(drawn.matches("<circle").count(), 4);
        assert!(drawn.contains("<title>a &lt; b; c, by size (bytes)</title>"), "{drawn}");
        assert!(drawn.contains("width=\"800\" height=\"260\""), "{drawn}");
    }

    #[test]
    fn the_line_goes_from_corner_to_corner_when_the_values_are_the_ends_of_the_axes() {
        let figures = Figures::parse("x,y\n0,0\n10,10\n").unwrap();
        let line = format!("M{LEFT:.1} {:.1}L{:.1} {TOP:.1}", HEIGHT - BOTTOM, WIDTH - RIGHT);
        assert!(draw(&figures).contains(&line));
    }

    #[test]
    fn time_is_linear_and_a_load_with_a_wide_range_is_not() {
        let x_of_the_second = |across: &str| {
            let figures = Figures::parse(&format!("{across},y\n1,1\n100,1\n1000,1\n")).unwrap();
            let drawn = draw(&figures);
            let line = &drawn[drawn.find("d=\"M").unwrap()..];
            let (_, point) = line.split_once('L').unwrap();
            point.split(' ').next().unwrap().parse::<f64>().unwrap()
        };
        let share = |x: f64| (x - LEFT) / (WIDTH - RIGHT - LEFT);
        assert!((share(x_of_the_second("time (s)")) - 0.1).abs() < 0.01);
        assert!((share(x_of_the_second("messages")) - 2.0 / 3.0).abs() < 0.01);
    }
}
