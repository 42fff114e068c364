// What can be done with a job: run it now, enable and disable it, change and remove it; offered to those who may.
import { useState } from "preact/hooks";
import { words } from "../api/client";
import { Sure } from "../parts/sure";
import { go, setParams } from "../router";
import { isOperator } from "../session";
import { orderNamed, pauseJob, removeJob, triggerJob } from "./calls";
import type { Defined } from "./definitions";
import { runLink } from "./links";

export function JobActs({ job, again, isWhole = false }: { job: Defined; again: () => void; isWhole?: boolean }) {
  const [problem, setProblem] = useState("");
  const [isBusy, setBusy] = useState(false);
  const [isRemoving, setRemoving] = useState(false);
  if (!isOperator.value) return null;
  const run = async (work: () => Promise<unknown>) => {
    setBusy(true);
    try {
      await work();
      setProblem("");
    } catch (error) {
      setProblem(words(error));
    }
    setBusy(false);
    again();
  };
  const trigger = async () => {
    const made = await (job.agent === null ? triggerJob(job.name) : orderNamed(job.name, job.agent));
    if (!isWhole) return;
    if (made.runs.length === 1) go(runLink(made.runs[0]!.id));
    else go(`/runs?batch=${encodeURIComponent(made.batch)}`);
  };
  const look = isWhole ? "" : "plain";
  return (
    <>
      {problem && (
        <span class="bad act-problem" role="alert">
          {problem}
        </span>
      )}
      <button type="button" class={look} disabled={isBusy} onClick={() => void run(trigger)}>
        Run now
      </button>
      {job.job.enabled !== false && (
        <button type="button" class={look} disabled={isBusy} onClick={() => void run(() => pauseJob(job, !job.isPaused))}>
          {job.isPaused ? "Enable" : "Disable"}
        </button>
      )}
      {job.hub && isWhole && (
        <>
          <button type="button" onClick={() => setParams({ edit: "1" })}>
            Change…
          </button>
          <button type="button" class="danger" onClick={() => setRemoving(true)}>
            Remove…
          </button>
        </>
      )}
      {isRemoving && (
        <Sure
          title={`Remove ${job.name}`}
          text="It runs no more, on any host. Its runs stay."
          run={async () => {
            await removeJob(job.name);
            go("/jobs");
          }}
          onClose={() => setRemoving(false)}
        />
      )}
    </>
  );
}
