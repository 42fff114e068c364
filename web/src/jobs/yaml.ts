// A definition as YAML, to be read and changed by people: plain where it can be, quoted as JSON where not.

/** What a reader of YAML takes for a text and nothing else. */
function isPlain(text: string): boolean {
  // Spans and sizes: 90s, 512MiB, 50%.
  if (/^\d+([a-zA-Z]{1,3}|%)$/.test(text)) return true;
  if (!/^[A-Za-z_/.][\w ./@%+=-]*$/.test(text) || text.endsWith(" ")) return false;
  return !/^(y|n|yes|no|on|off|true|false|null|~|\.inf|\.nan)$/i.test(text) && !/^[.\d]/.test(text);
}

function scalar(value: unknown): string {
  if (typeof value === "string") return isPlain(value) ? value : JSON.stringify(value);
  return JSON.stringify(value) ?? "null";
}

function isSimple(value: unknown): boolean {
  return value === null || typeof value !== "object";
}

/** Lines of a text that is written as it stands: none that a block would change. */
function isBlock(value: unknown): value is string {
  return typeof value === "string" && value.includes("\n") && !/[\t\r\u0000-\u0009\u007f\u0085\u2028\u2029\ufeff]|^\s|\n\n$| \n/.test(value) && value.trim() !== "";
}

export function yamlOf(value: unknown, indent = ""): string {
  if (Array.isArray(value)) {
    return value.map((one) => `${indent}- ${isSimple(one) ? scalar(one) : yamlOf(one, `${indent}  `).trimStart()}`).join("\n");
  }
  return Object.entries(value as Record<string, unknown>)
    .filter(([, one]) => one !== undefined)
    .map(([key, one]) => {
      const name = `${indent}${isPlain(key) ? key : JSON.stringify(key)}:`;
      if (isBlock(one)) {
        const mark = one.endsWith("\n") ? "|" : "|-";
        return `${name} ${mark}\n${one.replace(/\n$/, "").split("\n").map((line) => (line ? `${indent}  ${line}` : "")).join("\n")}`;
      }
      if (isSimple(one)) return `${name} ${scalar(one)}`;
      if (Array.isArray(one)) {
        if (one.every(isSimple)) return `${name} [${one.map(scalar).join(", ")}]`;
        return `${name}\n${yamlOf(one, `${indent}  `)}`;
      }
      const parts = Object.entries(one as object).filter(([, part]) => part !== undefined);
      if (parts.length === 0) return `${name} {}`;
      return `${name}\n${yamlOf(one, `${indent}  `)}`;
    })
    .join("\n");
}

/** What a definition says by itself: what is as it is anyhow is left out. */
const USUAL: Record<string, unknown> = {
  version: 1,
  name: "",
  kill_grace: "10s",
  catch_up: "none",
  overlap: "forbid",
  output: "plain",
  stats_interval: "10s",
  success_codes: [0],
  enabled: true,
};

export function withoutUsual(job: object): Record<string, unknown> {
  return Object.fromEntries(Object.entries(job).filter(([key, value]) => JSON.stringify(value) !== JSON.stringify(USUAL[key])));
}
