//! The complete run: rules, coverage, losses, environment.

use super::{Page, name};
use crate::render::report::{facts, phrase};

impl Page<'_> {
    pub(super) fn rules(&mut self) {
        let story = self.story;
        self.heading("## Rules");
        for (index, device) in story.devices.iter().enumerate() {
            if index > 0 {
                self.text.push('\n');
            }
            self.prose(&format!("{}:", name(device)));
            self.text.push('\n');
            let of = story.check.verdicts.iter().filter(|verdict| verdict.device.0 == device.device);
            let rows: Vec<_> = of
                .map(|verdict| {
                    let found = match verdict.findings {
                        0 => String::new(),
                        found => phrase::counted(u64::from(found), "finding"),
                    };
                    vec![
                        phrase::loud(verdict.verdict).to_owned(),
                        verdict.rule.name().to_owned(),
                        verdict.severity.name().to_owned(),
                        found,
                    ]
                })
                .collect();
            self.columns(&rows);
        }
        if story.devices.is_empty() {
            self.prose("No rule was applied to any device.");
        }
    }

    pub(super) fn coverage(&mut self) {
        self.heading("## Coverage and losses");
        let (sentences, lines) = facts::coverage(self.story, self.context);
        for sentence in sentences {
            self.item(&sentence);
        }
        let rows: Vec<_> = lines.into_iter().map(|line| vec![line]).collect();
        if !rows.is_empty() {
            self.text.push('\n');
            self.columns(&rows);
        }
    }

    pub(super) fn environment(&mut self) {
        self.heading("## Environment");
        let rows: Vec<_> = facts::environment(self.story).into_iter().map(|row| row.to_vec()).collect();
        self.columns(&rows);
    }
}
