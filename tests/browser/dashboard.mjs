// What people do with the dashboard, done by a browser: a real hub, real agents, and a fleet of
// thousands. Each check is a story; what a story needs done to hosts it asks the test for.
import { beginLongRun, chartLongRun, defineAndTrigger, offeredToViewer, ownJob, runAndKill } from "./jobs.mjs";
import { check, closePage, given, have, isAccessible, openPage, story } from "./stage.mjs";
import { thousands } from "./thousands.mjs";

const USER = { name: "ada", password: "correct horse battery" };
const HOST = given.host;

const row = (page, name) => page.locator(`[data-host="${name}"]`);

async function firstAdmin(browser) {
  await have("burst");
  const page = await openPage(browser, given.first_admin.replace(/\/#.*/, ""), { path: `/${given.first_admin.replace(/.*\/#/, "#")}` });
  await page.getByRole("heading", { name: "Make the first admin" }).waitFor();
  check(!page.url().includes("#"), "the secret stays in the address");
  await isAccessible(page, "the way in");
  await page.getByLabel("Name").fill(USER.name);
  await page.getByLabel("Password").fill(USER.password);
  await page.keyboard.press("Enter");
  await row(page, HOST).waitFor();
  await page.getByRole("button", { name: USER.name }).click();
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByRole("heading", { name: "Sign in" }).waitFor();
  await page.getByLabel("Name").fill(USER.name);
  await page.getByLabel("Password").fill("wrong horse battery");
  await page.keyboard.press("Enter");
  await page.getByRole("alert").waitFor();
  await page.getByLabel("Password").fill(USER.password);
  await page.keyboard.press("Enter");
  await row(page, HOST).waitFor();
  await closePage(page);
}

/** From the fleet to the process that eats a CPU: at most three clicks. */
async function culprit(browser) {
  const page = await openPage(browser, given.url, { user: USER });
  let clicks = 0;
  const click = async (target) => {
    clicks += 1;
    await target.click();
  };
  await click(row(page, HOST).getByRole("link", { name: HOST }));
  const blamed = page.getByRole("region", { name: "Who did it?" }).locator('[data-use="CPU"]');
  const named = blamed.getByRole("button", { name: new RegExp(`^${given.burner}`) });
  await named.waitFor();
  await click(named);
  const process = page.locator(".processes tbody tr").filter({ hasText: given.burner });
  await process.first().waitFor();
  check(clicks <= 3, `${clicks} clicks`);
  check(new URL(page.url()).searchParams.get("p") === given.burner, page.url());
  // The same by its link.
  const again = await openPage(browser, given.url, { user: USER, path: page.url().replace(given.url, "") });
  await again.locator(".processes tbody tr").filter({ hasText: given.burner }).first().waitFor();
  await closePage(again);
  await closePage(page);
}

/** Dragging over a chart shows that part on all of them; the link shows it again. */
async function zoom(browser) {
  const page = await openPage(browser, given.url, { user: USER, path: `/hosts/${HOST}?last=5m` });
  const over = page.locator('[data-panel="cpu"] .u-over');
  await page.locator('[data-panel="cpu"] .legend li').first().waitFor();
  await page.getByText("● Live").waitFor();
  const before = await page.locator('[data-panel="cpu"] .plot').getAttribute("aria-label");
  await page.waitForFunction((old) => document.querySelector('[data-panel="cpu"] .plot')?.getAttribute("aria-label") !== old, before);
  const box = await over.boundingBox();
  await page.mouse.move(box.x + box.width * 0.6, box.y + 40);
  // All charts have one pointer, and it tells where it is: two minutes before the end.
  const where = page.locator(".where").filter({ hasText: /\d\d:\d\d:\d\d/ });
  await where.waitFor();
  const told = await where.innerText();
  const [h, m, s] = told.split(" ").at(-1).split(":").map(Number);
  const pointed = await page.evaluate(([h, m, s]) => (Date.now() - new Date().setHours(h, m, s)) / 1000, [h, m, s]);
  check(Math.abs(pointed - 120) < 30, `the pointer tells ${told}, ${pointed} s ago`);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.7, box.y + 50, { steps: 4 });
  await page.mouse.move(box.x + box.width * 0.95, box.y + 50, { steps: 4 });
  await page.mouse.up();
  await page.waitForURL(/from=\d+&to=\d+/);
  const asked = new URL(page.url()).searchParams;
  const width = Number(asked.get("to")) - Number(asked.get("from"));
  check(width > 60_000 && width < 120_000, `that part of five minutes is not ${width} ms`);
  await page.locator('[data-panel="memory"] .u-over').waitFor();
  const axis = () => page.locator('[data-panel="memory"] canvas').evaluate((canvas) => canvas.toDataURL().length);
  check((await axis()) > 1_000, "the chart is empty");
  await isAccessible(page, "a host");
  await page.keyboard.press("0");
  await page.waitForFunction(() => !window.location.search.includes("from="));
  await page.goBack();
  await page.waitForURL(/from=\d+&to=\d+/);
  await closePage(page);
}

/** A host goes away: nobody can overlook it. It comes back, and what is missing is hatched. */
async function outage(browser) {
  const page = await openPage(browser, given.url, { user: USER });
  await row(page, HOST).waitFor();
  await page.locator(`[data-host="${HOST}"]:not(.down)`).waitFor();
  await have("kill");
  await page.locator(`[data-host="${HOST}"].down`).waitFor();
  const down = page.getByRole("region", { name: "Totals" }).getByRole("button", { name: /Down/ });
  check((await down.innerText()).startsWith("1"), await down.innerText());
  check((await page.locator("[data-row]").first().getAttribute("data-host")) === HOST, "it is not the first of the list");
  await isAccessible(page, "a fleet with a host that is down");
  await row(page, HOST).getByRole("link").click();
  await page.getByRole("alert").filter({ hasText: "There is no link to this host" }).waitFor();
  await have("start");
  await page.getByRole("alert").waitFor({ state: "detached" });
  await page.locator('.gaps[data-missing]:not([data-missing="0"])').waitFor();
  await page.getByRole("button", { name: "Events" }).click();
  await page.getByRole("cell", { name: "Unclean stop" }).first().waitFor();
  await page.goto(`${given.url}/`);
  await page.locator(`[data-host="${HOST}"]:not(.down)`).waitFor();
  await closePage(page);
}

/** Everything without a mouse. */
async function keyboardOnly(browser) {
  const page = await openPage(browser, given.url, { user: USER });
  await row(page, HOST).waitFor();
  await page.keyboard.press("?");
  await page.getByRole("dialog", { name: "Keyboard" }).waitFor();
  await page.keyboard.press("Escape");
  await page.keyboard.press("/");
  await page.keyboard.type("nothing-is-called-so");
  await page.getByText("No host fits").waitFor();
  await page.keyboard.press("Escape");
  await row(page, HOST).waitFor();
  await page.locator("#search").fill("");
  await page.locator("#search").blur();
  await page.keyboard.press("j");
  await page.waitForFunction(() => document.activeElement?.closest("[data-row]") !== null);
  await page.keyboard.press("Enter");
  await page.waitForURL(/\/hosts\//);
  await page.keyboard.press("g");
  await page.keyboard.press("e");
  await page.waitForURL(/\/explore/);
  const box = page.getByLabel("Question in PromQL");
  await box.focus();
  await page.keyboard.type("node_loa");
  await page.getByRole("option", { name: /node_load15/ }).waitFor();
  await page.keyboard.press("Escape");
  await page.keyboard.type("d1");
  await page.keyboard.press("Control+Enter");
  await page.getByRole("cell", { name: HOST, exact: true }).first().waitFor();
  await page.locator(".chart canvas").waitFor();
  await page.getByLabel("Question in PromQL").blur();
  await isAccessible(page, "Explore");
  await page.keyboard.press("g");
  await page.keyboard.press("h");
  await row(page, HOST).waitFor();
  await closePage(page);
}

/** A line to paste on a new host; a token for a program; and both in the audit log. */
async function tokens(browser) {
  const page = await openPage(browser, given.url, { user: USER, path: "/agents" });
  await page.getByRole("button", { name: "Add hosts" }).click();
  await page.getByLabel("Roles").fill("web");
  await isAccessible(page, "the form for a join token");
  await page.getByRole("button", { name: "Make a join token" }).click();
  const line = await page.getByLabel("The line to paste").innerText();
  check(/^echo '\S+' \| sudo fieldpost join -$/.test(line), line);
  await page.getByRole("button", { name: "Done" }).click();
  await page.getByRole("region", { name: "Join tokens" }).getByText("0 of 1").waitFor();
  await page.goto(`${given.url}/tokens`);
  await page.getByRole("button", { name: "Make a token" }).click();
  await page.getByLabel("Name").fill("grafana");
  await page.getByLabel("Scope").selectOption("viewer");
  await page.getByRole("button", { name: "Make", exact: true }).click();
  const secret = await page.getByLabel("Secret of the token").innerText();
  const answer = await page.context().request.get(`${given.url}/api/v1/query?query=up`, { headers: { authorization: `Bearer ${secret}`, cookie: "" } });
  check(answer.ok(), `the token is answered ${answer.status()}`);
  await page.goto(`${given.url}/audit`);
  await page.getByRole("cell", { name: "api_token.add" }).first().waitFor();
  await page.getByRole("button", { name: "Verify the log" }).click();
  await page.getByText(/entries are as they were written/).waitFor();
  for (const view of ["/audit", "/tokens", "/users", "/settings", "/logs", `/hosts/${HOST}?tab=processes`, `/hosts/${HOST}?tab=units`]) {
    await page.goto(given.url + view);
    await page.getByRole("heading", { level: 1 }).waitFor();
    await page.waitForFunction(() => document.querySelector(".wait") === null);
    await isAccessible(page, view);
  }
  await closePage(page);
}

/** A viewer is shown and offered what a viewer may; a hub that is gone is told, and found again. */
async function viewer(browser) {
  const admin = await openPage(browser, given.url, { user: USER });
  const guest = { name: "guest", password: "a guest of the house" };
  const made = await admin.context().request.post(`${given.url}/api/v1/users`, { data: { ...guest, role: "viewer" }, headers: { origin: given.url } });
  check(made.ok(), `adding a user answers ${made.status()}`);
  await closePage(admin);
  const page = await openPage(browser, given.url, { user: guest });
  await row(page, HOST).waitFor();
  check((await page.getByRole("navigation").getByRole("link").allInnerTexts()).join(" ") === "Fleet Jobs Runs Queues Explore Logs Agents Settings", "the views of a viewer");
  check((await page.getByRole("checkbox").count()) === 0, "a viewer may choose hosts");
  await offeredToViewer(page);
  await page.goto(given.url);
  await row(page, HOST).waitFor();
  const charts = await openPage(browser, given.url, { user: guest, path: `/hosts/${HOST}?last=5m` });
  // It is asked for last; a box that has nothing to show yet says itself why.
  await charts.locator('[data-use="CPU"]').waitFor();
  await have("hub away");
  await page.getByRole("alert").filter({ hasText: "The hub does not answer" }).waitFor();
  await row(page, HOST).waitFor();
  await isAccessible(page, "a fleet without a hub");
  // What was drawn stays: a host's charts too.
  await charts.getByRole("alert").filter({ hasText: "The hub does not answer" }).waitFor();
  await charts.locator('[data-panel="cpu"] canvas').waitFor();
  check((await charts.getByText("The hub cannot be reached").filter({ visible: true }).count()) === 0, "it is said twice that the hub is away");
  await closePage(charts);
  await have("hub back");
  await page.getByRole("alert").waitFor({ state: "detached" });
  await page.locator(`[data-host="${HOST}"]:not(.down)`).waitFor();
  // What ran meanwhile and was forgotten before the hub heard of it is said.
  await page.goto(`${given.url}/runs`);
  const unheard = page.getByRole("region", { name: "Runs that are not known" });
  await unheard.getByText(`1 run of ${HOST}`).waitFor();
  await isAccessible(page, "runs of which some are not known");
  await closePage(page);
}

/** Whatever others call things is text. */
async function hostile(browser) {
  const page = await openPage(browser, given.url, { user: USER, path: `/hosts/${HOST}?tab=processes&p=onerror` });
  await page.locator(".processes tbody tr").filter({ hasText: given.hostile }).first().waitFor();
  const said = await page.context().request.post(`${given.url}/api/v1/status`, {
    data: { agents: [HOST], status: "maintenance", comment: given.hostile },
    headers: { origin: given.url },
  });
  check(said.ok(), `setting the status answers ${said.status()}`);
  for (const view of ["/", `/hosts/${HOST}`, `/hosts/${HOST}?tab=events`, `/hosts/${HOST}?tab=units`, "/jobs", "/runs", "/agents", "/audit", `/explore?q=${encodeURIComponent(given.hostile)}`, `/hosts/${encodeURIComponent(given.hostile)}`]) {
    await page.goto(given.url + view);
    await page.waitForFunction(() => document.querySelector("main") !== null && document.querySelector(".wait") === null);
    const harmed = await page.evaluate(() => window.harmed === true || document.querySelector('img:not([src="/icon.svg"]), iframe, svg script') !== null);
    check(!harmed, `${view} has taken a name for markup`);
  }
  await page.goto(`${given.url}/audit`);
  await page.getByText(given.hostile).first().waitFor();
  const online = await page.context().request.post(`${given.url}/api/v1/status`, { data: { agents: [HOST], status: "online" }, headers: { origin: given.url } });
  check(online.ok(), `setting the status answers ${online.status()}`);
  await closePage(page);
}

/** On a phone nothing is wider than the screen. */
async function phone(browser) {
  const context = { viewport: { width: 390, height: 800 }, hasTouch: true, colorScheme: "dark" };
  const page = await openPage(browser, given.url, { user: USER, context });
  await row(page, HOST).waitFor();
  for (const view of ["/", "/?view=grid", `/hosts/${HOST}?tab=processes`, `/hosts/${HOST}?tab=facts`, `/hosts/${HOST}?tab=events`, "/hosts/nobody", "/explore?q=node_load1", "/jobs", "/runs", "/queues", "/agents", "/audit", "/users", "/settings"]) {
    await page.goto(given.url + view);
    await page.waitForFunction(() => document.querySelector("main") !== null && document.querySelector(".wait") === null);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    check(wide <= 0, `${view} is ${wide} pixels too wide`);
    const here = await page.evaluate(() => document.querySelector("nav [aria-current]")?.getBoundingClientRect().right ?? 0);
    check(here <= 390, `the link to ${view} ends at ${here}, out of sight`);
    await isAccessible(page, `${view} on a phone in the dark`);
  }
  await page.goto(`${given.url}/`);
  await row(page, HOST).getByRole("link").tap();
  await page.locator('[data-panel="cpu"] canvas').waitFor();
  await isAccessible(page, "a host in the dark");
  await closePage(page);
}

await story([
  [[["first admin", firstAdmin]]],
  [
    [["begin a long run", (browser) => beginLongRun(browser, USER)], ["culprit", culprit], ["outage", outage], ["zoom", zoom]],
    [["keyboard", keyboardOnly], ["tokens", tokens], ["thousands", thousands]],
  ],
  // Nobody takes the host or the hub away meanwhile.
  [
    [["phone", phone], ["own job", (browser) => ownJob(browser, USER)], ["chart a long run", (browser) => chartLongRun(browser, USER)]],
    [["run and kill", (browser) => runAndKill(browser, USER)], ["define and trigger", (browser) => defineAndTrigger(browser, USER)]],
  ],
  [[["hostile", hostile], ["viewer", viewer]]],
]);
