// Colours of lines: told apart by people who see fewer of them, on light ground and on dark.
import { isDark } from "../settings";
import type { Color } from "./panels";

const LIGHT: Record<Color, string> = {
  blue: "#1f6fc9", orange: "#d9730d", green: "#1a8a63", red: "#c2342b", purple: "#8457c4",
  sky: "#4aa3df", brown: "#8a5a2b", grey: "#9aa4b2", pink: "#c94f93", teal: "#67bdb5", ink: "#2c3440",
};
const DARK: Record<Color, string> = {
  blue: "#5a9df0", orange: "#f09a4a", green: "#45bd90", red: "#f0736a", purple: "#ad8bea",
  sky: "#7cc4f2", brown: "#c9975f", grey: "#5c6775", pink: "#e586b9", teal: "#4d9c95", ink: "#dfe5ee",
};
const ORDER: Color[] = ["blue", "orange", "green", "purple", "sky", "red", "brown", "pink", "teal", "grey"];

export function colorOf(color: Color | undefined, index: number): string {
  const palette = isDark.value ? DARK : LIGHT;
  return palette[color ?? ORDER[index % ORDER.length]!];
}

/** Grounds, lines and text of a chart. */
export function chartInk() {
  return isDark.value
    ? { text: "#98a3b3", grid: "#222933", hatch: "#5b3b3a", unknown: "#3a414d", mark: "#e6e9ee" }
    : { text: "#56606e", grid: "#edf0f3", hatch: "#eab5b0", unknown: "#ccd3db", mark: "#14181f" };
}
