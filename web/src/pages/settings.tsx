// The hub about itself: version, what is stored and how well, and how this page looks.
import type { ComponentChildren } from "preact";
import { get } from "../api/client";
import type { About } from "../api/types";
import { bytes, count, exact, longSpan, span } from "../format";
import { useLoaded } from "../parts/loaded";
import { Problem, Waiting } from "../parts/messages";
import { isUtc, theme, type Theme } from "../settings";

export function SettingsPage() {
  const { data, problem } = useLoaded("about", 5_000, (abort) => get<About>("/api/v1/about", abort));
  return (
    <main class="narrow">
      <div class="head">
        <h1>Settings</h1>
      </div>
      <section class="panel" aria-label="This page">
        <header>
          <h2>This page</h2>
        </header>
        <div class="fields form-like">
          <div class="pair">
            <label class="field">
              Colours
              <select value={theme.value} onChange={(event) => (theme.value = event.currentTarget.value as Theme)}>
                <option value="auto">as the system has them</option>
                <option value="light">light</option>
                <option value="dark">dark</option>
              </select>
            </label>
            <label class="field">
              Times
              <select value={isUtc.value ? "utc" : "local"} onChange={(event) => (isUtc.value = event.currentTarget.value === "utc")}>
                <option value="local">in my zone</option>
                <option value="utc">in UTC</option>
              </select>
            </label>
          </div>
        </div>
      </section>
      <Problem text={problem.value} />
      {!data.value && !problem.value && <Waiting what="Asking the hub about itself" />}
      {data.value && <Hub about={data.value} />}
    </main>
  );
}

function Row({ name, title, children }: { name: string; title?: string; children: ComponentChildren }) {
  return (
    <>
      <dt>{name}</dt>
      <dd title={title}>{children}</dd>
    </>
  );
}

function Hub({ about }: { about: About }) {
  const { store } = about;
  const perSample = store.n_samples_stored > 0 ? exact(store.n_samples_stored) : "none";
  return (
    <>
      <section class="panel" aria-label="Hub">
        <header>
          <h2>Hub</h2>
        </header>
        <dl class="facts">
          <Row name="Version">{about.version}</Row>
          <Row name="Identity">
            <code>{about.hub_id}</code>
          </Row>
          <Row name="Known as">{about.urls.join(", ")}</Row>
          <Row name="Agents linked now">{about.n_links}</Row>
          <Row name="An agent is late">when nothing came for {longSpan(about.late_after_ms)}</Row>
          <Row name="An agent leaves the list">when nothing was heard of it for {longSpan(about.forget_after_ms)}; its data stay</Row>
        </dl>
      </section>
      <section class="panel" aria-label="Store">
        <header>
          <h2>Store</h2>
        </header>
        <dl class="facts">
          <Row name="Size" title={exact(store.bytes)}>
            {bytes(store.bytes)} in {store.n_files} files
          </Row>
          <Row name="Samples stored since the start" title={perSample}>
            {count(store.n_samples_stored)} in {count(store.n_items_stored)} items
          </Row>
          <Row name="Sent again and dropped" title={exact(store.n_duplicates)}>
            {count(store.n_duplicates)} items
          </Row>
          <Row name="Refused">
            <span class={store.n_refused > 0 ? "late" : ""}>{exact(store.n_refused)}</span>
          </Row>
          <Row name="Said to be lost by agents">
            <span class={store.n_lost > 0 ? "late" : ""}>{exact(store.n_lost)} items</span>
          </Row>
          <Row name="Waits to be written">{bytes(store.queue_bytes)}</Row>
          <Row name="Merging is behind by">{span(store.merge_lag_ms)}</Row>
          <Row name="Files put aside as damaged">
            <span class={store.n_quarantined > 0 ? "bad" : ""}>{exact(store.n_quarantined)}</span>
          </Row>
          {store.last_error && (
            <Row name="Last trouble">
              <span class="bad">{store.last_error}</span>
            </Row>
          )}
        </dl>
      </section>
    </>
  );
}
