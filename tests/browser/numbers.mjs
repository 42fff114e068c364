// How long people wait for the dashboard, and what it costs meanwhile: printed, never asserted.
import { closePage, given, have, openPage, story } from "./stage.mjs";
import { thousands } from "./thousands.mjs";

const USER = { name: "ada", password: "correct horse battery" };
const N_TIMES = 7;
/** How often the heap of a live page is looked at. */
const HEAP_EVERY_S = 60;
/** The hub does what it does anyhow for so long, before somebody looks. */
const REST_MS = 30_000;
/** It is looked so often, and for so long, whether the hub rests; it rests below this. */
const N_LOOKS_MAX = 60;
const LOOK_MS = 4_000;
const RESTING_PERCENT = 2;

const tell = (what, value) => process.stdout.write(`measured ${what}: ${value}\n`);
const sleep = (ms) => new Promise((go) => setTimeout(go, ms));

/** The median, the least and the most of some numbers. */
function spread(numbers, unit) {
  const sorted = numbers.toSorted((a, b) => a - b);
  return `${Math.round(sorted[sorted.length >> 1])} ${unit} (${Math.round(sorted[0])} to ${Math.round(sorted.at(-1))}, ${sorted.length} times)`;
}

async function admin(browser) {
  const page = await openPage(browser, given.url, { path: `/${given.first_admin.replace(/.*\/#/, "#")}` });
  await page.locator("[data-row]").first().waitFor();
  const said = await page.context().request.post(`${given.url}/api/v1/users/${USER.name}/password`, { data: { password: USER.password }, headers: { origin: given.url } });
  if (!said.ok()) throw new Error(`setting the password answers ${said.status()}`);
  await page.context().close();
}

/** CPU of the hub over some time, percent of a core. */
async function cpuOver(ms) {
  const cpu = async () => Number(await have("cpu"));
  const [before, at] = [await cpu(), performance.now()];
  await sleep(ms);
  return (((await cpu()) - before) / ((performance.now() - at) / 1000)) * 100;
}

/** Waits until the hub has merged what it was filled with, as it merges hours while they pass: until it rests. */
async function merged() {
  for (let turn = 0; turn < N_LOOKS_MAX && (await cpuOver(LOOK_MS)) > RESTING_PERCENT; turn += 1);
}

/** From the beginning of the navigation, with nothing in the browser's cache, until rows have their numbers. */
async function firstLoad(browser) {
  const times = [];
  let bytes = 0;
  for (let turn = 0; turn < N_TIMES; turn += 1) {
    const page = await openPage(browser, given.url, { user: USER, path: "/settings" });
    await page.close();
    const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, reducedMotion: "reduce" });
    await context.request.post(`${given.url}/api/v1/session`, { data: USER });
    const fresh = await context.newPage();
    fresh.on("response", async (answer) => {
      if (turn === 0) bytes += Number((await answer.allHeaders())["content-length"] ?? 0);
    });
    await fresh.addInitScript(() => {
      const look = () => {
        if (document.querySelectorAll("[data-row] .c-memory .meter .track").length >= 15) window.drawnAt = performance.now();
        else requestAnimationFrame(look);
      };
      requestAnimationFrame(look);
    });
    await fresh.goto(`${given.url}/?q=role:web&sort=name`);
    await fresh.waitForFunction(() => window.drawnAt > 0);
    times.push(await fresh.evaluate(() => window.drawnAt));
    await context.close();
  }
  tell(`first load to a drawn fleet of ${given.n_hosts} hosts`, spread(times, "ms"));
  tell("bytes of it on the wire, as told by their headers", bytes);
}

/** From the click on 24h until the charts in sight are painted with it: nothing is under way, and a frame is over. */
async function day(browser) {
  const context = { viewport: { width: 1440, height: 1120 } };
  const page = await openPage(browser, given.url, { user: USER, path: `/hosts/${given.long}?last=1h`, context });
  await page.locator('[data-panel="cpu"] .legend li').first().waitFor();
  await page.evaluate(() => {
    const ask = window.fetch;
    window.asked = { open: 0, n: 0 };
    window.fetch = async (...of) => {
      if (!/query_(range|groups)/.test(String(of[0]))) return ask(...of);
      window.asked.open += 1;
      window.asked.n += 1;
      try {
        // To its last byte, for what is drawn is drawn of all of it.
        const answer = await ask(...of);
        const whole = await answer.arrayBuffer();
        return new Response(whole, { status: answer.status, headers: answer.headers });
      } finally {
        window.asked.open -= 1;
      }
    };
  });
  const times = [];
  let n = 0;
  const before = Number(await have("cpu"));
  for (let turn = 0; turn < N_TIMES; turn += 1) {
    await sleep(1_500);
    const [took, asked] = await page.evaluate(async () => {
      const button = (name) => [...document.querySelectorAll(".span-bar button")].find((one) => one.textContent === name);
      const tick = () => new Promise((go) => requestAnimationFrame(go));
      const frame = () => tick().then(tick);
      window.asked.n = 0;
      const begun = performance.now();
      button("24h").click();
      while (window.asked.n === 0 || window.asked.open > 0) await tick();
      await frame();
      const took = performance.now() - begun;
      const asked = window.asked.n;
      button("1h").click();
      await frame();
      while (window.asked.open > 0) await frame();
      return [took, asked];
    });
    times.push(took);
    n = asked;
  }
  tell("CPU of the hub for it, and for an hour after it", `${Math.round(((Number(await have("cpu")) - before) / N_TIMES) * 1000)} ms`);
  const panels = await page.evaluate(() => [...document.querySelectorAll(".panel.chart")].filter((one) => one.getBoundingClientRect().top < window.innerHeight).length);
  tell(`24 h at 1 s, from the click until ${panels} panels are painted, ${n} questions`, spread(times, "ms"));
  await closePage(page);
}

/** What the hub uses with nobody looking, and with one live page of a host; and whether the page's heap stays flat. */
async function live(browser) {
  tell("CPU of the hub with nobody looking", `${(await cpuOver(REST_MS)).toFixed(2)} % of a core`);
  const page = await openPage(browser, given.url, { user: USER, path: `/hosts/${given.host}` });
  await page.getByText("● Live").waitFor();
  await sleep(5_000);
  const cdp = await page.context().newCDPSession(page);
  const heap = async () => {
    await cdp.send("HeapProfiler.collectGarbage");
    const { metrics } = await cdp.send("Performance.getMetrics");
    return metrics.find((one) => one.name === "JSHeapUsedSize").value / 1048576;
  };
  await cdp.send("Performance.enable");
  await sleep(20_000);
  const curve = [await heap()];
  const used = [];
  for (let left = given.live_seconds; left > 0; left -= HEAP_EVERY_S) {
    used.push(await cpuOver(Math.min(left, HEAP_EVERY_S) * 1_000));
    curve.push(await heap());
  }
  tell(`CPU of the hub with a live page of a host, over ${given.live_seconds} s`, `${(used.reduce((a, b) => a + b, 0) / used.length).toFixed(2)} % of a core`);
  tell(`heap of that page, MiB, every ${HEAP_EVERY_S} s`, curve.map((one) => one.toFixed(1)).join(" "));
  await closePage(page);
}

/** Only one of them, if FIELDPOST_BENCH_ONLY names it. */
const only = process.env.FIELDPOST_BENCH_ONLY;
const all = Object.entries({ "first load": firstLoad, "a day": day, live, thousands }).filter(([name]) => !only || name === only);
await story([[[["first admin", admin]]], [[["merged", merged]]], ...all.map((one) => [[one]])]);
