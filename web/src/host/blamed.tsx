// Who did it? Processes and units by their share of CPU, growth of memory and storage traffic in the
// span that is shown.
import { get } from "../api/client";
import type { Blame, Share } from "../api/types";
import { bytes, clock, exact, exactInstant, longSpan, percent } from "../format";
import { useLoaded } from "../parts/loaded";
import { Problem, Waiting } from "../parts/messages";
import { param, setParams } from "../router";
import type { Span } from "./span";

const DAY_MS = 86_400_000;
const N_SHOWN = 8;
const kind = param("who", "groups");

const USES = [
  { key: "cpu", title: "CPU" },
  { key: "memory_growth", title: "Memory, growth" },
  { key: "io", title: "Disk traffic" },
] as const;

export function Blamed({ name, span, isFollowed }: { name: string; span: Span; isFollowed: boolean }) {
  const fromMs = Math.floor(Math.max(span.fromMs, span.toMs - DAY_MS));
  const toMs = Math.ceil(span.toMs);
  const where = `from=${fromMs}&to=${toMs}`;
  const { data, problem } = useLoaded(`${name} ${where}`, 0, (abort) => get<Blame>(`/api/v1/agents/${encodeURIComponent(name)}/culprits?${where}`, abort));
  const blame = data.value;
  const isCut = span.toMs - span.fromMs > DAY_MS;
  return (
    <section class="panel blamed" aria-label="Who did it?">
      <header>
        <h2>Who did it?</h2>
        <span class="room" />
        <div class="segments" role="group" aria-label="Processes or units">
          {(["groups", "units"] as const).map((one) => (
            <button key={one} type="button" aria-pressed={kind.value === one} onClick={() => setParams({ who: one === "groups" ? null : one })}>
              {one === "groups" ? "Processes" : "Units"}
            </button>
          ))}
        </div>
      </header>
      {problem.value && !blame && <Problem text={problem.value} />}
      {!blame && !problem.value && <Waiting what="Adding up" />}
      {blame && (
        <>
          <p class="muted of" title={`${exactInstant(blame.from_ms)} to ${exactInstant(blame.to_ms)}`}>
            {isFollowed ? `The last ${longSpan(blame.to_ms - blame.from_ms)}` : `${clock(blame.from_ms)} to ${clock(blame.to_ms)}`}
            {isCut ? ", the last day of the span" : ""}. Drag over a chart to ask of less.
          </p>
          {USES.map(({ key, title }) => (
            <Shares
              key={key}
              title={title}
              shares={blame[kind.value === "units" ? "units" : "groups"][key]}
              isCpu={key === "cpu"}
              seconds={Math.max(1, (blame.to_ms - blame.from_ms) / 1000)}
              at={blame.to_ms}
            />
          ))}
        </>
      )}
    </section>
  );
}

function Shares(props: { title: string; shares: Share[]; isCpu: boolean; seconds: number; at: number }) {
  const { title, shares, isCpu, seconds } = props;
  const amount = (share: Share) => (isCpu ? `${(share.amount / seconds).toFixed(2)} cores` : bytes(share.amount));
  const hint = (share: Share) => (isCpu ? `${exact(share.amount)} s of CPU time` : `${exact(share.amount)} bytes`);
  return (
    <div class="shares" data-use={title}>
      <h3>{title}</h3>
      {shares.length === 0 && <p class="muted none">Nobody</p>}
      <ol>
        {shares.slice(0, N_SHOWN).map((share) => (
          <li key={share.name}>
            <button
              type="button"
              title={`${share.name}: ${hint(share)}. Shows its processes.`}
              onClick={() => setParams({ tab: "processes", p: share.name, at: String(Math.floor(props.at)) }, "push")}
            >
              <span class="cut">{share.name || "(no unit)"}</span>
              <span class="num">{amount(share)}</span>
              <b class="num">{percent(share.share)}</b>
              <span class="share-bar" style={{ width: `${(share.share * 100).toFixed(1)}%` }} />
            </button>
          </li>
        ))}
      </ol>
    </div>
  );
}
