//! The dashboard: pages rendered on the server, readable without JavaScript, none of which exists.
//!
//! Pure: data in, markup out. Owns how things look and are worded; computes no recommendation and
//! reads no store. Every page is bounded in rows, so that none is heavier than
//! [`MAX_PAGE_BYTES`], however large the fleet.

mod audit;
mod chart;
mod format;
mod nodes;
mod overview;
mod totals;
mod workload;

use maud::{DOCTYPE, Markup, html};

pub use audit::{AUDIT_ROWS, audit};
pub use nodes::nodes;
pub use overview::{OverviewData, OverviewQuery, overview};
pub use workload::workload;

/// The style sheet, served at [`STYLE_PATH`].
pub const STYLE: &str = include_str!("dashboard/style.css");
/// Where pages expect it.
pub const STYLE_PATH: &str = "/assets/plimsoll.css";
/// Heaviest page that is allowed.
pub const MAX_PAGE_BYTES: usize = 100 * 1024;

/// Which entry of the navigation a page belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Overview,
    Audit,
    Nodes,
}

/// A whole page around its content.
fn layout(place: Place, title: &str, as_of: &str, content: &Markup) -> Markup {
    let entry = |to: Place, href: &str, text: &str| {
        let current = (to == place).then_some("page");
        html! { li { a href=(href) aria-current=[current] { (text) } } }
    };
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · Plimsoll" }
                link rel="stylesheet" href=(STYLE_PATH);
            }
            body {
                a.skip href="#content" { "Skip to content" }
                header.top {
                    a.brand href="/" {
                        (chart::logo())
                        span { "Plimsoll" }
                    }
                    nav aria-label="Main" {
                        ul {
                            (entry(Place::Overview, "/", "Workloads"))
                            (entry(Place::Audit, "/audit", "Audit"))
                            (entry(Place::Nodes, "/nodes", "Nodes and accounting"))
                        }
                    }
                    @if !as_of.is_empty() { p.asof { time datetime=(as_of) { (format::time_text(as_of)) } } }
                }
                main #content { (content) }
                footer { p { "The same numbers as JSON: " a href="/api/v1/sizing" { "sizing" } ", " a href="/api/v1/audit" { "audit" } ", " a href="/api/v1/accounting" { "accounting" } ", " a href="/api/v1/nodes" { "nodes" } "." } }
            }
        }
    }
}

/// A page that says what was not found.
pub fn missing(message: &str) -> Markup {
    let content = html! {
        h1 { "Not here" }
        p { (message) }
        p { a href="/" { "All workloads" } }
    };
    layout(Place::Overview, "Not here", "", &content)
}

/// A page that says why there is no other.
pub fn problem(status: u16, message: &str) -> Markup {
    let content = html! {
        h1 { (status) }
        p.problem role="alert" { (message) }
        p { a href="/" { "All workloads" } }
    };
    layout(Place::Overview, "No answer", "", &content)
}

#[cfg(test)]
pub(crate) mod tests;
