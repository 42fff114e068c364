// The fleet as it was last told: one answer for the whole page, asked for again while it is looked at.
import { signal } from "@preact/signals";
import { get, isAborted, learnTime, words } from "../api/client";
import type { Fleet, Host } from "../api/types";

export const hosts = signal<Host[]>([]);
/** When it was last told; 0: not yet. */
export const toldAt = signal(0);
export const fleetProblem = signal("");

let underWay: Promise<void> | null = null;

/** Asks for it if what there is is older than this, milliseconds. */
export function refreshFleet(age = 0): Promise<void> {
  if (toldAt.peek() > 0 && Date.now() - toldAt.peek() < age) return Promise.resolve();
  underWay ??= look().finally(() => {
    underWay = null;
  });
  return underWay;
}

async function look(): Promise<void> {
  try {
    const fleet = await get<Fleet>("/api/v1/fleet");
    learnTime(fleet.now_ms);
    hosts.value = fleet.hosts;
    toldAt.value = Date.now();
    fleetProblem.value = "";
  } catch (error) {
    if (!isAborted(error)) fleetProblem.value = words(error);
  }
}
