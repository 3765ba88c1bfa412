//! Pages of metrics, read: Prometheus' text format 0.0.4.

use std::collections::BTreeMap;

/// One value of a page.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The metric's name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

/// A page.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// Its values, in the page's order.
    pub samples: Vec<Sample>,
}

impl Page {
    /// Reads a page. Lines that are no samples are left out.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
        Self { samples: lines.filter_map(sample).collect() }
    }

    /// The values of a metric.
    pub fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |sample| sample.name == name)
    }

    /// The value of a metric with a label; the first one if there are several.
    #[must_use]
    pub fn with(&self, name: &str, label: (&str, &str)) -> Option<f64> {
        let meant = |s: &&Sample| s.labels.get(label.0).is_some_and(|value| value == label.1);
        self.of(name).find(meant).map(|sample| sample.value)
    }

    /// The sum of a metric's values; none if it has none.
    #[must_use]
    pub fn sum(&self, name: &str) -> Option<f64> {
        let mut values = self.of(name).map(|sample| sample.value).peekable();
        values.peek().is_some().then(|| values.sum())
    }
}

/// `name{label="value",…} number [time]`.
fn sample(line: &str) -> Option<Sample> {
    let end = line.find(|c: char| c == '{' || c.is_whitespace())?;
    let (name, rest) = line.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(inside) => labels(inside)?,
        None => (BTreeMap::new(), rest),
    };
    let value = match rest.split_whitespace().next()? {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        number => number.parse().ok()?,
    };
    Some(Sample { name: name.into(), labels, value })
}

/// Labels up to the closing brace, and what follows it.
fn labels(mut rest: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (name, after) = rest.split_once('=')?;
        let (value, after) = quoted(after.trim_start().strip_prefix('"')?)?;
        labels.insert(name.trim().to_string(), value);
        rest = after;
    }
}

/// A text up to its closing quote, with what is escaped in it, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((place, c)) = characters.next() {
        match c {
            '"' => return Some((value, &text[place + 1..])),
            '\\' => value.push(match characters.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_with_its_labels_and_odd_values() {
        let page = Page::parse(
            "# HELP a Words.\n# TYPE a counter\na{model=\"x, y\",path=\"C:\\\\d \\\"q\\\"\\n\"} 12\n\
             a{model=\"z\"} 3.5e2 1700000000000\n\nb 7\nc{} +Inf\nd NaN\nbroken{ 1\nnonsense\n",
        );
        assert_eq!(page.samples.len(), 5);
        assert_eq!(page.samples[0].labels["path"], "C:\\d \"q\"\n");
        assert_eq!(page.with("a", ("model", "x, y")), Some(12.0));
        assert_eq!((page.sum("a"), page.sum("b"), page.sum("e")), (Some(362.0), Some(7.0), None));
        assert_eq!(page.sum("c"), Some(f64::INFINITY));
        assert!(page.sum("d").is_some_and(f64::is_nan));
    }
}
