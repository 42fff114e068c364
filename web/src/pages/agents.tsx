// Agents and how they join: a token and the one line to copy, those that wait for approval, and what can
// be done with each.
import { useState } from "preact/hooks";
import { ask, get, now, words } from "../api/client";
import type { Agent, JoinToken, TokenMade } from "../api/types";
import { exactInstant, longSpan, span } from "../format";
import { matches } from "../fleet/select";
import { hosts, refreshFleet } from "../fleet/store";
import { List, type Shown } from "../parts/columns";
import { Dialog } from "../parts/dialog";
import { useLoaded } from "../parts/loaded";
import { Empty, Problem, Waiting } from "../parts/messages";
import { CopyLine } from "../parts/secret";
import { State } from "../parts/state";
import { Sure } from "../parts/sure";
import { hostLink, params, setParams } from "../router";
import { isAdmin } from "../session";

/** Rows that are drawn: more are found by searching. */
const N_SHOWN_MAX = 300;

export function AgentsPage() {
  const { data, problem, again } = useLoaded("agents", 5_000, async () => {
    await refreshFleet();
    return hosts.value;
  });
  const tokens = useLoaded<JoinToken[]>(isAdmin.value ? "tokens" : "", 0, (abort) => (isAdmin.value ? get("/api/v1/tokens", abort) : Promise.resolve([])));
  const text = params.value.get("q") ?? "";
  const shown = (data.value ?? []).filter((host) => matches(host, text));
  return (
    <main>
      <div class="head">
        <h1>Agents</h1>
        <span class="muted" role="status">
          {data.value ? `${shown.length} of ${data.value.length}` : ""}
        </span>
        <span class="room" />
        {isAdmin.value && (
          <>
            <button type="button" onClick={() => setParams({ poll: "1" })}>
              Poll an agent…
            </button>
            <button type="button" class="primary" onClick={() => setParams({ add: "1" })}>
              Add hosts
            </button>
          </>
        )}
      </div>
      <Problem text={problem.value} />
      {!data.value && !problem.value && <Waiting what="Asking for agents" />}
      {data.value && data.value.length === 0 && (
        <Empty title="No agent yet">
          <p>Make a join token, and paste one line on each host.</p>
        </Empty>
      )}
      {shown.length > 0 && <AgentList agents={shown} again={again} />}
      {isAdmin.value && tokens.data.value && <Tokens tokens={tokens.data.value} again={tokens.again} />}
      {params.value.has("add") && (
        <AddDialog
          onClose={() => {
            setParams({ add: null });
            tokens.again();
          }}
        />
      )}
      {params.value.has("poll") && <PollDialog onClose={() => setParams({ poll: null })} />}
    </main>
  );
}

const COLUMNS: Shown<Agent>[] = [
  { title: "Name", show: (agent) => <a href={hostLink(agent.name)}>{agent.name}</a> },
  { title: "State", show: (agent) => <State agent={agent} /> },
  { title: "Reached", class: "muted nowrap", show: ({ mode }) => (mode.mode === "poll" ? polledText(mode) : "dials the hub") },
  { title: "Version", class: "muted", show: (agent) => agent.version },
  {
    title: "Roles, labels",
    show: (agent) =>
      [...agent.roles, ...Object.entries(agent.labels).map(([label, value]) => `${label}=${value}`)].map((text) => (
        <span key={text} class="chip">
          {text}
        </span>
      )),
  },
  {
    title: "Last heard of",
    class: "muted nowrap",
    hint: (agent) => (agent.last_seen_ms ? exactInstant(agent.last_seen_ms) : undefined),
    show: (agent) => (agent.last_seen_ms ? `${span(now() - agent.last_seen_ms)} ago` : "never"),
  },
];

function polledText({ address, interval_seconds: every }: Agent["mode"]): string {
  return `polled at ${address ?? "?"}${every ? `, every ${every} s` : ""}`;
}

function AgentList({ agents, again }: { agents: Agent[]; again: () => void }) {
  const acts: Shown<Agent> = { title: "", class: "acts", show: (agent) => isAdmin.value && <Acts agent={agent} again={again} /> };
  return (
    <section class="panel">
      <List columns={[...COLUMNS, acts]} rows={agents.slice(0, N_SHOWN_MAX)} keyOf={(agent) => agent.id} />
      {agents.length > N_SHOWN_MAX && <p class="more muted">The first {N_SHOWN_MAX}; search above for others</p>}
    </section>
  );
}

function Acts({ agent, again }: { agent: Agent; again: () => void }) {
  const [sure, setSure] = useState<{ title: string; text: string; run: () => Promise<unknown> } | null>(null);
  const [isNaming, setNaming] = useState(false);
  const path = `/api/v1/agents/${agent.id}`;
  return (
    <>
      {agent.waits_for_approval && !agent.revoked && (
        <button
          type="button"
          class="primary"
          onClick={() =>
            setSure({ title: `Approve ${agent.name}`, text: "It is let in, and sends what it has kept meanwhile.", run: () => ask("POST", `${path}/approve`) })
          }
        >
          Approve
        </button>
      )}{" "}
      <button type="button" class="plain" onClick={() => setNaming(true)}>
        Rename
      </button>
      {agent.revoked ? (
        <button
          type="button"
          class="plain danger"
          onClick={() => setSure({ title: `Forget ${agent.name}`, text: "It leaves the list. Its data stay as long as all data do.", run: () => ask("DELETE", path) })}
        >
          Forget
        </button>
      ) : (
        <button
          type="button"
          class="plain danger"
          onClick={() =>
            setSure({ title: `Revoke ${agent.name}`, text: "Its link ends, and the trust in it for good: to come back the host has to join anew.", run: () => ask("POST", `${path}/revoke`) })
          }
        >
          Revoke
        </button>
      )}
      {sure && (
        <Sure
          {...sure}
          onClose={() => {
            setSure(null);
            again();
          }}
        />
      )}
      {isNaming && (
        <NameDialog
          agent={agent}
          onClose={() => {
            setNaming(false);
            again();
          }}
        />
      )}
    </>
  );
}

function NameDialog({ agent, onClose }: { agent: Agent; onClose: () => void }) {
  const [problem, setProblem] = useState("");
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    try {
      const name = String(new FormData(event.currentTarget as HTMLFormElement).get("name"));
      await ask("POST", `/api/v1/agents/${agent.id}/name`, { name });
      onClose();
    } catch (error) {
      setProblem(words(error));
    }
  };
  return (
    <Dialog title={`Rename ${agent.name}`} onClose={onClose}>
      <form class="fields" onSubmit={submit}>
        <label>
          Name
          <input name="name" value={agent.name} required autofocus />
        </label>
        <Problem text={problem} />
        <div class="acts">
          <button class="primary">Rename</button>
        </div>
      </form>
    </Dialog>
  );
}

/** `a=b, c=d` as labels. */
function readLabels(text: string): Record<string, string> {
  const pairs = text.split(",").map((pair) => pair.trim()).filter(Boolean);
  return Object.fromEntries(pairs.map((pair) => [pair.split("=")[0]!.trim(), pair.split("=").slice(1).join("=").trim()]));
}

function readRoles(text: string): string[] {
  return text.split(/[\s,]+/).filter(Boolean);
}

const LIVES: [string, number][] = [
  ["an hour", 3_600],
  ["a day", 86_400],
  ["a week", 604_800],
];

function AddDialog({ onClose }: { onClose: () => void }) {
  const [made, setMade] = useState<TokenMade | null>(null);
  const [problem, setProblem] = useState("");
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    try {
      const wish = {
        ttl_seconds: Number(form.get("ttl")),
        uses: Number(form.get("uses")),
        roles: readRoles(String(form.get("roles"))),
        labels: readLabels(String(form.get("labels"))),
        needs_approval: form.has("approval"),
      };
      setMade(await ask<TokenMade>("POST", "/api/v1/tokens", wish));
    } catch (error) {
      setProblem(words(error));
    }
  };
  return (
    <Dialog title="Add hosts" onClose={onClose}>
      {made ? (
        <div class="fields">
          <p>
            Paste this on {made.uses === 1 ? "the host" : `up to ${made.uses} hosts`}, within {longSpan(made.expires_ms - now())}. It is shown once.
          </p>
          <CopyLine label="The line to paste" text={`echo '${made.join_string}' | sudo fieldpost join -`} />
          <p class="muted">
            The host makes its key itself, and trusts this hub by the string alone. It appears here as soon as it has joined; its agent must run:{" "}
            <code>sudo fieldpost agent --start</code>, or <code>systemctl enable --now fieldpost-agent</code>.
          </p>
          <div class="acts">
            <button type="button" class="primary" onClick={onClose}>
              Done
            </button>
          </div>
        </div>
      ) : (
        <form class="fields" onSubmit={submit}>
          <div class="pair">
            <label>
              How many hosts
              <input name="uses" type="number" min={1} max={10000} value={1} required autofocus />
            </label>
            <label>
              Good for
              <select name="ttl">
                {LIVES.map(([name, seconds]) => (
                  <option key={seconds} value={seconds}>
                    {name}
                  </option>
                ))}
              </select>
            </label>
          </div>
          <label>
            Roles
            <input name="roles" placeholder="web db" />
          </label>
          <label>
            Labels
            <input name="labels" placeholder="site=berlin, rack=4" />
          </label>
          <label class="check">
            <input type="checkbox" name="approval" /> Hosts wait until somebody approves them
          </label>
          <Problem text={problem} />
          <div class="acts">
            <button class="primary">Make a join token</button>
          </div>
        </form>
      )}
    </Dialog>
  );
}

function PollDialog({ onClose }: { onClose: () => void }) {
  const [problem, setProblem] = useState("");
  const [isBusy, setBusy] = useState(false);
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    setBusy(true);
    try {
      await ask("POST", "/api/v1/polls", {
        invitation: String(form.get("invitation")).trim(),
        interval_seconds: Number(form.get("interval")),
        roles: readRoles(String(form.get("roles"))),
      });
      onClose();
    } catch (error) {
      setProblem(words(error));
    }
    setBusy(false);
  };
  return (
    <Dialog title="Poll an agent" onClose={onClose}>
      <form class="fields" onSubmit={submit}>
        <p class="muted">
          For hosts that must not dial out: there, <code>sudo fieldpost invite</code> prints an invitation; the hub then dials that agent.
        </p>
        <label>
          Invitation
          <textarea name="invitation" rows={3} required autofocus />
        </label>
        <div class="pair">
          <label>
            Seconds between visits; 0: the hub stays
            <input name="interval" type="number" min={0} value={0} required />
          </label>
          <label>
            Roles
            <input name="roles" />
          </label>
        </div>
        <Problem text={problem} />
        <div class="acts">
          <button class="primary" disabled={isBusy}>
            Take it in
          </button>
        </div>
      </form>
    </Dialog>
  );
}

function Tokens({ tokens, again }: { tokens: JoinToken[]; again: () => void }) {
  const [problem, setProblem] = useState("");
  const open = tokens.filter((token) => !token.revoked_ms && (token.expires_ms ?? 0) > now() && (token.uses ?? 0) < (token.uses_max ?? 0));
  if (open.length === 0) return null;
  const columns: Shown<JoinToken>[] = [
    { title: "Token", show: (token) => <code>{token.id}</code> },
    { title: "Used", show: (token) => `${token.uses} of ${token.uses_max}` },
    { title: "Good for", hint: (token) => exactInstant(token.expires_ms ?? 0), show: (token) => longSpan((token.expires_ms ?? 0) - now()) },
    { title: "Roles", show: (token) => token.roles?.join(" ") },
    { title: "Made by", class: "muted", show: (token) => token.created_by },
    {
      title: "",
      class: "acts",
      show: (token) => (
        <button
          type="button"
          class="plain danger"
          onClick={() => ask("DELETE", `/api/v1/tokens/${token.id ?? ""}`).then(again, (error: unknown) => setProblem(words(error)))}
        >
          Revoke
        </button>
      ),
    },
  ];
  return (
    <section class="panel" aria-label="Join tokens">
      <header>
        <h2>Join tokens that are still good</h2>
      </header>
      <Problem text={problem} />
      <List columns={columns} rows={open} keyOf={(token) => token.id ?? ""} />
    </section>
  );
}
