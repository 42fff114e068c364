// API tokens: for programs, each good for one thing.
import { useState } from "preact/hooks";
import { ask, get, now, words } from "../api/client";
import type { ApiToken, ApiTokenMade } from "../api/types";
import { exactInstant, instant, span } from "../format";
import { List, type Shown } from "../parts/columns";
import { Dialog } from "../parts/dialog";
import { useLoaded } from "../parts/loaded";
import { Empty, Problem, Waiting } from "../parts/messages";
import { CopyLine } from "../parts/secret";
import { Sure } from "../parts/sure";

const SCOPES = [
  ["ingest", "ingest: hands in samples and logs, sees nothing"],
  ["viewer", "viewer: reads, as Grafana does"],
  ["operator", "operator: also sets the status of hosts"],
  ["admin", "admin: everything"],
] as const;
const LIVES: [string, number | null][] = [
  ["for ever", null],
  ["90 days", 7_776_000],
  ["a year", 31_536_000],
];

export function TokensPage() {
  const { data, problem, again } = useLoaded("api-tokens", 0, (abort) => get<ApiToken[]>("/api/v1/api-tokens", abort));
  const [isAdding, setAdding] = useState(false);
  const [revoked, setRevoked] = useState<ApiToken | null>(null);
  const columns: Shown<ApiToken>[] = [
    { title: "Name", show: (token) => <strong>{token.name}</strong> },
    { title: "Scope", show: (token) => <span class="chip">{token.scope}</span> },
    { title: "Id", show: (token) => <code>{token.id}</code> },
    { title: "Made", class: "muted nowrap", hint: (token) => exactInstant(token.created_ms), show: (token) => `${instant(token.created_ms).slice(0, 10)} by ${token.created_by}` },
    { title: "Last used", class: "muted nowrap", show: (token) => (token.last_used_ms ? `${span(now() - token.last_used_ms)} ago` : "never") },
    {
      title: "Good until",
      class: "muted nowrap",
      show: (token) => (token.revoked_ms ? "revoked" : token.expires_ms ? instant(token.expires_ms).slice(0, 10) : "for ever"),
    },
    {
      title: "",
      class: "acts",
      show: (token) =>
        !token.revoked_ms && (
          <button type="button" class="plain danger" onClick={() => setRevoked(token)}>
            Revoke
          </button>
        ),
    },
  ];
  return (
    <main class="narrow">
      <div class="head">
        <h1>API tokens</h1>
        <span class="room" />
        <button type="button" class="primary" onClick={() => setAdding(true)}>
          Make a token
        </button>
      </div>
      <Problem text={problem.value} />
      {!data.value && !problem.value && <Waiting what="Asking for tokens" />}
      {data.value?.length === 0 && (
        <Empty title="No API token yet">
          <p>Grafana reads with one of scope viewer; Prometheus and collectors push with one of scope ingest.</p>
        </Empty>
      )}
      {data.value && data.value.length > 0 && (
        <section class="panel">
          <List columns={columns} rows={data.value} keyOf={(token) => token.id} />
        </section>
      )}
      {isAdding && (
        <AddToken
          onClose={() => {
            setAdding(false);
            again();
          }}
        />
      )}
      {revoked && (
        <Sure
          title={`Revoke ${revoked.name}`}
          text="Whatever uses it is refused from now on."
          run={() => ask("DELETE", `/api/v1/api-tokens/${revoked.id}`)}
          onClose={() => {
            setRevoked(null);
            again();
          }}
        />
      )}
    </main>
  );
}

function AddToken({ onClose }: { onClose: () => void }) {
  const [problem, setProblem] = useState("");
  const [made, setMade] = useState<ApiTokenMade | null>(null);
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    try {
      const ttl = Number(form.get("ttl"));
      setMade(await ask<ApiTokenMade>("POST", "/api/v1/api-tokens", { name: form.get("name"), scope: form.get("scope"), ttl_seconds: ttl || null }));
    } catch (error) {
      setProblem(words(error));
    }
  };
  return (
    <Dialog title="Make an API token" onClose={onClose}>
      {made ? (
        <div class="fields">
          <p>
            The secret of <strong>{made.token.name}</strong>, shown once. Programs send it as <code>Authorization: Bearer …</code>
          </p>
          <CopyLine label="Secret of the token" text={made.secret} />
          <div class="acts">
            <button type="button" class="primary" onClick={onClose}>
              Done
            </button>
          </div>
        </div>
      ) : (
        <form class="fields" onSubmit={submit}>
          <label>
            Name
            <input name="name" required autofocus autocomplete="off" />
          </label>
          <label>
            Scope
            <select name="scope">
              {SCOPES.map(([scope, text]) => (
                <option key={scope} value={scope}>
                  {text}
                </option>
              ))}
            </select>
          </label>
          <label>
            Good
            <select name="ttl">
              {LIVES.map(([text, seconds]) => (
                <option key={text} value={seconds ?? ""}>
                  {text}
                </option>
              ))}
            </select>
          </label>
          <Problem text={problem} />
          <div class="acts">
            <button class="primary">Make</button>
          </div>
        </form>
      )}
    </Dialog>
  );
}
