// The shell: who is let in, the bar on top, and the view that the address names.
import { useComputed, useSignalEffect } from "@preact/signals";
import { useLayoutEffect, useRef } from "preact/hooks";
import { lostSince } from "./api/client";
import { exactInstant } from "./format";
import { FleetPage } from "./fleet/page";
import { HostPage } from "./host/page";
import { JobPage } from "./jobs/detail";
import { JobsPage } from "./jobs/page";
import { QueuesPage } from "./jobs/queues";
import { RunPage } from "./jobs/run";
import { RunsPage } from "./jobs/runs";
import { AgentsPage } from "./pages/agents";
import { AuditPage } from "./pages/audit";
import { ExplorePage } from "./pages/explore";
import { HelpDialog } from "./pages/help";
import { LogsPage } from "./pages/logs";
import { SettingsPage } from "./pages/settings";
import { SignIn } from "./pages/sign-in";
import { TokensPage } from "./pages/tokens";
import { UsersPage } from "./pages/users";
import { HostSearch } from "./parts/host-search";
import { Empty } from "./parts/messages";
import { UserMenu } from "./parts/user-menu";
import { isHelpOpen } from "./keys";
import { hostOfPath, jobOfPath, path, runOfPath } from "./router";
import { isAdmin, isKnown, who } from "./session";

export function App() {
  if (!isKnown.value) return null;
  if (!who.value) return <SignIn />;
  return (
    <>
      <TopBar />
      <Lost />
      <View />
      {isHelpOpen.value && <HelpDialog />}
    </>
  );
}

const VIEWS = [
  { to: "/", name: "Fleet", admin: false },
  { to: "/jobs", name: "Jobs", admin: false },
  { to: "/runs", name: "Runs", admin: false },
  { to: "/queues", name: "Queues", admin: false },
  { to: "/explore", name: "Explore", admin: false },
  { to: "/logs", name: "Logs", admin: false },
  { to: "/agents", name: "Agents", admin: false },
  { to: "/users", name: "Users", admin: true },
  { to: "/tokens", name: "Tokens", admin: true },
  { to: "/audit", name: "Audit", admin: true },
  { to: "/settings", name: "Settings", admin: false },
];

function TopBar() {
  const here = hostOfPath.value ? "/" : jobOfPath.value ? "/jobs" : runOfPath.value ? "/runs" : path.value;
  const nav = useRef<HTMLElement>(null);
  useLayoutEffect(() => {
    const link = nav.current?.querySelector<HTMLElement>("[aria-current]");
    // Only the bar is moved, never the page.
    if (nav.current && link) nav.current.scrollLeft = link.offsetLeft - nav.current.offsetLeft - (nav.current.clientWidth - link.offsetWidth) / 2;
  }, [here]);
  return (
    <header class="bar">
      <a class="brand" href="/" aria-label="Fieldpost, to the fleet">
        <img src="/icon.svg" alt="" width="20" height="20" />
        <span>Fieldpost</span>
      </a>
      <nav aria-label="Views" ref={nav}>
        {VIEWS.filter((view) => !view.admin || isAdmin.value).map((view) => (
          <a key={view.to} href={view.to} aria-current={here === view.to ? "page" : undefined}>
            {view.name}
          </a>
        ))}
      </nav>
      <div class="room" />
      <HostSearch />
      <UserMenu />
    </header>
  );
}

/** The hub does not answer: what is shown is old, and everybody sees it. */
function Lost() {
  const since = lostSince.value;
  if (since === null) return null;
  return (
    <div class="banner" role="alert">
      The hub does not answer since {exactInstant(since).slice(11, 19)}. What is shown is old; this page tries again by itself.
    </div>
  );
}

function View() {
  const title = useComputed(() => hostOfPath.value ?? jobOfPath.value ?? (runOfPath.value ? `Run ${runOfPath.value.slice(-8)}` : null) ?? VIEWS.find((view) => view.to === path.value)?.name ?? "Not found");
  useSignalEffect(() => {
    document.title = `${title.value} · Fieldpost`;
  });
  const host = hostOfPath.value;
  if (host) return <HostPage key={host} name={host} />;
  if (jobOfPath.value) return <JobPage key={jobOfPath.value} name={jobOfPath.value} />;
  if (runOfPath.value) return <RunPage key={runOfPath.value} id={runOfPath.value} />;
  switch (path.value) {
    case "/":
      return <FleetPage />;
    case "/jobs":
      return <JobsPage />;
    case "/runs":
      return <RunsPage />;
    case "/queues":
      return <QueuesPage />;
    case "/explore":
      return <ExplorePage />;
    case "/logs":
      return <LogsPage />;
    case "/agents":
      return <AgentsPage />;
    case "/users":
      return <UsersPage />;
    case "/tokens":
      return <TokensPage />;
    case "/audit":
      return <AuditPage />;
    case "/settings":
      return <SettingsPage />;
    default:
      return (
        <main>
          <Empty title="There is no such view" isAll>
            <a href="/">To the fleet</a>
          </Empty>
        </main>
      );
  }
}
