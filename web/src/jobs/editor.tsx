// A definition of the hub, as YAML: checked while one types, each fault beside its line, and who would run it.
import { useSignal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import { isAborted, words } from "../api/client";
import type { HubJob, JobCheck } from "../api/types";
import { Dialog } from "../parts/dialog";
import { Problem } from "../parts/messages";
import { go } from "../router";
import { checkJob, defineJob, replaceJob } from "./calls";
import { jobLink } from "./links";
import { withoutUsual, yamlOf } from "./yaml";

const TYPING_MS = 250;
const N_SHOWN = 12;

const EXAMPLE = `# Who runs it: an agent by name, any one that holds roles and labels, or each of them (fanout: true).
target:
  roles: [web]
  fanout: true
job:
  name: rotate
  shell: find /tmp -maxdepth 1 -name 'example-*.log' -size +100M -exec gzip {} +
  every: 1h
  timeout: 10m
  overlap: forbid
`;

/** `of`: what is changed; null: a new one. */
export function EditorDialog({ of, onClose }: { of: HubJob | null; onClose: () => void }) {
  const [text, setText] = useState(of ? `${yamlOf({ target: of.target, job: withoutUsual(of.job) })}\n` : EXAMPLE);
  const check = useChecked(text);
  const [problem, setProblem] = useState("");
  const faults = check.value?.faults ?? [];
  const isSound = check.value?.text === text && faults.length === 0 && check.value.wish != null;
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const wish = check.value?.wish;
    if (!isSound || !wish) return;
    try {
      const made = of ? await replaceJob(of.job.name ?? "", { ...wish, paused: of.paused }) : await defineJob(wish);
      onClose();
      if (!of) go(jobLink(made.job.name ?? "", null));
    } catch (error) {
      setProblem(words(error));
    }
  };
  return (
    <Dialog title={of ? `Change ${of.job.name ?? ""}` : "Define a job"} onClose={onClose} isWide>
      <form class="fields" onSubmit={submit}>
        <Lines text={text} faults={faults} onChange={setText} />
        <div class="checked" role="status" aria-label="What the hub says of it">
          {faults.map((fault, index) => (
            <p key={index} class="bad">
              {fault.line != null && <span class="num">line {fault.line}: </span>}
              {fault.key && <code>{fault.key}</code>} {fault.text}
            </p>
          ))}
          {isSound && check.value && <Sound check={check.value} />}
          {!check.value && <p class="muted">Checking</p>}
        </div>
        <Problem text={problem} />
        <div class="acts">
          <button class="primary" disabled={!isSound}>
            {of ? "Keep" : "Define"}
          </button>
        </div>
      </form>
    </Dialog>
  );
}

function Sound({ check }: { check: JobCheck }) {
  const { matches, others } = check.matches;
  return (
    <>
      <p>
        <span class="ok">Sound.</span> Runs <strong>{check.schedule}</strong>
      </p>
      <p class="matching">
        {matches.length === 0 ? (
          <span class="late">Nobody would run it now{others[0] && `: ${others.slice(0, 3).map((one) => `${one.agent} ${one.reason}`).join("; ")}`}</span>
        ) : (
          <>
            <span class="muted">{check.wish?.target.fanout ? "Run by" : matches.length === 1 ? "Run by" : "Run by one of"}</span>
            {matches.slice(0, N_SHOWN).map((one) => (
              <span key={one.agent} class={`chip ${one.waits ? "waits" : ""}`} title={one.waits || undefined}>
                {one.agent}
              </span>
            ))}
            {matches.length > N_SHOWN && <span class="muted">and {matches.length - N_SHOWN} more</span>}
          </>
        )}
      </p>
    </>
  );
}

type Checked = JobCheck & { text: string };

/** What the hub says of a text, asked a moment after the last letter. */
function useChecked(text: string) {
  const found = useSignal<Checked | null>(null);
  useEffect(() => {
    const abort = new AbortController();
    const timer = window.setTimeout(
      () => {
        checkJob(text, abort.signal).then(
          (check) => (found.value = { ...check, text }),
          (error: unknown) => {
            if (isAborted(error)) return;
            found.value = { faults: [{ key: "", text: words(error) }], schedule: "", matches: { matches: [], others: [] }, text };
          },
        );
      },
      found.peek() ? TYPING_MS : 0,
    );
    return () => {
      abort.abort();
      window.clearTimeout(timer);
    };
  }, [text]);
  return found;
}

/** The text with numbers of lines beside it; those with a fault are marked. */
function Lines({ text, faults, onChange }: { text: string; faults: JobCheck["faults"]; onChange: (text: string) => void }) {
  const numbers = useRef<HTMLDivElement>(null);
  const wrong = new Set(faults.map((fault) => fault.line));
  const n = text.split("\n").length;
  const press = (event: KeyboardEvent) => {
    const box = event.currentTarget as HTMLTextAreaElement;
    // Tab indents as YAML wants it; Escape and then Tab leaves the box, as everywhere.
    if (event.key !== "Tab" || event.shiftKey || box.dataset.leave === "1") {
      box.dataset.leave = event.key === "Escape" ? "1" : "";
      if (event.key === "Escape") event.preventDefault();
      return;
    }
    event.preventDefault();
    box.setRangeText("  ", box.selectionStart, box.selectionEnd, "end");
    onChange(box.value);
  };
  return (
    <div class="editor">
      <div ref={numbers} class="line-numbers" aria-hidden="true">
        {Array.from({ length: n }, (_, index) => (
          <div key={index} class={wrong.has(index + 1) ? "wrong" : ""}>
            {index + 1}
          </div>
        ))}
      </div>
      <textarea
        aria-label="Definition in YAML"
        autofocus
        title="Tab indents; Escape, then Tab leaves"
        spellcheck={false}
        autocapitalize="none"
        wrap="off"
        rows={Math.min(28, Math.max(14, n + 1))}
        value={text}
        onInput={(event) => onChange(event.currentTarget.value)}
        onKeyDown={press}
        onScroll={(event) => {
          if (numbers.current) numbers.current.scrollTop = event.currentTarget.scrollTop;
        }}
      />
    </div>
  );
}
