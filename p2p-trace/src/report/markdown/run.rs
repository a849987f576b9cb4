//! What holds for the whole run: rules, coverage, losses, environment.

use super::{Page, name};
use crate::{
    account::{HookState, MissedQuality, SequenceQuality},
    output::{
        Clock,
        text::{self, Style, duration},
    },
    report::{
        facts::{environment, reasons},
        phrase,
    },
};

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
            let of = story
                .check
                .verdicts
                .iter()
                .filter(|verdict| verdict.device.0 == device.device);
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
        let story = self.story;
        let check = &story.check;
        self.heading("## Coverage and losses");
        let events = phrase::counted(check.events, "event");
        self.item(&format!(
            "{events} in {}, {} lost.",
            duration(check.duration_ns),
            check.lost
        ));
        if !story.losses.is_counted {
            self.item("The end of the run is missing, and with it what the kernel counted.");
        }
        let of = |state: HookState| story.status.hooks.iter().filter(move |hook| hook.state == state);
        self.item(&format!(
            "Hooks: {} attached, {} armed (attached only while a teardown is pending), {} not on this kernel, {} failed.",
            of(HookState::Attached).count(),
            of(HookState::Armed).count(),
            of(HookState::Absent).count(),
            of(HookState::Failed).count(),
        ));
        for hook in of(HookState::Failed) {
            let error = hook.error.as_deref().unwrap_or("no reason is known");
            self.item(&format!(
                "The hook {} could not be attached: {error}. Not seen: {}.",
                hook.hook.name(),
                hook.lost_without
            ));
        }
        for hook in of(HookState::Absent) {
            self.item(&format!(
                "This kernel does not have what the hook {} is on. Not seen: {}.",
                hook.hook.name(),
                hook.lost_without
            ));
        }
        for reason in reasons(story) {
            self.item(&reason);
        }
        if story.status.accounting.sequence == SequenceQuality::Partial {
            self.item("Losses are counted in part: this kernel has no atomic fetch-add for BPF.");
        }
        if story.status.accounting.missed == MissedQuality::Unknown {
            self.item("Whether the kernel skipped runs of the programs is not known here.");
        }
        for damage in &check.damage {
            self.item(&format!("Damaged: {damage}."));
        }
        for contradiction in &story.losses.contradictions {
            self.item(&format!("The accounting does not add up: {contradiction}."));
        }
        self.losses();
    }

    fn losses(&mut self) {
        // As all times of the report.
        let clock = Clock {
            utc_offset_s: 0,
            ..self.context.clock
        };
        let losses = &self.story.losses;
        let mut rows: Vec<_> = losses
            .first
            .iter()
            .map(|loss| {
                let line = text::loss(loss, &clock, Style { color: false });
                vec![line.trim_end().to_owned()]
            })
            .collect();
        if losses.more > 0 {
            rows.push(vec![format!(
                "... and {} more",
                phrase::counted(losses.more, "loss")
            )]);
        }
        rows.extend(losses.hooks.iter().map(|hook| {
            let missed = hook
                .missed
                .map_or_else(String::new, |runs| format!(", {runs} runs skipped by the kernel"));
            vec![format!(
                "{}: {} hits, {} delivered, {} lost{missed}",
                hook.hook.name(),
                hook.hits,
                hook.delivered,
                hook.lost
            )]
        }));
        if !rows.is_empty() {
            self.text.push('\n');
            self.columns(&rows);
        }
    }

    pub(super) fn environment(&mut self) {
        self.heading("## Environment");
        let rows: Vec<_> = environment(self.story)
            .into_iter()
            .map(|row| row.to_vec())
            .collect();
        self.columns(&rows);
    }
}
