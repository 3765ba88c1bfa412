//! The page's text.

use std::fmt::Write;

use super::Status;
use crate::jobs::{Job, JobState};

const PAGE: &str = include_str!("page.html");

/// The page with what is known now.
pub(super) fn page(status: &Status, jobs: &[Job]) -> String {
    let places = [
        ("{{version}}", escaped(&status.version)),
        ("{{methods}}", methods(status)),
        ("{{devices}}", devices(status)),
        ("{{models}}", models(status)),
        ("{{jobs}}", jobs.iter().map(job).collect()),
    ];
    // One pass: what is filled in is never looked at again.
    let mut page = String::with_capacity(PAGE.len() * 2);
    let mut rest = PAGE;
    while let Some((before, after)) = rest.split_once("{{") {
        page.push_str(before);
        let (name, after) = after.split_once("}}").unwrap_or((after, ""));
        let wanted = format!("{{{{{name}}}}}");
        let text = places.iter().find(|(place, _)| *place == wanted).map(|(_, text)| text.as_str());
        page.push_str(text.unwrap_or_default());
        rest = after;
    }
    page.push_str(rest);
    page
}

/// A text in which no character is markup.
pub(super) fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
        out
    })
}

fn methods(status: &Status) -> String {
    let option = |name: &String| format!("<option>{}</option>", escaped(name));
    status.methods.iter().map(option).collect()
}

fn devices(status: &Status) -> String {
    status.devices.iter().fold(String::new(), |mut rows, device| {
        let [name, card, state] = [&device.name, &device.card, &device.state].map(|text| escaped(text));
        let _ = write!(
            rows,
            "<tr data-device=\"{name}\"><th scope=\"row\">{name}<small>{card}</small></th><td>{state}</td>\
             <td><meter min=\"0\" max=\"1\" value=\"0\" aria-label=\"load of {name}\"></meter></td><td class=\"number\">{}</td></tr>",
            device.items
        );
        rows
    })
}

fn models(status: &Status) -> String {
    status.models.iter().fold(String::new(), |mut rows, model| {
        let name = escaped(&model.name);
        let state = if model.ready { "ready" } else { "not ready" };
        let _ = write!(
            rows,
            "<tr data-model=\"{name}\"><th scope=\"row\">{name}</th><td>{state}</td><td class=\"number\">{}</td>\
             <td class=\"number\">{}</td></tr>",
            model.answered, model.waiting
        );
        rows
    })
}

fn job(job: &Job) -> String {
    let state = match job.state {
        JobState::Queued => "queued",
        JobState::Running => "running",
        JobState::Done => "done",
        JobState::Failed => "failed",
        JobState::Cancelled => "cancelled",
    };
    // The script shows its details.
    format!(
        "<li data-job=\"{}\">{} <span>{state}</span></li>",
        escaped(&job.id),
        escaped(&job.layout)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::{DeviceStatus, ModelStatus};

    #[test]
    fn no_name_of_anything_is_markup() {
        let evil = "<script>alert('{{jobs}}')</script>\"&".to_string();
        let status = Status {
            version: evil.clone(),
            methods: vec![evil.clone()],
            models: vec![ModelStatus { name: evil.clone(), ..ModelStatus::default() }],
            devices: vec![DeviceStatus {
                name: evil.clone(),
                card: evil.clone(),
                state: evil,
                ..DeviceStatus::default()
            }],
            ..Status::default()
        };
        let page = page(&status, &[]);
        assert!(!page.contains("<script>alert"), "{page}");
        assert!(
            page.matches("&lt;script&gt;alert(&#39;{{jobs}}&#39;)&lt;/script&gt;&quot;&amp;")
                .count()
                >= 5
        );
        assert!(!page.contains("{{version}}") && page.ends_with("</html>\n"));
    }
}
