//! Tables and plots as one page that needs nothing else.

use super::figure::Figure;
use crate::cli::bench::compare::table::Table;
use maud::{DOCTYPE, Markup, PreEscaped, html};

/// The colours and fonts of all pages.
const SHARED_STYLE: &str = include_str!("../../../../web/statesync.css");
const STYLE: &str = include_str!("report.css");

/// Nothing is loaded, and nothing runs.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// What is in the page.
pub struct Page {
    /// Where and how it was measured, in lines.
    pub setting: String,
    pub parts: Vec<Part>,
}

/// A table and plots that belong together.
pub struct Part {
    pub title: String,
    pub notes: Vec<String>,
    pub table: Option<Table>,
    pub figures: Vec<Figure>,
}

impl Page {
    pub fn to_html(&self) -> String {
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta http-equiv="Content-Security-Policy" content=(POLICY);
                    meta name="viewport" content="width=device-width";
                    title { "statesync bench" }
                    style { (PreEscaped(SHARED_STYLE)) (PreEscaped(STYLE)) }
                }
                body {
                    header {
                        h1 { "statesync bench" }
                        @for line in self.setting.lines() { p { (line) } }
                    }
                    main { @for part in &self.parts { (section(part)) } }
                }
            }
        };
        page.into_string()
    }
}

fn section(part: &Part) -> Markup {
    html! {
        section {
            h2 { (part.title) }
            @for note in &part.notes { p { (note) } }
            @if !part.figures.is_empty() {
                div.figures { @for each in &part.figures { (figure(each)) } }
            }
            @if let Some(content) = &part.table { (table(&part.title, content)) }
        }
    }
}

fn figure(figure: &Figure) -> Markup {
    html! {
        figure {
            figcaption { (figure.title) }
            // The table says the same in numbers.
            div role="img" aria-label=(figure.title) { (PreEscaped(&figure.svg)) }
            @if !figure.legend.is_empty() {
                ul.legend {
                    @for (name, colour) in &figure.legend {
                        li class={ "series-" (colour % super::plot::SERIES_COLOURS) } { span { (name) } }
                    }
                }
            }
        }
    }
}

/// It scrolls in its own box, which the keyboard reaches, too.
fn table(name: &str, table: &Table) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label={ "Table: " (name) } {
            table {
                thead {
                    tr {
                        @for (place, heading) in table.headings.iter().enumerate() {
                            th scope="col" class=[table.is_name(place).then_some("name")] { (heading) }
                        }
                    }
                }
                tbody {
                    @for row in &table.rows {
                        tr {
                            @for (place, cell) in row.iter().enumerate() {
                                @let class = table.is_name(place).then_some("name");
                                @if place == 0 {
                                    th scope="row" class=[class] { (cell) }
                                } @else {
                                    td class=[class] { (cell) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
