// Questions of many charts over one range in one request: what is asked in the same turn of the page goes
// together, so that the hub reads once what all of it is about.
import { ask, inTurn, Refusal } from "./client";
import type { ColumnsAnswer, QuestionsAsked } from "./types";

export type Range = Omit<QuestionsAsked, "about" | "groups">;
/** Charts that are drawn together ask within so much. */
const SOON_MS = 50;

/** A series: a number, or nothing, for each instant of the range. */
export interface Series {
  labels: Record<string, string>;
  values: (number | null)[];
}

/** The questions of a chart, and the metrics that they are about, each with the conditions of its series. */
export interface Group {
  about: [metric: string, conditions: string][];
  questions: string[];
}

interface Wish {
  group: Group;
  abort?: AbortSignal;
  take: (answers: Series[][]) => void;
  fail: (error: unknown) => void;
}

const wishes = new Map<string, { range: Range; all: Wish[] }>();
const underWay = new Set<Promise<void>>();

/** The answers to a group of questions, in their order. */
export function columns(range: Range, group: Group, abort?: AbortSignal): Promise<Series[][]> {
  return new Promise((take, fail) => {
    if (wishes.size === 0) queueMicrotask(send);
    const key = JSON.stringify(range);
    const own = wishes.get(key) ?? { range, all: [] };
    wishes.set(key, own);
    own.all.push({ group, abort, take, fail });
  });
}

/** Waits until charts that have asked are answered: they come first. */
export async function afterColumns(): Promise<void> {
  await new Promise((go) => setTimeout(go, SOON_MS));
  while (underWay.size > 0) await Promise.all(underWay);
}

function send(): void {
  for (const { range, all } of wishes.values()) {
    const asked = request(range, all).finally(() => underWay.delete(asked));
    underWay.add(asked);
  }
  wishes.clear();
}

/** Few selectors of all of it: metrics of the same conditions together, and each under the fewest conditions. */
function selectors(about: Group["about"]): string[] {
  const byConditions = new Map<string, Set<string>>();
  const isCovered = (metric: string, conditions: string) => about.some(([other, fewer]) => other === metric && conditions.startsWith(`${fewer},`));
  for (const [metric, conditions] of about) {
    if (isCovered(metric, conditions)) continue;
    byConditions.set(conditions, (byConditions.get(conditions) ?? new Set()).add(metric));
  }
  return [...byConditions].map(([conditions, metrics]) => `{__name__=~"${[...metrics].join("|")}",${conditions}}`);
}

async function request(range: Range, asked: Wish[]): Promise<void> {
  // It is broken off when nobody wants any of it any more.
  const abort = new AbortController();
  const look = () => {
    if (asked.every((wish) => wish.abort?.aborted)) abort.abort();
  };
  asked.forEach((wish) => wish.abort?.addEventListener("abort", look, { once: true }));
  try {
    const about = selectors(asked.flatMap((wish) => wish.group.about));
    const groups = asked.map((wish) => wish.group.questions);
    const said = await inTurn(() => {
      look();
      abort.signal.throwIfAborted();
      return ask<ColumnsAnswer>("POST", "/api/v1/query_groups", { ...range, about, groups }, abort.signal);
    });
    asked.forEach((wish, index) => {
      const answers = said.groups[index] ?? [];
      const refused = answers.find((one) => one.error !== undefined);
      if (wish.abort?.aborted) wish.fail(new DOMException("nobody waits for it", "AbortError"));
      else if (refused) wish.fail(new Refusal(422, "execution", refused.error ?? ""));
      else wish.take(answers.map((one) => one.series ?? []));
    });
  } catch (error) {
    asked.forEach((wish) => wish.fail(error));
  }
}
