// A fleet of thousands: scrolled, filtered, seen at a glance; few of them are drawn.
import { check, closePage, given, have, openPage } from "./stage.mjs";

export async function thousands(browser) {
  const page = await openPage(browser, await have("thousands"), { path: "" });
  const drawn = () => page.locator("[data-row]").count();
  await page.locator('[data-row="0"]').waitFor();
  const loading = performance.now();
  await page.reload();
  await page.locator('[data-row="0"]').waitFor();
  process.stdout.write(`measured ${given.n_large} hosts loaded and drawn in ${Math.round(performance.now() - loading)} ms\n`);
  await page.getByText(`${given.n_large} hosts`, { exact: true }).waitFor();
  check((await drawn()) < 100, `${await drawn()} rows are drawn`);
  const begun = performance.now();
  for (let at = 0; at <= 10; at += 1) {
    await page.evaluate((share) => window.scrollTo(0, document.body.scrollHeight * share), at / 10);
    const inSight = () => [...document.querySelectorAll("[data-row]")].some((row) => row.getBoundingClientRect().bottom > 300 && row.getBoundingClientRect().top < 600);
    await page.waitForFunction(inSight);
  }
  await page.locator(`[data-row="${given.n_large - 1}"]`).waitFor();
  check((await drawn()) < 100, `${await drawn()} rows are drawn`);
  await page.evaluate(() => window.scrollTo(0, 0));
  await page.locator("#search").fill("host-01234");
  await page.getByText(`1 of ${given.n_large} hosts`).waitFor();
  await page.locator("#search").fill("role:db");
  await page.getByText(`${given.n_large / 4} of ${given.n_large} hosts`).waitFor();
  process.stdout.write(`measured ${given.n_large} hosts scrolled and filtered in ${Math.round(performance.now() - begun)} ms\n`);
  await page.locator("#search").fill("");
  await page.getByRole("button", { name: "Grid" }).click();
  await page.locator(".cell").first().waitFor();
  check((await page.locator(".cell").count()) < 3_000, "the grid draws what nobody sees");
  await closePage(page);
}
