// The audit log: who did what, from where; and whether it is as it was written.
import { useSignal } from "@preact/signals";
import { useEffect, useState } from "preact/hooks";
import { get, words } from "../api/client";
import type { AuditPage as Page, AuditProof } from "../api/types";
import { exact, exactInstant, instant, longSpan } from "../format";
import { List, type Shown } from "../parts/columns";
import { Empty, Problem, Waiting } from "../parts/messages";
import { param, setParams } from "../router";

const N_PAGE = 200;
const text = param("q");

/** Details are JSON: told as words, instants as such. */
function details(text: string): string {
  let read: unknown;
  try {
    read = JSON.parse(text);
  } catch {
    return text;
  }
  if (read === null || typeof read !== "object") return text;
  const told = Object.entries(read).filter(([, value]) => value !== null && !(typeof value === "object" && Object.keys(value as object).length === 0));
  return told.map(([name, value]) => (name.endsWith("_ms") && Number(value) > 1e12 ? `${name.slice(0, -3)} ${instant(Number(value))}` : name.endsWith("_ms") ? `${name.slice(0, -3)} ${longSpan(Number(value))}` : `${name} ${plain(value)}`)).join(" · ");
}

function plain(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

const COLUMNS: Shown<Page["entries"][number]>[] = [
  { title: "No.", class: "num muted a-no", hint: (entry) => entry.hash, show: (entry) => entry.seq },
  { title: "When", class: "nowrap a-when", hint: (entry) => exactInstant(entry.time_ms), show: (entry) => instant(entry.time_ms) },
  { title: "Who", class: "nowrap a-who", show: (entry) => entry.actor },
  { title: "From", class: "muted nowrap a-from", show: (entry) => entry.address || "–" },
  { title: "Did", class: "nowrap a-did", show: (entry) => entry.action },
  { title: "To", class: "a-to", show: (entry) => entry.subject || "–" },
  { title: "How", class: "muted how", show: (entry) => details(entry.detail) },
];

export function AuditPage() {
  const entries = useSignal<Page["entries"] | null>(null);
  const next = useSignal<number | null>(null);
  const [problem, setProblem] = useState("");
  const [proof, setProof] = useState<AuditProof | null>(null);
  const more = async (before: number | null) => {
    try {
      const page = await get<Page>(`/api/v1/audit?limit=${N_PAGE}${before ? `&before=${before}` : ""}`);
      entries.value = [...(before ? (entries.value ?? []) : []), ...page.entries];
      next.value = page.next ?? null;
      setProblem("");
    } catch (error) {
      setProblem(words(error));
    }
  };
  useEffect(() => void more(null), []);
  const prove = () => get<AuditProof>("/api/v1/audit/proof").then(setProof, (error: unknown) => setProblem(words(error)));
  const wanted = text.value.toLowerCase();
  const shown = (entries.value ?? []).filter((one) => `${one.actor} ${one.action} ${one.subject} ${one.detail} ${one.address}`.toLowerCase().includes(wanted));
  return (
    <main>
      <div class="head">
        <h1>Audit</h1>
        <input type="search" aria-label="Filter the log" placeholder="Actor, action, subject" value={text.value} onInput={(event) => setParams({ q: event.currentTarget.value })} />
        <span class="room" />
        <button type="button" onClick={prove}>
          Verify the log
        </button>
      </div>
      {proof && (
        <p class={proof.verdict.fault ? "problem" : "note"} role="status">
          {proof.verdict.fault
            ? `The log is not as it was written: ${JSON.stringify(proof.verdict.fault)}`
            : `${exact(proof.verdict.n_good)} entries are as they were written. Head: ${proof.head.hash}`}
        </p>
      )}
      <Problem text={problem} />
      {!entries.value && !problem && <Waiting what="Asking for the log" />}
      {entries.value && shown.length === 0 && <Empty title="No entry fits" />}
      {shown.length > 0 && (
        <section class="panel audit">
          <List columns={COLUMNS} rows={shown} keyOf={(entry) => entry.seq} isDense />
          {next.value !== null && (
            <p class="more">
              <button type="button" onClick={() => more(next.value)}>
                Older entries
              </button>
            </p>
          )}
        </section>
      )}
    </main>
  );
}
