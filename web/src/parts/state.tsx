// The state of a host: what people say of it and what the hub sees, as a mark, a shape and a word,
// never by colour alone.
import type { Agent } from "../api/types";
import { now } from "../api/client";
import { exactInstant, span } from "../format";

export type Health = "down" | "late" | "waiting" | "never" | "offline" | "maintenance" | "up" | "revoked";

/** The worst first: so the fleet is sorted unless asked otherwise. */
export const HEALTHS: Health[] = ["down", "late", "waiting", "never", "up", "maintenance", "offline", "revoked"];

export function healthOf(agent: Agent): Health {
  if (agent.revoked) return "revoked";
  if (agent.status === "maintenance") return "maintenance";
  if (agent.status === "offline") return "offline";
  if (agent.waits_for_approval) return "waiting";
  switch (agent.link.state) {
    case "up":
    case "between":
      return "up";
    default:
      return agent.link.state;
  }
}

/** Does somebody have to look at it? */
export function isUnwell(health: Health): boolean {
  return health === "down" || health === "late" || health === "waiting";
}

const WORDS: Record<Health, string> = {
  up: "Up",
  late: "Late",
  down: "Down",
  never: "Never seen",
  waiting: "Waits for approval",
  maintenance: "Maintenance",
  offline: "Offline by choice",
  revoked: "Revoked",
};

export function healthWord(health: Health): string {
  return WORDS[health];
}

const LOOK: Record<Health, string> = {
  up: "up",
  late: "late",
  waiting: "late",
  down: "down",
  never: "rest",
  maintenance: "rest",
  offline: "rest",
  revoked: "rest",
};

export function Mark({ health }: { health: Health }) {
  const look = LOOK[health];
  return (
    <svg width="10" height="10" viewBox="0 0 10 10" fill="currentColor" aria-hidden="true">
      {look === "up" && <circle cx="5" cy="5" r="4" />}
      {look === "late" && <path d="M5 0.6 9.8 9.4H0.2Z" />}
      {look === "down" && <path d="M1.6 0 5 3.4 8.4 0 10 1.6 6.6 5 10 8.4 8.4 10 5 6.6 1.6 10 0 8.4 3.4 5 0 1.6Z" />}
      {look === "rest" && <path d="M1 1h3v8H1zM6 1h3v8H6z" />}
    </svg>
  );
}

export function State({ agent }: { agent: Agent }) {
  const health = healthOf(agent);
  const since = agent.link.since_ms;
  const tells = (health === "down" || health === "late") && since;
  const word = agent.link.state === "between" && health === "up" ? "Between visits" : WORDS[health];
  const more = agent.comment ? `: ${agent.comment}` : "";
  return (
    <span class={`state ${LOOK[health]}`} title={`${word}${more}${since ? ` since ${exactInstant(since)}` : ""}`}>
      <Mark health={health} />
      <span class="cut">
        {word}
        {tells ? ` ${span(now() - since)}` : more}
      </span>
    </span>
  );
}
