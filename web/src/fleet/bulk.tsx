// What is done with several hosts at once: to say that they are in maintenance, offline, or online.
import { signal } from "@preact/signals";
import { useState } from "preact/hooks";
import { ask, words } from "../api/client";
import { Dialog } from "../parts/dialog";
import { Problem } from "../parts/messages";
import { hosts, refreshFleet } from "./store";

/** Ids of the hosts that are chosen. */
export const chosen = signal(new Set<string>());

export function toggle(id: string, is: boolean): void {
  const next = new Set(chosen.peek());
  if (is) next.add(id);
  else next.delete(id);
  chosen.value = next;
}

export type Status = "online" | "offline" | "maintenance";

export function Bulk() {
  const [status, setStatus] = useState<Status | null>(null);
  const ids = [...chosen.value];
  if (ids.length === 0) return null;
  const names = hosts.value.filter((host) => chosen.value.has(host.id)).map((host) => host.name);
  return (
    <div class="bulk" role="region" aria-label="Chosen hosts">
      <strong>{ids.length} chosen</strong>
      <span class="cut muted">{names.slice(0, 6).join(", ")}</span>
      <span class="room" />
      <button type="button" onClick={() => setStatus("maintenance")}>
        Maintenance…
      </button>
      <button type="button" onClick={() => setStatus("offline")}>
        Offline…
      </button>
      <button type="button" onClick={() => setStatus("online")}>
        Online
      </button>
      <button type="button" class="plain" onClick={() => (chosen.value = new Set())}>
        Choose none
      </button>
      {status && (
        <StatusDialog
          agents={ids}
          names={names}
          status={status}
          onClose={(isDone) => {
            setStatus(null);
            if (isDone) chosen.value = new Set();
          }}
        />
      )}
    </div>
  );
}

const MEANS: Record<Status, string> = {
  online: "They are meant to be there: the hub says when they are not.",
  maintenance: "Somebody works on them: whether they are there is of no concern meanwhile.",
  offline: "They are meant to be away.",
};

export function StatusDialog(props: { agents: string[]; names: string[]; status: Status; onClose: (isDone: boolean) => void }) {
  const [problem, setProblem] = useState("");
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const comment = String(new FormData(event.currentTarget as HTMLFormElement).get("comment") ?? "").trim();
    try {
      await ask("POST", "/api/v1/status", { agents: props.agents, status: props.status, comment: comment || null });
      await refreshFleet();
      props.onClose(true);
    } catch (error) {
      setProblem(words(error));
    }
  };
  return (
    <Dialog title={`Say: ${props.status}`} onClose={() => props.onClose(false)}>
      <form class="fields" onSubmit={submit}>
        <p>
          <strong>{props.names.slice(0, 5).join(", ")}</strong>
          {props.names.length > 5 && ` and ${props.names.length - 5} more`}
        </p>
        <p class="muted">{MEANS[props.status]}</p>
        {props.status !== "online" && (
          <label>
            Why
            <input name="comment" autofocus required={props.status === "offline"} maxlength={200} />
          </label>
        )}
        <Problem text={problem} />
        <div class="acts">
          <button class="primary">Set {props.names.length > 1 ? `${props.names.length} hosts` : props.names[0]}</button>
        </div>
      </form>
    </Dialog>
  );
}
