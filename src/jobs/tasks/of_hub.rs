//! Tasks that a hub has defined for this host: all of one hub's at once, as often as it says them. They
//! run without the hub. What the host itself has under a name is never touched.

use fieldpost_model::job::Job;
use fieldpost_store::JobsChange;
use serde::{Deserialize, Serialize};

use super::super::handle::Jobs;
use super::{N_TASKS_MAX, Origin, Task, TaskError, faults_of, row_of};

/// As it stands in the file of the jobs.
#[derive(Serialize, Deserialize)]
pub(super) struct Definition {
    pub(super) hub: String,
    pub(super) job: Job,
}

/// A definition that is not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotTaken {
    /// The job's name.
    pub name: String,
    /// Why.
    pub reason: String,
}

impl Jobs {
    /// Takes over what a hub has defined, in place of all that it had; what is the same goes on as it
    /// was. On the disk when this returns.
    pub async fn take_of_hub(&self, hub: &str, wanted: Vec<Job>) -> Result<Vec<NotTaken>, TaskError> {
        let now_ms = self.now_ms();
        let origin = Origin::Hub { id: hub.to_owned() };
        let (mut changes, mut refused, mut dropped, mut ended) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        {
            let mut tasks = self.shared.tasks.lock();
            let names: Vec<String> = wanted.iter().map(|job| job.name.clone()).collect();
            let is_gone = |task: &Task| task.origin == origin && !names.contains(&task.job.name);
            let gone: Vec<String> =
                tasks.all.values().filter(|task| is_gone(task)).map(|task| task.job.name.clone()).collect();
            for name in gone {
                let task = tasks.all.remove(&name);
                dropped.extend(task.as_ref().and_then(|task| task.ticker));
                ended.extend(task.filter(|task| task.job.keep).map(|task| task.job.name));
                changes.push(JobsChange::RemoveTask(name));
            }
            for job in wanted {
                let name = job.name.clone();
                let known = tasks.all.get(&name);
                let fault = match known {
                    Some(task) if task.origin != origin => {
                        Some("this host has a job of that name".to_owned())
                    }
                    None if tasks.all.len() >= N_TASKS_MAX => Some("this host has too many jobs".to_owned()),
                    _ => faults_of(&job).first().map(|(key, text)| format!("{key}: {text}")),
                };
                if let Some(reason) = fault {
                    refused.push(NotTaken { name, reason });
                    continue;
                }
                if known.is_some_and(|task| task.job == job) {
                    continue;
                }
                let definition = Definition { hub: hub.to_owned(), job: job.clone() };
                let mut row = row_of(&name, serde_json::to_string(&definition).ok(), now_ms);
                row.slot_ms = Some(now_ms);
                row.paused = known.is_some_and(|task| task.row.paused);
                changes.push(JobsChange::PutTask(row.clone()));
                let old = tasks.all.insert(name, Task::new(job, origin.clone(), row));
                dropped.extend(old.and_then(|task| task.ticker));
            }
        }
        if !changes.is_empty() {
            self.written(changes).await?;
            self.tasks_changed(dropped, None);
        }
        for name in ended {
            for id in self.runs_of(&name) {
                // One that ends by itself at this moment needs no killing.
                let _ = self.kill(&id, None, &format!("hub {hub}")).await;
            }
        }
        Ok(refused)
    }

    /// The hubs that have defined something here.
    pub fn hubs_with_tasks(&self) -> Vec<String> {
        let tasks = self.shared.tasks.lock();
        let mut hubs: Vec<String> = tasks
            .all
            .values()
            .filter_map(|task| match &task.origin {
                Origin::Hub { id } => Some(id.clone()),
                _ => None,
            })
            .collect();
        hubs.dedup();
        hubs
    }
}
