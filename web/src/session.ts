// Who looks at the page: found out when it is loaded, by the secret of a link if the address has one.
import { computed, signal } from "@preact/signals";
import { ask, get, Refusal, signedOut, words } from "./api/client";
import type { Role, Whoami } from "./api/types";

export const who = signal<Whoami | null>(null);
/** Has it been found out? */
export const isKnown = signal(false);
export const signInProblem = signal("");
/** The secret by which the first admin is made. */
export const firstSecret = signal<string | null>(null);

const ORDER: Role[] = ["viewer", "operator", "admin"];

/** May they do what needs this role? */
export function may(role: Role): boolean {
  return who.value !== null && ORDER.indexOf(who.value.role) >= ORDER.indexOf(role);
}
export const isAdmin = computed(() => may("admin"));
export const isOperator = computed(() => may("operator"));

/** Finds out who it is. The secret leaves the address at once. */
export async function begin(): Promise<void> {
  const hash = window.location.hash.slice(1);
  if (hash) window.history.replaceState(null, "", window.location.pathname + window.location.search);
  const redeemed = hash.startsWith("sign-in=") ? hash.slice("sign-in=".length) : null;
  if (redeemed) {
    try {
      await ask("POST", "/api/v1/session/link", { secret: redeemed });
    } catch (error) {
      signInProblem.value = words(error);
    }
  } else if (/^[A-Za-z0-9_-]{16,}$/.test(hash)) {
    firstSecret.value = hash;
  }
  await recognise();
}

async function recognise(): Promise<void> {
  try {
    who.value = await get<Whoami>("/api/v1/session");
    firstSecret.value = null;
    signedOut.value = false;
  } catch (error) {
    who.value = null;
    if (!(error instanceof Refusal && error.status === 401)) signInProblem.value = words(error);
  }
  isKnown.value = true;
}

export async function signIn(name: string, password: string): Promise<void> {
  signInProblem.value = "";
  const secret = firstSecret.value;
  try {
    if (secret) await ask("POST", "/api/v1/first-admin", { secret, name, password });
    else await ask("POST", "/api/v1/session", { name, password });
    await recognise();
  } catch (error) {
    signInProblem.value = words(error);
  }
}

export async function signOut(): Promise<void> {
  await ask("DELETE", "/api/v1/session").catch(() => undefined);
  who.value = null;
}

signedOut.subscribe((is) => {
  if (is) who.value = null;
});
