// Users: who may sign in, as what, and how they get in when they cannot.
import { useState } from "preact/hooks";
import { ask, get, words } from "../api/client";
import type { Role, SignInLink, User } from "../api/types";
import { exactInstant, instant } from "../format";
import { List, type Shown } from "../parts/columns";
import { Dialog } from "../parts/dialog";
import { useLoaded } from "../parts/loaded";
import { Problem, Waiting } from "../parts/messages";
import { CopyLine } from "../parts/secret";
import { who } from "../session";
import { Sure } from "../parts/sure";

const ROLES: [Role, string][] = [
  ["viewer", "viewer: sees everything but people and secrets"],
  ["operator", "operator: also sets the status of hosts"],
  ["admin", "admin: also lets hosts and people in"],
];

export function UsersPage() {
  const { data, problem, again } = useLoaded("users", 0, (abort) => get<User[]>("/api/v1/users", abort));
  const [isAdding, setAdding] = useState(false);
  const [failed, setFailed] = useState("");
  const [link, setLink] = useState<{ user: string; made: SignInLink } | null>(null);
  const [removed, setRemoved] = useState<User | null>(null);
  const run = (work: Promise<unknown>) => work.then(() => setFailed(""), (error: unknown) => setFailed(words(error))).then(again);
  const path = (user: User) => `/api/v1/users/${encodeURIComponent(user.name)}`;
  const columns: Shown<User>[] = [
    {
      title: "Name",
      show: (user) => (
        <>
          <strong>{user.name}</strong> {user.name === who.value?.name && <span class="chip">you</span>} {user.disabled && <span class="chip">disabled</span>}
        </>
      ),
    },
    {
      title: "Role",
      show: (user) => (
        <select aria-label={`Role of ${user.name}`} value={user.role} onChange={(event) => run(ask("POST", `${path(user)}/role`, { role: event.currentTarget.value }))}>
          {ROLES.map(([role]) => (
            <option key={role}>{role}</option>
          ))}
        </select>
      ),
    },
    { title: "Password", class: "muted", show: (user) => (user.has_password ? "set" : "none yet") },
    { title: "Made", class: "muted nowrap", hint: (user) => exactInstant(user.created_ms), show: (user) => `${instant(user.created_ms).slice(0, 10)} by ${user.created_by}` },
    {
      title: "",
      class: "acts",
      show: (user) => (
        <>
          <button
            type="button"
            class="plain"
            onClick={() => run(ask<SignInLink>("POST", `${path(user)}/sign-in-link`).then((made) => setLink({ user: user.name, made })))}
          >
            Sign-in link
          </button>
          <button type="button" class="plain" onClick={() => run(ask("POST", `${path(user)}/disabled`, { disabled: !user.disabled }))}>
            {user.disabled ? "Enable" : "Disable"}
          </button>
          <button type="button" class="plain danger" onClick={() => setRemoved(user)}>
            Remove
          </button>
        </>
      ),
    },
  ];
  return (
    <main class="narrow">
      <div class="head">
        <h1>Users</h1>
        <span class="room" />
        <button type="button" class="primary" onClick={() => setAdding(true)}>
          Add a user
        </button>
      </div>
      <Problem text={failed || problem.value} />
      {!data.value && !problem.value && <Waiting what="Asking for users" />}
      {data.value && (
        <section class="panel">
          <List columns={columns} rows={data.value} keyOf={(user) => user.name} />
        </section>
      )}
      {isAdding && (
        <AddUser
          onClose={() => {
            setAdding(false);
            again();
          }}
        />
      )}
      {link && (
        <Dialog title={`Sign-in link for ${link.user}`} onClose={() => setLink(null)}>
          <div class="fields">
            <p>Good once, until {instant(link.made.expires_ms)}. Whoever opens it is signed in as {link.user}.</p>
            <CopyLine label="Sign-in link" text={link.made.url} />
          </div>
        </Dialog>
      )}
      {removed && (
        <Sure
          title={`Remove ${removed.name}`}
          text="With all by which they sign in: sessions, links, API tokens of theirs."
          run={() => ask("DELETE", path(removed))}
          onClose={() => {
            setRemoved(null);
            again();
          }}
        />
      )}
    </main>
  );
}

function AddUser({ onClose }: { onClose: () => void }) {
  const [problem, setProblem] = useState("");
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    try {
      await ask("POST", "/api/v1/users", { name: form.get("name"), role: form.get("role"), password: form.get("password") || null });
      onClose();
    } catch (error) {
      setProblem(words(error));
    }
  };
  return (
    <Dialog title="Add a user" onClose={onClose}>
      <form class="fields" onSubmit={submit}>
        <label>
          Name
          <input name="name" required autofocus autocomplete="off" autocapitalize="none" spellcheck={false} />
        </label>
        <label>
          Role
          <select name="role">
            {ROLES.map(([role, text]) => (
              <option key={role} value={role}>
                {text}
              </option>
            ))}
          </select>
        </label>
        <label>
          Password; without one, make a sign-in link afterwards
          <input name="password" type="password" minlength={10} autocomplete="new-password" />
        </label>
        <Problem text={problem} />
        <div class="acts">
          <button class="primary">Add</button>
        </div>
      </form>
    </Dialog>
  );
}
