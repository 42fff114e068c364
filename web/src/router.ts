// Where we are: path and parameters of the address, as signals. Whatever a view shows is written
// there, so that its link shows it again.
import { computed, signal } from "@preact/signals";

const address = signal(read());

function read() {
  return { path: window.location.pathname, search: window.location.search };
}

window.addEventListener("popstate", () => {
  address.value = read();
});

export const path = computed(() => address.value.path);
export const params = computed(() => new URLSearchParams(address.value.search));

/** Goes to an address of this page. */
export function go(to: string, how: "push" | "replace" = "push"): void {
  if (to === window.location.pathname + window.location.search) return;
  if (how === "push") window.history.pushState(null, "", to);
  else window.history.replaceState(null, "", to);
  const before = address.value.path;
  address.value = read();
  if (how === "push" && before !== address.value.path) window.scrollTo(0, 0);
}

/** Changes parameters of the present view; null and "" take one away. */
export function setParams(changes: Record<string, string | null>, how: "push" | "replace" = "replace"): void {
  const next = new URLSearchParams(address.value.search);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === "") next.delete(name);
    else next.set(name, value);
  }
  const search = next.toString().replaceAll("%2C", ",").replaceAll("%3A", ":");
  go(address.value.path + (search ? `?${search}` : ""), how);
}

/** A signal of one parameter. */
export function param(name: string, otherwise = "") {
  return computed(() => params.value.get(name) ?? otherwise);
}

/** The host that the address names, if it is that of a host. */
export const hostOfPath = computed(() => behind("hosts"));

/** What stands behind one of these: the name of a job, the id of a run. */
export const jobOfPath = computed(() => behind("jobs"));
export const runOfPath = computed(() => behind("runs"));

function behind(kind: string): string | null {
  const [, first, name, ...rest] = path.value.split("/");
  return first === kind && name && rest.length === 0 ? decodeURIComponent(name) : null;
}

export function hostLink(name: string, more: Record<string, string> = {}): string {
  const search = new URLSearchParams(more).toString();
  return `/hosts/${encodeURIComponent(name)}${search ? `?${search}` : ""}`;
}

// Links within the page change the view without loading it anew.
document.addEventListener("click", (event) => {
  if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const link = (event.target as Element | null)?.closest?.("a[href]");
  if (!(link instanceof HTMLAnchorElement) || link.target || link.hasAttribute("download")) return;
  if (link.origin !== window.location.origin || link.pathname.startsWith("/api/")) return;
  event.preventDefault();
  go(link.pathname + link.search);
});
