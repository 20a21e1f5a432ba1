//! Plots as SVG text. Their colours are classes, which the page's style sheet fills in: so they suit
//! light and dark.

use super::axis::{Axis, short};
use plotters::{
    coord::{
        Shift,
        ranged1d::{KeyPointHint, NoDefaultFormatting, ValueFormatter},
    },
    prelude::*,
    style::{
        FontFamily,
        text_anchor::{HPos, Pos, VPos},
    },
};
use std::{io, ops::Range};

/// How many colours series have; then they come again.
pub const SERIES_COLOURS: usize = 8;

/// The size of a plot in its own units. The page scales it.
const SIZE: (u32, u32) = (960, 620);

/// Room for labels: texts are up to 34 units high, on narrow screens.
const LABEL_HEIGHT: u32 = 50;
const TITLE_HEIGHT: u32 = 64;
const Y_LABEL_WIDTH: u32 = 120;
const HALF_X_LABEL_WIDTH: u32 = 75;

/// Keeps the first labels of both axes apart.
const TICK_HEIGHT: u32 = 14;

/// A bar with its text above it.
const BAR_HEIGHT: i32 = 28;
const BAR_PITCH: i32 = 84;

const LINE_WIDTH: u32 = 4;

/// Placeholders for colours, which [`with_classes`] finds again.
const TEXT: RGBColor = RGBColor(0, 0, 1);
const GRID: RGBColor = RGBColor(0, 0, 2);
const FIRST_SERIES: u8 = 16;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), DrawingAreaErrorKind<io::Error>>;

/// Points to be joined.
pub struct Series {
    pub name: String,
    /// Which colour, from 0.
    pub colour: usize,
    /// Places on both axes.
    pub points: Vec<(f64, f64)>,
}

/// A named length.
pub struct Bar {
    pub name: String,
    /// Which colour, from 0.
    pub colour: usize,
    pub value: f64,
}

/// Lines between two axes.
pub fn lines(x: &Axis, y: &Axis, series: &[Series]) -> Result<String, io::Error> {
    draw(SIZE, |area| draw_lines(area, x, y, series))
}

/// Bars, with names and values.
pub fn bars(bars: &[Bar]) -> Result<String, io::Error> {
    let height = u32::try_from(bars.len()).unwrap_or(1) * BAR_PITCH as u32;
    draw((SIZE.0, height), |area| draw_bars(area, bars))
}

fn draw(size: (u32, u32), draw: impl FnOnce(&Area<'_>) -> Drawn) -> Result<String, io::Error> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        let drawn = draw(&area).and_then(|()| area.present());
        drawn.map_err(|error| io::Error::other(error.to_string()))?;
    }
    let fixed_size = format!("width=\"{}\" height=\"{}\" ", size.0, size.1);
    Ok(with_classes(svg.replacen(&fixed_size, "", 1)))
}

fn series_colour(colour: usize) -> RGBColor {
    RGBColor(0, 0, FIRST_SERIES + (colour % SERIES_COLOURS) as u8)
}

fn text_style(h: HPos, v: VPos) -> TextStyle<'static> {
    // The style sheet has the size that counts.
    (FontFamily::SansSerif, 24).into_font().color(&TEXT).pos(Pos::new(h, v))
}

fn draw_lines(area: &Area<'_>, x: &Axis, y: &Axis, series: &[Series]) -> Drawn {
    let bottom_right = (SIZE.0 as i32, SIZE.1 as i32);
    area.draw(&Text::new(y.title, (0, 0), text_style(HPos::Left, VPos::Top)))?;
    area.draw(&Text::new(x.title, bottom_right, text_style(HPos::Right, VPos::Bottom)))?;
    let mut chart = ChartBuilder::on(area)
        .margin_top(TITLE_HEIGHT)
        .margin_bottom(TITLE_HEIGHT)
        .margin_right(HALF_X_LABEL_WIDTH)
        .x_label_area_size(LABEL_HEIGHT)
        .y_label_area_size(Y_LABEL_WIDTH)
        .build_cartesian_2d(x, y)?;
    chart
        .configure_mesh()
        .axis_style(GRID)
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .set_tick_mark_size(LabelAreaPosition::Bottom, TICK_HEIGHT)
        .x_label_style(text_style(HPos::Center, VPos::Top))
        .y_label_style(text_style(HPos::Right, VPos::Center))
        .draw()?;
    for Series { colour, points, .. } in series {
        let style = series_colour(*colour).stroke_width(LINE_WIDTH);
        chart.draw_series(LineSeries::new(points.iter().copied(), style))?;
        // A line of one point cannot be seen.
        if let [point] = points[..] {
            chart.draw_series([Circle::new(point, LINE_WIDTH * 2, style.filled())])?;
        }
    }
    Ok(())
}

impl Ranged for &Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (first, last): (i32, i32)) -> i32 {
        let share = (value - self.from) / (self.to - self.from);
        first + (share * f64::from(last - first)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        match hint.weight().allow_light_points() {
            true => Vec::new(),
            false => self.marks.iter().map(|(place, _)| *place).collect(),
        }
    }

    fn range(&self) -> Range<f64> {
        self.from..self.to
    }
}

impl ValueFormatter<f64> for &Axis {
    fn format_ext(&self, place: &f64) -> String {
        self.label(*place)
    }
}

fn draw_bars(area: &Area<'_>, bars: &[Bar]) -> Drawn {
    let most = bars.iter().map(|bar| bar.value).fold(0.0, f64::max);
    for (place, Bar { name, colour, value }) in bars.iter().enumerate() {
        let bottom = i32::try_from(place + 1).unwrap_or(1) * BAR_PITCH - BAR_HEIGHT / 4;
        let top = bottom - BAR_HEIGHT;
        let share = if most > 0.0 { value / most } else { 0.0 };
        // A little is drawn of nothing, too, so that it can be seen to be there.
        let right = (share * f64::from(SIZE.0)).max(2.0) as i32;
        let text = format!("{name}: {}", short(*value));
        area.draw(&Text::new(text, (0, top - 4), text_style(HPos::Left, VPos::Bottom)))?;
        let style = series_colour(*colour).filled();
        area.draw(&Rectangle::new([(0, top), (right, bottom)], style))?;
    }
    Ok(())
}

/// The drawing with classes instead of placeholders for colours. Quotation marks in texts are
/// escaped, so none is mistaken for one.
fn with_classes(svg: String) -> String {
    let named = |colour: RGBColor, name: String| {
        let RGBColor(red, green, blue) = colour;
        (format!("#{red:02X}{green:02X}{blue:02X}"), name)
    };
    let series = (0..SERIES_COLOURS).map(|n| named(series_colour(n), format!("series-{n}")));
    let all = [named(TEXT, "text".to_owned()), named(GRID, "grid".to_owned())];
    all.into_iter().chain(series).fold(svg, |svg, (colour, name)| {
        svg.replace(&format!("fill=\"{colour}\""), &format!("class=\"fill {name}\""))
            .replace(&format!("stroke=\"{colour}\""), &format!("class=\"line {name}\""))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_colour_and_no_size_is_left_in_a_drawing() {
        let (x, y) = (Axis::linear("seconds", 10.0), Axis::linear("events/s", 5e6));
        let series =
            |colour| Series { name: "a".to_owned(), colour, points: vec![(0.0, 1.0), (5.0, 4e6)] };
        let one = Series { points: vec![(1.0, 1.0)], ..series(2) };
        let svg = lines(&x, &y, &[series(0), series(9), one]).expect("a drawing");
        assert!(!svg.contains('#'), "{svg}");
        assert!(svg.starts_with("<svg viewBox=\"0 0 960 620\""), "{svg}");
        for part in ["class=\"line series-0\"", "class=\"line series-1\"", "<circle", "events/s"] {
            assert!(svg.contains(part), "{part} is missing:\n{svg}");
        }
    }

    #[test]
    fn names_in_a_drawing_are_escaped() {
        let bar = Bar { name: "<b a=\"#000001\">&".to_owned(), colour: 0, value: 0.0 };
        let svg = bars(&[bar]).expect("a drawing");
        assert!(svg.contains("&lt;b a=&quot;#000001&quot;&gt;&amp;: 0"), "{svg}");
    }
}
