//! The report as one HTML page that needs no other file.

use super::format;
use super::html_table::html_table;
use super::html_text::escape;
use super::plot::{Against, Legend, Plot, gate_plots, learning_curves, legend_symbol, scatter};
use super::protocol::{facts, progress, protocol};
use super::published::published;
use super::summary::Summary;
use super::tables;

const STYLE: &str = include_str!("report.css");
const SCRIPT: &str = include_str!("report.js");

/// A part of the page: its name in links, its heading, and its content.
struct Section {
    id: &'static str,
    title: &'static str,
    content: String,
}

/// The page.
///
/// # Errors
/// One sentence, if a plot cannot be drawn.
pub(crate) fn page(summary: &Summary) -> Result<String, String> {
    let sections: Vec<Section> = [
        Some(overview(summary)),
        Some(scores(summary)),
        cost(summary)?,
        curves(summary)?,
        gates(summary)?,
        beside(summary),
        gaps(summary),
        Some(measured(summary)),
    ]
    .into_iter()
    .flatten()
    .collect();
    let plan = &summary.plan;
    let title = match plan.description.is_empty() {
        true => &plan.name,
        false => &plan.description,
    };
    let mut html = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n",
        escape(title)
    );
    html.push_str(&head(summary, title));
    html.push_str("<nav aria-label=\"Parts of the report\"><ul>");
    for section in &sections {
        html.push_str(&format!(
            "<li><a href=\"#{}\">{}</a></li>",
            section.id, section.title
        ));
    }
    html.push_str("</ul></nav>\n<main>\n");
    for section in &sections {
        html.push_str(&format!(
            "<section id=\"{0}\" aria-labelledby=\"{0}-title\">\n<h2 id=\"{0}-title\">{1}</h2>\n{2}</section>\n",
            section.id, section.title, section.content
        ));
    }
    html.push_str(&format!(
        "</main>\n<script>\n{SCRIPT}</script>\n</body>\n</html>\n"
    ));
    Ok(html)
}

fn head(summary: &Summary, title: &str) -> String {
    let (done, all, told) = progress(summary);
    let share = 100.0 * done as f64 / all.max(1) as f64;
    let mut html = format!(
        "<header>\n<p class=\"kind\">Comparison of fine-tuning methods</p>\n<h1>{}</h1>\n\
         <p class=\"progress\"><span class=\"bar\" aria-hidden=\"true\"><span style=\"width:{share:.1}%\"></span></span>{}</p>\n<dl>\n",
        escape(title),
        escape(&told)
    );
    for (name, text) in facts(summary) {
        html.push_str(&format!(
            "<div><dt>{}</dt><dd>{}</dd></div>\n",
            escape(name),
            escape(&text)
        ));
    }
    html.push_str("</dl>\n</header>\n");
    html
}

fn paragraph(text: &str) -> String {
    format!("<p>{}</p>\n", escape(text))
}

fn notes(lines: &[String]) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let items: Vec<String> = lines
        .iter()
        .map(|line| format!("<li>{}</li>", escape(line)))
        .collect();
    format!("<ul class=\"notes\">{}</ul>\n", items.join(""))
}

fn details(title: &str, content: &str) -> String {
    format!(
        "<details>\n<summary>{}</summary>\n{content}</details>\n",
        escape(title)
    )
}

fn overview(summary: &Summary) -> Section {
    let key = format!(
        "<p class=\"key\"><span><b class=\"best\">bold</b> best</span> <span><span class=\"second\">underlined</span> second best</span> \
         <span><span class=\"sign better\">▲</span> better and <span class=\"sign worse\">▼</span> worse than {} with p &lt; 0.05</span> \
         <span>± standard deviation over seeds</span></p>\n",
        escape(&summary.plan.reference)
    );
    Section {
        id: "overview",
        title: "Overview",
        content: html_table(&tables::overview(summary)) + &key,
    }
}

fn scores(summary: &Summary) -> Section {
    let mut content = String::new();
    for task in &summary.tasks {
        let parts = [
            tables::metric_of(task),
            task.set
                .as_ref()
                .zip(task.rows)
                .map(|(set, rows)| format!("{set}, {} rows", format::grouped(rows))),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        content.push_str(&format!(
            "<h3>{} <small>{}</small>",
            escape(&task.name),
            escape(&parts.join(" · "))
        ));
        if let Some(warning) = tables::warning_of(task) {
            content.push_str(&format!(" <span class=\"tag\">{}</span>", escape(&warning)));
        }
        content.push_str("</h3>\n");
        content.push_str(&html_table(&tables::task_table(summary, task)));
        content.push_str(&notes(&tables::untested(task)));
    }
    Section {
        id: "scores",
        title: "Scores by task",
        content,
    }
}

/// Plots side by side, with one legend.
fn figure(caption: &str, legend: &[Legend], plots: Vec<Plot>) -> String {
    let mut html = format!(
        "<figure>\n<figcaption>{}</figcaption>\n<ul class=\"legend\">",
        escape(caption)
    );
    for entry in legend {
        html.push_str(&format!(
            "<li>{}{}</li>",
            legend_symbol(entry.series),
            escape(&entry.name)
        ));
    }
    html.push_str("</ul>\n<div class=\"plots\">\n");
    for plot in plots {
        html.push_str(&format!(
            "<div class=\"plot\"><h4>{}</h4>\n{}</div>\n",
            escape(&plot.title),
            plot.svg
        ));
    }
    html.push_str("</div>\n</figure>\n");
    html
}

fn methods(summary: &Summary) -> Vec<Legend> {
    let names = summary
        .plan
        .methods
        .iter()
        .map(|method| method.name.clone());
    names
        .enumerate()
        .map(|(series, name)| Legend { name, series })
        .collect()
}

/// Plots that could be drawn, or the first reason why one could not.
fn drawn<E: std::fmt::Display>(
    plots: impl IntoIterator<Item = Result<Plot, E>>,
) -> Result<Vec<Plot>, String> {
    let plots = plots
        .into_iter()
        .map(|plot| plot.map_err(|error| format!("a plot cannot be drawn: {error}")));
    plots.collect()
}

fn cost(summary: &Summary) -> Result<Option<Section>, String> {
    if summary.records.is_empty() {
        return Ok(None);
    }
    let mut content = html_table(&tables::cost_by_method(summary));
    if summary.tasks.len() > 1 {
        content.push_str(&details(
            "Costs of every task",
            &html_table(&tables::cost_by_task(summary)),
        ));
    }
    for (against, caption) in [
        (
            Against::Parameters,
            "Score against trainable parameters, which include the head. The bars are one standard deviation over the seeds; the line \
             joins the methods that no other one beats with as few parameters or fewer.",
        ),
        (
            Against::Time,
            "Score against the time of the training. The line joins the methods that no other one beats in as short a time.",
        ),
    ] {
        let plots = drawn(
            summary
                .tasks
                .iter()
                .filter_map(|task| scatter(summary, task, against)),
        )?;
        if !plots.is_empty() {
            content.push_str(&figure(caption, &methods(summary), plots));
        }
    }
    Ok(Some(Section {
        id: "cost",
        title: "Cost",
        content,
    }))
}

fn curves(summary: &Summary) -> Result<Option<Section>, String> {
    let plots = drawn(summary.tasks.iter().filter_map(learning_curves))?;
    if plots.is_empty() {
        return Ok(None);
    }
    let caption = "Scores on the rows that choose. Thin lines are seeds, thick ones their mean as long as all of them run.";
    Ok(Some(Section {
        id: "curves",
        title: "Learning curves",
        content: figure(caption, &methods(summary), plots),
    }))
}

fn gates(summary: &Summary) -> Result<Option<Section>, String> {
    let Some(table) = tables::gates(summary) else {
        return Ok(None);
    };
    let plots = drawn(gate_plots(summary))?;
    let tasks = summary.tasks.iter().enumerate();
    let legend: Vec<Legend> = tasks
        .map(|(series, task)| Legend {
            name: task.name.clone(),
            series,
        })
        .collect();
    let caption = "Mean gate over the reported rows and the seeds: 0 is shut, 1 is open. A line for each task, a plot for each part of a method.";
    Ok(Some(Section {
        id: "gates",
        title: "Gates",
        content: figure(caption, &legend, plots) + &details("Numbers", &html_table(&table)),
    }))
}

fn beside(summary: &Summary) -> Option<Section> {
    let (beside, reasons) = published(summary);
    if beside.is_empty() && reasons.is_empty() {
        return None;
    }
    let mut content = String::new();
    if !beside.is_empty() {
        content.push_str(&paragraph(
            "Numbers of others, as they were printed, with this report's own below them in the same metric. Encoders, budgets and \
             the way in which runs were chosen differ, so that a difference is no finding.",
        ));
    }
    for one in &beside {
        content.push_str(&format!(
            "<h3>{} <small>{}</small></h3>\n",
            escape(&one.source),
            escape(&one.encoder)
        ));
        if let Some(note) = &one.note {
            content.push_str(&paragraph(&sentence(note)));
        }
        content.push_str(&html_table(&one.table));
    }
    content.push_str(&notes(&reasons));
    Some(Section {
        id: "published",
        title: "Published results",
        content,
    })
}

/// A note as a sentence.
pub(crate) fn sentence(note: &str) -> String {
    let mut letters = note.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(letters).chain(['.']).collect()
}

fn gaps(summary: &Summary) -> Option<Section> {
    Some(Section {
        id: "gaps",
        title: "Failed and missing runs",
        content: html_table(&tables::gaps(summary)?),
    })
}

fn measured(summary: &Summary) -> Section {
    let mut content = html_table(&tables::data(summary));
    content.push_str("<dl class=\"protocol\">\n");
    for (name, text) in protocol(summary) {
        content.push_str(&format!(
            "<div><dt>{}</dt><dd>{}</dd></div>\n",
            escape(name),
            escape(&text)
        ));
    }
    content.push_str("</dl>\n");
    content.push_str(&details(
        "Learning rates that were tried",
        &html_table(&tables::trials(summary)),
    ));
    Section {
        id: "measured",
        title: "How this was measured",
        content,
    }
}
