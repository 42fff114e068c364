// What the checks of the dashboard stand on: one browser for all of them, and the test that started
// this script at the other end of its pipes, which does to hosts what no page can do.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

/** The packages of the dashboard's own build: nothing else is installed. */
const require = createRequire(new URL("../../web/package.json", import.meta.url));
const { chromium } = require("playwright-core");
const AXE = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

/** As long as a page may take for anything: build machines are slow, and nothing here asserts a time. */
export const PATIENCE_MS = 40_000;

export const given = JSON.parse(process.env.FIELDPOST_STAGE);

const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

/** Has the test do something, and waits until it is done. */
export async function have(what) {
  process.stdout.write(`have ${what}\n`);
  const { value, done } = await answers.next();
  if (done) throw new Error(`the test ended while it was to have ${what}`);
  return value;
}

export async function openBrowser() {
  const quiet = ["no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking", "disable-component-update", "disable-sync"];
  return chromium.launch({
    executablePath: given.chromium,
    args: quiet.map((flag) => `--${flag}`),
    env: { ...process.env, LD_LIBRARY_PATH: given.library_path, FONTCONFIG_FILE: given.fonts },
  });
}

/** A page of its own, signed in if there is a password; whatever goes wrong in it fails the check. */
export async function openPage(browser, url, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, reducedMotion: "reduce", ...options.context });
  context.setDefaultTimeout(PATIENCE_MS);
  const page = await context.newPage();
  page.faults = [];
  page.on("pageerror", (error) => page.faults.push(`${error.message}\n${error.stack}`));
  page.on("console", (message) => {
    // What is refused is told by the browser too; the checks look at that themselves.
    if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) page.faults.push(message.text());
  });
  page.on("dialog", (dialog) => {
    page.faults.push(`a dialog opened: ${dialog.message()}`);
    void dialog.dismiss();
  });
  if (options.user) {
    const answer = await context.request.post(`${url}/api/v1/session`, { data: options.user });
    check(answer.ok(), `signing in answers ${answer.status()}`);
  }
  await page.goto(url + (options.path ?? "/"));
  return page;
}

export async function closePage(page) {
  check(page.faults.length === 0, `the page had trouble: ${page.faults.join("\n")}`);
  await page.context().close();
}

/** Nothing on the page that keeps somebody from using it. */
export async function isAccessible(page, where) {
  await page.evaluate(AXE);
  const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  const serious = found.violations.filter((one) => ["serious", "critical"].includes(one.impact));
  const told = serious.map((one) => `${one.id}: ${one.nodes.slice(0, 3).map((node) => `${node.html} ${node.failureSummary}`).join("\n  ")}`);
  check(serious.length === 0, `${where}:\n${told.join("\n")}`);
}

export function check(holds, otherwise) {
  if (!holds) throw new Error(otherwise);
}

/**
 * Runs checks one after the other, all of them; where there are several lists of checks they are run
 * side by side. A picture is kept of what a failed one saw.
 */
export async function story(steps) {
  const browser = await openBrowser();
  const begun = performance.now();
  const failed = [];
  for (const lanes of steps) {
    await Promise.all(lanes.map((checks) => runLane(browser, checks, failed)));
  }
  process.stdout.write(`${failed.length === 0 ? "passed all" : `failed: ${failed.join(", ")}`} in ${seconds(begun)} s\n`);
  await browser.close();
  process.exit(failed.length === 0 ? 0 : 1);
}

const seconds = (since) => ((performance.now() - since) / 1000).toFixed(1);

async function runLane(browser, checks, failed) {
  for (const [name, run] of checks) {
    const start = performance.now();
    try {
      await run(browser);
      process.stdout.write(`passed ${name} (${seconds(start)} s)\n`);
    } catch (error) {
      failed.push(name);
      const pages = browser.contexts().flatMap((context) => context.pages());
      await pages.at(-1)?.screenshot({ path: given.failed }).catch(() => undefined);
      const where = pages.map((page) => page.url()).join(" ");
      process.stdout.write(`failed ${name}, open are ${where} (see ${given.failed}): ${error.stack}\n`);
    }
  }
}
