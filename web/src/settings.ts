// What the viewer prefers: colours, and in which zone times are told. Kept in the browser.
import { effect, signal } from "@preact/signals";

export type Theme = "auto" | "light" | "dark";

function kept(name: string): string {
  try {
    return window.localStorage.getItem(`fieldpost.${name}`) ?? "";
  } catch {
    return "";
  }
}

function keep(name: string, value: string): void {
  try {
    window.localStorage.setItem(`fieldpost.${name}`, value);
  } catch {
    // A browser that keeps nothing forgets it with the page.
  }
}

const themes: Theme[] = ["auto", "light", "dark"];
export const theme = signal<Theme>(themes.find((known) => known === kept("theme")) ?? "auto");
export const isUtc = signal(kept("zone") === "utc");

const prefersDark = window.matchMedia("(prefers-color-scheme: dark)");
export const isDark = signal(false);

function settle(): void {
  isDark.value = theme.value === "dark" || (theme.value === "auto" && prefersDark.matches);
  document.documentElement.dataset.theme = isDark.value ? "dark" : "light";
}

prefersDark.addEventListener("change", settle);
effect(() => {
  keep("theme", theme.value);
  settle();
});
effect(() => keep("zone", isUtc.value ? "utc" : "local"));

export function nextTheme(): void {
  theme.value = isDark.value ? "light" : "dark";
}
