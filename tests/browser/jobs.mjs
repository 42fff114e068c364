// What people do with jobs in the dashboard: run something on whoever has a role, follow what it says, kill it;
// define a job, disable it, have it run now. And what a viewer is not offered.
import { check, closePage, given, isAccessible, openPage } from "./stage.mjs";

/** A job that says something, and something else that a page could take for markup. */
const SAYS = `echo '${given.hostile}'; i=0; while :; do i=$((i+1)); echo "line $i"; sleep 0.3; done`;

const LONG = "long";

/** The levels and lines that are drawn. */
const line = (page, text) => page.locator(".log-row").filter({ hasText: text }).first();

/** Something runs on whoever has the role; its log is followed, searched and saved; it is killed. */
export async function runAndKill(browser, user) {
  const page = await openPage(browser, given.url, { user, path: "/runs" });
  await page.getByRole("button", { name: "Run something" }).click();
  const form = page.getByRole("dialog", { name: "Run something" });
  await form.getByLabel("A line for the shell").fill(SAYS);
  await form.getByRole("button", { name: "Any one that has" }).click();
  await form.getByLabel("Roles").fill("nobody-has-this");
  await form.getByRole("status", { name: "Who gets it" }).getByText(/Nobody/).waitFor();
  await form.getByLabel("Roles").fill(given.role);
  await form.getByRole("status", { name: "Who gets it" }).getByText(given.host).waitFor();
  await form.getByText("Limits, user, environment").click();
  await form.getByLabel("Ends after").fill("10m");
  await form.getByRole("button", { name: "Add a secret" }).click();
  await form.getByLabel("Name of the secret").fill("TOKEN");
  await form.getByLabel("Value of TOKEN").fill("open sesame");
  await isAccessible(page, "the form for a run");
  await form.getByRole("button", { name: "Run", exact: true }).click();
  await page.waitForURL(/\/runs\/[^?]/);
  await page.getByText("Running", { exact: false }).first().waitFor();
  await line(page, given.hostile).waitFor();
  await line(page, "line 3").waitFor();
  // What its cgroup tells of waiting has a chart; where that tells nothing there is none.
  const told = async () => (await (await page.context().request.get(`${page.url().replace(/\?.*/, "").replace("/runs/", "/api/v1/runs/")}/stats`)).json()).samples.at(-1) ?? {};
  const drawn = page.locator(".run-charts .chart");
  await drawn.first().waitFor();
  const isWaitingDrawn = (await page.getByRole("region", { name: "Waiting (PSI)" }).count()) > 0;
  check(isWaitingDrawn === "cpu_stalled_seconds" in (await told()), "a chart of waiting, or none");
  await isAccessible(page, "a run");
  await page.getByLabel("Search the log").fill("line 2");
  await line(page, "line 2").waitFor();
  check((await page.locator(".log-row").filter({ hasText: "line 3" }).count()) === 0, "the search leaves in what does not fit");
  const [saved] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Save" }).click()]);
  check(saved.suggestedFilename().endsWith(".log"), saved.suggestedFilename());
  const link = page.url();
  const id = new URL(link).pathname.split("/").at(-1);
  // What it uses right now stands in the list, and is asked for while its row is in sight only.
  await page.goto(`${given.url}/runs?state=active`);
  const used = page.locator(`[data-run="${id}"] [data-live]`);
  await used.filter({ hasText: /core/ }).waitFor();
  await used.filter({ hasText: /B now/ }).waitFor();
  await isAccessible(page, "a run that goes on, in the list");
  await page.goto(link);
  await page.getByRole("button", { name: "Kill…" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Kill", exact: true }).click();
  await page.locator(".run-state").filter({ hasText: "Killed" }).waitFor();
  check((await page.getByRole("button", { name: "Kill…" }).count()) === 0, "what is over may be killed");
  // The same by its link, and in the list; by its command, for it may be asked for again.
  await page.goto(`${given.url}/runs?state=killed`);
  await page.locator(`[data-run="${id}"]`).waitFor();
  await isAccessible(page, "the runs");
  const harmed = await page.evaluate(() => window.harmed === true);
  check(!harmed, "the log was taken for markup");
  await page.goto(link.replace(/\?.*/, "?new=1&of=") + id);
  const again = page.getByRole("dialog", { name: "Run again" });
  await again.getByLabel("A line for the shell").waitFor();
  check((await again.getByLabel("A line for the shell").inputValue()) === SAYS, "the form has another command");
  await closePage(page);
}

/** Something that goes on while its agent is killed, and longer than the agent keeps its samples. */
export async function beginLongRun(browser, user) {
  const page = await openPage(browser, given.url, { user });
  const job = { name: LONG, command: "sleep", args: ["600"], stats_interval: "1s" };
  const answer = await page.context().request.post(`${given.url}/api/v1/runs`, { data: { job, target: { agent: given.host } } });
  check(answer.ok(), `the order is answered ${answer.status()}: ${await answer.text()}`);
  await closePage(page);
}

/** Its charts reach back to where samples are no longer kept; what is dragged over leads to its host. */
export async function chartLongRun(browser, user) {
  const page = await openPage(browser, given.url, { user, path: `/runs?job="${LONG}"` });
  await page.locator("[data-run] a").first().click();
  const memory = page.getByRole("region", { name: "Memory" });
  const spans = () => memory.locator(".plot").getAttribute("aria-label");
  await memory.locator("canvas").waitFor();
  const newest = await spans();
  await page.getByRole("button", { name: "The whole run" }).click();
  await memory.getByText("highest").waitFor();
  check((await spans()) !== newest, `both are ${newest}`);
  check(page.url().endsWith("?charts=whole"), page.url());
  await isAccessible(page, "the whole of a run");
  await page.reload();
  await memory.getByText("highest").waitFor();
  const box = await memory.locator(".u-over").boundingBox();
  await page.mouse.move(box.x + box.width * 0.2, box.y + 40);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.8, box.y + 40, { steps: 4 });
  await page.mouse.up();
  await page.waitForURL((to) => to.pathname === `/hosts/${given.host}` && /from=\d+&to=\d+/.test(to.search));
  await page.goBack();
  await page.getByRole("button", { name: "Kill…" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Kill", exact: true }).click();
  await page.locator(".run-state").filter({ hasText: "Killed" }).waitFor();
  await closePage(page);
}

/** A job is defined, its faults told while one types; it is triggered, disabled, changed, removed. */
export async function defineAndTrigger(browser, user) {
  const page = await openPage(browser, given.url, { user, path: "/jobs" });
  await page.getByRole("button", { name: "Define a job" }).click();
  const editor = page.getByRole("dialog", { name: "Define a job" });
  const text = (timeout) => `target: {roles: [${given.role}]}\njob:\n  name: sums\n  shell: echo sums\n  every: 1h\n  timeout: ${timeout}\n`;
  await editor.getByLabel("Definition in YAML").fill(text("soon"));
  await editor.getByRole("status").getByText(/line 6/).waitFor();
  check(await editor.getByRole("button", { name: "Define" }).isDisabled(), "what is wrong may be defined");
  await editor.getByLabel("Definition in YAML").fill(text("5m"));
  await editor.getByRole("status").getByText("Sound.").waitFor();
  await editor.getByRole("status").getByText(given.host).waitFor();
  await isAccessible(page, "the editor of a job");
  await editor.getByRole("button", { name: "Define" }).click();
  await page.waitForURL(/\/jobs\/sums/);
  await page.getByRole("region", { name: "Who runs it" }).getByRole("link", { name: given.host }).waitFor();
  await page.getByRole("button", { name: "Run now" }).click();
  await page.waitForURL(/\/runs\/[^?]/);
  await page.locator(".run-state").filter({ hasText: "Succeeded" }).waitFor();
  await page.goto(`${given.url}/jobs/sums`);
  await page.getByRole("region", { name: "Last runs" }).getByText(/100 %/).waitFor();
  await isAccessible(page, "a job");
  await page.getByRole("button", { name: "Disable" }).click();
  await page.getByRole("button", { name: "Enable" }).waitFor();
  await page.goto(`${given.url}/jobs`);
  await page.locator('[data-job="sums"]').getByText("disabled").waitFor();
  await isAccessible(page, "the jobs");
  await page.goto(`${given.url}/jobs/sums`);
  await page.getByRole("button", { name: "Remove…" }).click();
  await page.getByRole("button", { name: "Remove sums" }).click();
  await page.waitForURL(/\/jobs$/);
  await page.waitForFunction(() => document.querySelector("main") !== null && document.querySelector('[data-job="sums"]') === null);
  await page.goto(`${given.url}/queues`);
  await page.getByRole("heading", { name: "Queues" }).waitFor();
  await isAccessible(page, "the queues");
  await closePage(page);
}

/** A job of a host's own runs now, is disabled and enabled; its run is found by parts of names. */
export async function ownJob(browser, user) {
  const page = await openPage(browser, given.url, { user, path: "/jobs?q=sweep" });
  const row = page.locator(`[data-job="${given.own_job}"]`);
  await row.getByRole("button", { name: "Run now" }).click();
  await row.locator(".last-run").filter({ hasText: "Succeeded" }).waitFor();
  await row.getByRole("button", { name: "Disable" }).click();
  await row.getByRole("button", { name: "Enable" }).waitFor();
  await row.getByText("disabled").waitFor();
  await row.getByRole("button", { name: "Enable" }).click();
  await row.getByText(/^in /).waitFor();
  await page.goto(`${given.url}/runs`);
  const found = page.locator("[data-run]").filter({ hasText: given.own_job });
  await page.getByRole("searchbox", { name: "Job", exact: true }).fill("WEEP");
  await page.getByRole("searchbox", { name: "Host", exact: true }).fill(given.host.slice(1));
  await page.getByRole("searchbox", { name: "Tag", exact: true }).fill("eam=clean");
  await page.waitForFunction((name) => [...document.querySelectorAll("[data-run]")].every((run) => run.textContent.includes(name)), given.own_job);
  await found.first().waitFor();
  check(new URL(page.url()).searchParams.get("job") === "WEEP", page.url());
  await page.reload();
  await found.first().waitFor();
  await page.getByRole("searchbox", { name: "Job", exact: true }).fill('"weep"');
  await page.getByRole("heading", { name: "No run fits" }).waitFor();
  await closePage(page);
}

/** Looks at jobs and runs as one who may change nothing. */
export async function offeredToViewer(page) {
  for (const view of ["/jobs", "/runs"]) {
    await page.goto(given.url + view);
    await page.getByRole("heading", { level: 1 }).waitFor();
    await page.waitForFunction(() => document.querySelector(".wait") === null);
    const offered = await page.getByRole("button", { name: /^(Run|Define|Kill|Disable|Enable|Remove)/ }).allInnerTexts();
    const allowed = offered.filter((text) => !text.startsWith("Running now"));
    check(allowed.length === 0, `a viewer is offered ${allowed.join(", ")} at ${view}`);
  }
}
