// Pictures of each view in light and dark, for docs/screens and the README.
import { mkdirSync } from "node:fs";
import { closePage, given, have, openPage, story } from "./stage.mjs";

const USER = { name: "ada", password: "correct horse battery" };
const QUESTION = "sum by (group) (rate(fieldpost_process_cpu_seconds_total{instance='web1'}[30s])) > 0.01";

const VIEWS = [
  ["fleet", "/"],
  ["grid", "/?view=grid"],
  ["host", `/hosts/${given.host}?last=5m`],
  ["jobs", "/jobs"],
  ["job", `/jobs/import?agent=${given.host}`],
  ["runs", "/runs"],
  ["run", "/runs/RUN"],
  ["define", "/jobs?define=1"],
  ["queues", "/queues"],
  ["processes", `/hosts/${given.host}?tab=processes&by=group`],
  ["explore", `/explore?last=5m&q=${encodeURIComponent(QUESTION)}`],
  ["agents", "/agents"],
  ["audit", "/audit"],
  ["settings", "/settings"],
];

const SIZES = [
  ["", { width: 1440, height: 900 }, VIEWS],
  ["-phone", { width: 390, height: 844 }, VIEWS.filter(([name]) => ["fleet", "host", "run"].includes(name))],
];

/** As long as it takes until all is drawn, and until what was measured meanwhile is stored, milliseconds. */
const DRAWN_MS = 3_000;
const STORED_MS = 14_000;

/** A run that goes on while pictures are taken. */
const MIGRATION = {
  name: "migrate",
  shell: 'i=0; while :; do i=$((i+1)); echo "moved rows $((i*500-499)) to $((i*500)) of orders"; [ $((i%9)) = 0 ] && echo "row $((i*500-37)): no such customer, left out" >&2; j=0; while [ $j -lt 30000 ]; do j=$((j+1)); done; sleep 0.4; done',
  timeout: "1h",
  limits: { memory: "256M", nice: 10 },
  queue: { name: "database", width: 1 },
};
let run = "";

async function settled(page, name) {
  await page.waitForFunction(() => document.querySelector("main") !== null && document.querySelector(".wait") === null);
  await page.waitForTimeout(name === "host" ? STORED_MS : DRAWN_MS);
}

async function admin(browser) {
  const page = await openPage(browser, given.url, { path: `/${given.first_admin.replace(/.*\/#/, "#")}` });
  await page.getByLabel("Name").fill(USER.name);
  await page.getByLabel("Password").fill(USER.password);
  await page.keyboard.press("Enter");
  await page.locator("[data-row]").first().waitFor();
  const said = await page.context().request.post(`${given.url}/api/v1/status`, {
    data: { agents: [given.rested], status: "maintenance", comment: "new disks" },
    headers: { origin: given.url },
  });
  if (!said.ok()) throw new Error(`setting the status answers ${said.status()}`);
  const ordered = await page.context().request.post(`${given.url}/api/v1/runs`, { data: { job: MIGRATION, target: { agent: given.host } }, headers: { origin: given.url } });
  if (!ordered.ok()) throw new Error(`ordering a run answers ${ordered.status()}`);
  run = (await ordered.json()).runs[0].id;
  await closePage(page);
  await have("history");
}

async function pictures(browser, theme) {
  mkdirSync(given.screens, { recursive: true });
  for (const [suffix, viewport, views] of SIZES) {
    const page = await openPage(browser, given.url, { user: USER, context: { viewport, colorScheme: theme } });
    for (const [name, path] of views) {
      await page.goto(given.url + path.replace("RUN", run));
      await settled(page, name);
      await page.screenshot({ path: `${given.screens}/${name}${suffix}-${theme}.png` });
    }
    await closePage(page);
  }
}

await story([
  [[["first admin", admin]]],
  [[["light", (browser) => pictures(browser, "light")]]],
  [[["dark", (browser) => pictures(browser, "dark")]]],
]);
