// A form to start a job anywhere: what, for whom (with those who would get it), with which limits, when, and
// with which secrets.
import { useSignal } from "@preact/signals";
import { useEffect, useState } from "preact/hooks";
import { isAborted, words } from "../api/client";
import type { Job, Limits, Matches, Run, Target } from "../api/types";
import { refreshFleet } from "../fleet/store";
import { Dialog } from "../parts/dialog";
import { Problem, Waiting } from "../parts/messages";
import { go, params } from "../router";
import { defineJob, getRun, orderRun } from "./calls";
import { jobLink, runLink } from "./links";
import { Matching } from "./matching";
import { TargetFields } from "./target";

type When = "now" | "at" | "every" | "cron";

interface Secret {
  name: string;
  value: string;
}

export function NewRunDialog({ onClose }: { onClose: () => void }) {
  // Of a run that is to be run again the form holds what that one had.
  const of = params.value.get("of");
  const before = useSignal<Run | null>(null);
  const [problem, setProblem] = useState("");
  useEffect(() => {
    void refreshFleet(30_000);
    if (!of) return undefined;
    const abort = new AbortController();
    getRun(of, abort.signal).then(
      (run) => (before.value = run),
      (error: unknown) => {
        if (!isAborted(error)) setProblem(words(error));
      },
    );
    return () => abort.abort();
  }, [of]);
  return (
    <Dialog title={of ? "Run again" : "Run something"} onClose={onClose} isWide>
      <Problem text={problem} />
      {of && !before.value ? !problem && <Waiting what="Asking what it was" /> : <Form before={before.value} onClose={onClose} />}
    </Dialog>
  );
}

/** That of the run before, or the host that was looked at. */
function targetOf(run: Run | null): Target {
  return { agent: run?.agent ?? params.value.get("on") ?? "" };
}

function Form({ before, onClose }: { before: Run | null; onClose: () => void }) {
  const job = before?.job;
  const target = useSignal<Target>(targetOf(before));
  const found = useSignal<Matches | null>(null);
  const [isShell, setShell] = useState(!job || job.shell != null);
  const [when, setWhen] = useState<When>("now");
  const [secrets, setSecrets] = useState<Secret[]>((before?.secret_names ?? []).map((name) => ({ name, value: "" })));
  const [problem, setProblem] = useState("");
  const [isBusy, setBusy] = useState(false);
  // What runs later or again is a definition of the hub.
  const isDefined = when !== "now";
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    setBusy(true);
    try {
      const wanted = read(form, isShell, when, job);
      if (isDefined) {
        await defineJob({ job: wanted, target: target.peek() });
        go(jobLink(wanted.name ?? "", null));
      } else {
        const values = Object.fromEntries(secrets.filter((one) => one.name).map((one) => [one.name, one.value]));
        const made = await orderRun({ job: wanted, target: target.peek(), secrets: values });
        onClose();
        if (made.runs.length === 1) go(runLink(made.runs[0]!.id));
        else go(`/runs?batch=${encodeURIComponent(made.batch)}`);
      }
    } catch (error) {
      setProblem(words(error));
    }
    setBusy(false);
  };
  const n = found.value?.matches.length ?? 0;
  return (
    <form class="fields run-form" onSubmit={submit}>
      <div class="run-what">
        <div class="field">
          <span class="field-head">
            <label for="run-command">{isShell ? "A line for the shell" : "Program and arguments, one a line"}</label>
            <span class="segments" role="group" aria-label="How it is read">
              <button type="button" aria-pressed={isShell} onClick={() => setShell(true)}>
                Shell
              </button>
              <button type="button" aria-pressed={!isShell} onClick={() => setShell(false)}>
                Program
              </button>
            </span>
          </span>
          <textarea
            id="run-command"
            name="command"
            class="mono"
            rows={3}
            required
            autofocus
            spellcheck={false}
            defaultValue={!job ? "" : isShell ? (job.shell ?? "") : [job.command ?? "", ...(job.args ?? [])].join("\n")}
          />
        </div>
        <TargetFields target={target} />
        <Matching target={target} found={found} />
      </div>
      <div class="triple">
        <label>
          Name {isDefined ? "" : "(if it is to have one)"}
          <input name="name" defaultValue={job?.name ?? ""} required={isDefined} autocomplete="off" spellcheck={false} />
        </label>
        <label>
          When
          <select value={when} onChange={(event) => setWhen(event.currentTarget.value as When)}>
            <option value="now">now</option>
            <option value="at">once, at</option>
            <option value="every">again and again</option>
            <option value="cron">by a crontab line</option>
          </select>
        </label>
        <WhenField when={when} />
      </div>
      {!isDefined && <Secrets secrets={secrets} onChange={setSecrets} />}
      <More job={job} />
      <Problem text={problem} />
      <div class="acts">
        <button class="primary" disabled={isBusy}>
          {isDefined ? "Define the job" : target.value.fanout && n > 1 ? `Run on ${n} hosts` : "Run"}
        </button>
      </div>
    </form>
  );
}

function WhenField({ when }: { when: When }) {
  if (when === "now") return <span />;
  const [title, hint] = { at: ["At", "2026-11-23 03:00:00"], every: ["Every", "15m"], cron: ["Line", "30 2 * * *"] }[when]!;
  return (
    <label>
      {title}
      <input name="when" class="mono" required placeholder={hint} autocomplete="off" spellcheck={false} />
    </label>
  );
}

function Secrets({ secrets, onChange }: { secrets: Secret[]; onChange: (next: Secret[]) => void }) {
  const set = (index: number, change: Partial<Secret>) => onChange(secrets.map((one, at) => (at === index ? { ...one, ...change } : one)));
  return (
    <fieldset class="secrets">
      <legend>Secrets, as variables of its environment; masked in its output, kept nowhere in clear</legend>
      {secrets.map((one, index) => (
        <div key={index} class="secret-row">
          <input aria-label="Name of the secret" placeholder="NAME" class="mono" value={one.name} onInput={(event) => set(index, { name: event.currentTarget.value })} />
          <input aria-label={`Value of ${one.name || "the secret"}`} type="password" autocomplete="off" value={one.value} onInput={(event) => set(index, { value: event.currentTarget.value })} />
          <button type="button" class="plain" aria-label={`Without ${one.name || "this secret"}`} onClick={() => onChange(secrets.filter((_, at) => at !== index))}>
            ×
          </button>
        </div>
      ))}
      <button type="button" onClick={() => onChange([...secrets, { name: "", value: "" }])}>
        Add a secret
      </button>
    </fieldset>
  );
}

const limit = (name: string) => (job: Job) => (job.limits as Record<string, string | number | undefined> | undefined)?.[name];

/** What most runs need nothing of. */
const FIELDS: [name: string, title: string, hint: string, of: (job: Job) => string | number | null | undefined][] = [
  ["timeout", "Ends after", "5m", (job) => job.timeout],
  ["limits.cpu", "CPU, of a core", "50%", limit("cpu")],
  ["limits.memory", "Memory", "512M", limit("memory")],
  ["limits.pids", "Processes", "200", limit("pids")],
  ["limits.nice", "Niceness", "10", limit("nice")],
  ["user", "As user", "www-data", (job) => job.user],
  ["dir", "In folder", "/srv/app", (job) => job.dir],
  ["queue", "Queue", "database", (job) => job.queue?.name],
];

function More({ job }: { job: Job | undefined }) {
  const env = Object.entries(job?.env ?? {}).map(([name, value]) => `${name}=${value}`);
  const isUsed = job !== undefined && (env.length > 0 || FIELDS.some(([, , , of]) => of(job)));
  return (
    <details open={isUsed}>
      <summary>Limits, user, environment</summary>
      <div class="quads">
        {FIELDS.map(([name, title, hint, of]) => (
          <label key={name}>
            {title}
            <input name={name} placeholder={hint} defaultValue={job ? String(of(job) ?? "") : ""} autocomplete="off" spellcheck={false} />
          </label>
        ))}
      </div>
      <label>
        Variables, NAME=value, one a line
        <textarea name="env" class="mono" rows={2} spellcheck={false} defaultValue={env.join("\n")} />
      </label>
    </details>
  );
}

/** The job as the form has it. What is wrong with it the hub says. */
function read(form: FormData, isShell: boolean, when: When, before: Job | undefined): Job {
  const text = (name: string) => String(form.get(name) ?? "").trim();
  const number = (name: string) => (text(name) ? Number(text(name)) : undefined);
  const command = text("command");
  const [program = "", ...args] = command.split("\n").map((line) => line.trim()).filter(Boolean);
  const limits: Limits = { ...(before?.limits ?? {}) };
  for (const [name, value] of Object.entries({
    cpu: text("limits.cpu") || undefined,
    memory: text("limits.memory") || undefined,
    pids: number("limits.pids"),
    nice: number("limits.nice"),
  })) {
    if (value === undefined) delete limits[name as keyof Limits];
    else Object.assign(limits, { [name]: value });
  }
  const env = Object.fromEntries(
    text("env")
      .split("\n")
      .filter((line) => line.includes("="))
      .map((line) => [line.slice(0, line.indexOf("=")).trim(), line.slice(line.indexOf("=") + 1)]),
  );
  const { every: _every, cron: _cron, at: _at, shell: _shell, command: _command, args: _args, env: _env, ...kept } = before ?? ({} as Job);
  return {
    ...kept,
    name: text("name"),
    ...(isShell ? { shell: command } : { command: program, args }),
    ...(text("timeout") ? { timeout: text("timeout") } : {}),
    ...(text("user") ? { user: text("user") } : {}),
    ...(text("dir") ? { dir: text("dir") } : {}),
    ...(text("queue") ? { queue: { ...(before?.queue ?? {}), name: text("queue") } } : {}),
    ...(Object.keys(env).length > 0 ? { env } : {}),
    ...(Object.keys(limits).length > 0 ? { limits } : {}),
    ...(when === "now" ? {} : { [when]: text("when") }),
  } as Job;
}
