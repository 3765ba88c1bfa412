//! A batch system's array as the source: each task has a chunk of the blocks, and no daemon hands them out.
//!
//! The batch system is who notices dead machines and starts a task again. Such a task goes through its chunk from the start and computes
//! what has no receipt. Its predecessor may still run, unknown to the batch system: the ledger takes one result of each block, whoever
//! brings it.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use super::{Beat, BlockSource, Next};
use crate::FarmError;
use crate::desk::{Committed, Desk, Ended, Fate, Lease, Progress, Receipt, json};
use crate::ledger::{Entry, Ledger};

/// A part of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which one, from 0.
    pub index: u64,
    /// Of how many.
    pub count: u64,
}

impl Part {
    /// The part that a batch system's environment names: Slurm's and LSF's array tasks, Kubernetes' indexed jobs. `of` reads a variable.
    ///
    /// # Errors
    ///
    /// [`FarmError::Setting`] if there is none, or it names no part.
    pub fn of_environment(of: &dyn Fn(&str) -> Option<String>) -> Result<Self, FarmError> {
        let number = |name: &str| -> Result<Option<u64>, FarmError> {
            let Some(text) = of(name) else { return Ok(None) };
            text.trim().parse().map(Some).map_err(|_| {
                FarmError::Setting(format!(
                    "{name} is {text:?}; expected a number, as batch systems set it"
                ))
            })
        };
        // LSF gives 0 to jobs that are no arrays.
        let slurm = number("SLURM_ARRAY_TASK_ID")?;
        let (index, first, count) = match (slurm, number("LSB_JOBINDEX")?.filter(|&i| i > 0)) {
            (Some(index), _) => {
                let first = number("SLURM_ARRAY_TASK_MIN")?.unwrap_or(0);
                (index, first, number("SLURM_ARRAY_TASK_COUNT")?)
            }
            (None, Some(index)) => (index, 1, number("LSB_JOBINDEX_END")?),
            (None, None) => match number("JOB_COMPLETION_INDEX")? {
                Some(index) => (index, 0, number("LITHOBURN_TASKS")?),
                None => return Err(FarmError::Setting(
                    "no array task is here: neither SLURM_ARRAY_TASK_ID, LSB_JOBINDEX nor JOB_COMPLETION_INDEX is set; lithoburn farm \
                     submit prints how to start one".into(),
                )),
            },
        };
        let count = count.ok_or_else(|| FarmError::Setting(
            "the number of array tasks is not known: SLURM_ARRAY_TASK_COUNT, LSB_JOBINDEX_END or LITHOBURN_TASKS says it".into(),
        ))?;
        match index.checked_sub(first) {
            Some(index) if index < count => Ok(Self { index, count }),
            _ => Err(FarmError::Setting(format!(
                "array task {index} is not one of {count} from {first} on: number them without gaps"
            ))),
        }
    }

    /// Its blocks, of `total`: parts differ by one block at most.
    pub fn blocks(self, total: u64) -> Range<u64> {
        let end = |i: u64| (u128::from(i) * u128::from(total) / u128::from(self.count)) as u64;
        end(self.index)..end(self.index + 1)
    }
}

/// A task's part of a job.
#[derive(Debug)]
pub struct Chunk<L> {
    desk: Desk<L>,
    total: u64,
    rest: Mutex<VecDeque<u64>>,
}

impl<L: Ledger> Chunk<L> {
    /// Joins a job of `total` blocks as one of its tasks.
    ///
    /// # Errors
    ///
    /// [`FarmError`] of the ledger.
    pub fn join(desk: Desk<L>, total: u64, part: Part) -> Result<Self, FarmError> {
        desk.ledger().put(&Entry::of_worker(desk.me()), &json(&Beat::default())?)?;
        Ok(Self { desk, total, rest: Mutex::new(part.blocks(total).collect()) })
    }

    fn pop(&self) -> Option<u64> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

impl<L: Ledger> BlockSource for Chunk<L> {
    fn next(&self) -> Result<Next, FarmError> {
        if self.desk.ledger().read(&Entry::drain())?.is_some() {
            return Ok(Next::Drained);
        }
        while let Some(block) = self.pop() {
            if let Some(lease) = self.desk.claim(block, 1)? {
                return Ok(Next::Block(lease));
            }
            // Whoever tried it before is a task that the batch system gave up.
            let lost = "its task was started again";
            if let Some(lease) = self.desk.take_over(block, lost)? {
                return Ok(Next::Block(lease));
            }
        }
        Ok(Next::Finished)
    }

    fn renew(&self, _leases: &[Lease], beat: &Beat) -> Result<Vec<Lease>, FarmError> {
        self.desk.ledger().put(&Entry::of_worker(self.desk.me()), &json(beat)?)?;
        Ok(Vec::new())
    }

    fn commit(&self, lease: &Lease, receipt: &Receipt) -> Result<Committed, FarmError> {
        self.desk.commit(lease, receipt)
    }

    fn fail(&self, lease: &Lease, ended: &Ended) -> Result<Fate, FarmError> {
        let fate = self.desk.end(lease, ended)?;
        if (fate, matches!(ended, Ended::Failed(_))) == (Fate::Again, true) {
            self.rest.lock().unwrap_or_else(PoisonError::into_inner).push_back(lease.block);
        }
        Ok(fate)
    }

    fn has_result(&self, block: u64) -> Result<bool, FarmError> {
        Ok(self.desk.receipt(block)?.is_some())
    }

    fn progress(&self) -> Result<Progress, FarmError> {
        self.desk.progress(self.total)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::Digest;
    use crate::ledger::MemoryLedger;

    fn part(variables: &[(&str, &str)]) -> Result<Part, FarmError> {
        Part::of_environment(&|name| {
            variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_string())
        })
    }

    #[test]
    fn each_batch_system_says_which_part_this_is() {
        let slurm = [
            ("SLURM_ARRAY_TASK_ID", "12"),
            ("SLURM_ARRAY_TASK_MIN", "10"),
            ("SLURM_ARRAY_TASK_COUNT", "4"),
        ];
        assert_eq!(part(&slurm).expect("one"), Part { index: 2, count: 4 });
        let lsf = [("LSB_JOBINDEX", "1"), ("LSB_JOBINDEX_END", "3")];
        assert_eq!(part(&lsf).expect("one"), Part { index: 0, count: 3 });
        let kubernetes = [("JOB_COMPLETION_INDEX", "7"), ("LITHOBURN_TASKS", "8")];
        assert_eq!(part(&kubernetes).expect("one"), Part { index: 7, count: 8 });
        let said = |variables: &[(&str, &str)]| part(variables).expect_err("none").to_string();
        assert!(said(&[("LSB_JOBINDEX", "0")]).contains("no array task"));
        assert!(said(&slurm[..1]).contains("number of array tasks"));
        assert!(said(&[("SLURM_ARRAY_TASK_ID", "x")]).contains("SLURM_ARRAY_TASK_ID"));
        let beyond = [("JOB_COMPLETION_INDEX", "8"), ("LITHOBURN_TASKS", "8")];
        assert!(said(&beyond).contains("not one of 8"));
    }

    #[test]
    fn parts_are_all_blocks_once_and_nearly_equal() {
        for (total, count) in [(0_u64, 3_u64), (1, 4), (100, 7), (98_304, 512)] {
            let parts: Vec<Range<u64>> =
                (0..count).map(|index| Part { index, count }.blocks(total)).collect();
            assert!(parts.windows(2).all(|pair| pair[0].end == pair[1].start));
            assert_eq!((parts[0].start, parts[count as usize - 1].end), (0, total));
            let sizes = parts.iter().map(|part| part.end - part.start);
            assert!(sizes.clone().max().expect("some") - sizes.min().expect("some") <= 1);
        }
    }

    /// As on a node that Slurm lost and that went on: the task runs twice, and each block counts once.
    #[test]
    fn a_task_that_is_started_again_does_what_is_left_and_its_orphan_changes_nothing()
    -> Result<(), FarmError> {
        let ledger = Arc::new(MemoryLedger::default());
        let part = Part { index: 1, count: 2 };
        let task = |name: &str| Chunk::join(Desk::new(ledger.clone(), name), 10, part);
        let receipt = |worker: &str| Receipt {
            digest: Digest::of(b"x"),
            bytes: 1,
            attempt: 1,
            worker: worker.into(),
            device: "d".into(),
            seconds: 1.0,
        };
        let block = |task: &Chunk<_>| match task.next()? {
            Next::Block(lease) => Ok::<_, FarmError>(Some(lease)),
            _ => Ok(None),
        };
        let orphan = task("orphan")?;
        let first = block(&orphan)?.expect("five");
        orphan.commit(&first, &receipt("orphan"))?;
        let second = block(&orphan)?.expect("five");
        let again = task("again")?;
        let mut done = Vec::new();
        while let Some(lease) = block(&again)? {
            done.push((lease.block, lease.attempt));
            assert_eq!(again.commit(&lease, &receipt("again"))?, Committed::First);
        }
        assert_eq!(done, [(6, 2), (7, 1), (8, 1), (9, 1)]);
        assert!(matches!(orphan.commit(&second, &receipt("orphan"))?, Committed::Same(_)));
        assert_eq!(block(&orphan)?, None);
        assert_eq!(again.progress()?.done, 5);
        Ok(())
    }
}
