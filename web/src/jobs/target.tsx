// For whom something is meant: one host, any one of those that hold roles and labels, or each of them.
import type { Signal } from "@preact/signals";
import { useId } from "preact/hooks";
import type { Target } from "../api/types";
import { hosts } from "../fleet/store";

type Kind = "agent" | "one" | "each";

function kindOf(target: Target): Kind {
  return target.agent != null ? "agent" : target.fanout ? "each" : "one";
}

export function targetText(target: Target): string {
  if (target.agent != null) return target.agent;
  const labels = Object.entries(target.labels ?? {}).map(([name, value]) => `${name}=${value}`);
  const held = [...(target.roles ?? []).map((role) => (role === "*" ? "any role" : role)), ...labels].join(", ");
  return `${target.fanout ? "each of" : "any one of"} ${held || "nobody"}`;
}

const KINDS: [Kind, string][] = [
  ["agent", "One host"],
  ["one", "Any one that has"],
  ["each", "Each that has"],
];

export function TargetFields({ target }: { target: Signal<Target> }) {
  const kind = kindOf(target.value);
  const list = useId();
  const choose = (next: Kind) => {
    const { roles = ["*"], labels } = target.peek();
    target.value = next === "agent" ? { agent: "" } : { roles, labels, ...(next === "each" ? { fanout: true } : {}) };
  };
  return (
    <div class="target">
      <div class="segments" role="group" aria-label="For whom">
        {KINDS.map(([one, title]) => (
          <button key={one} type="button" aria-pressed={kind === one} onClick={() => choose(one)}>
            {title}
          </button>
        ))}
      </div>
      {kind === "agent" ? (
        <>
          <input
            aria-label="Host"
            placeholder="Name of a host"
            list={list}
            value={target.value.agent ?? ""}
            required
            autocomplete="off"
            spellcheck={false}
            onInput={(event) => (target.value = { agent: event.currentTarget.value.trim() })}
          />
          <datalist id={list}>
            {hosts.value.slice(0, 500).map((host) => (
              <option key={host.id} value={host.name} />
            ))}
          </datalist>
        </>
      ) : (
        <Held target={target} />
      )}
    </div>
  );
}

function Held({ target }: { target: Signal<Target> }) {
  const set = (change: Partial<Target>) => (target.value = { ...target.peek(), ...change });
  const labels = Object.entries(target.value.labels ?? {}).map(([name, value]) => `${name}=${value}`);
  const list = useId();
  const roles = [...new Set(hosts.value.flatMap((host) => host.roles))].sort();
  return (
    <>
      <input
        aria-label="Roles"
        title="All of these roles; * is held by every host"
        placeholder="Roles; * for every host"
        list={list}
        defaultValue={(target.peek().roles ?? []).join(" ")}
        autocomplete="off"
        spellcheck={false}
        onInput={(event) => set({ roles: event.currentTarget.value.split(/[\s,]+/).filter(Boolean) })}
      />
      <datalist id={list}>
        <option value="*" />
        {roles.map((role) => (
          <option key={role} value={role} />
        ))}
      </datalist>
      <input
        aria-label="Labels"
        placeholder="Labels: site=berlin, rack=4"
        defaultValue={labels.join(", ")}
        autocomplete="off"
        spellcheck={false}
        onInput={(event) => {
          const pairs = event.currentTarget.value.split(",").map((pair) => pair.trim()).filter((pair) => pair.includes("="));
          set({ labels: Object.fromEntries(pairs.map((pair) => [pair.slice(0, pair.indexOf("=")), pair.slice(pair.indexOf("=") + 1)])) });
        }}
      />
    </>
  );
}
