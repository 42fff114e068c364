// Signs in, and shows the list of agents anew every few seconds. Whatever an agent says of itself
// is put in as text, never as markup.
"use strict";

const byId = (id) => document.getElementById(id);
const hash = location.hash.slice(1);
const linkSecret = hash.startsWith("sign-in=") ? hash.slice("sign-in=".length) : null;
const firstSecret = hash && !linkSecret ? hash : null;
if (hash) history.replaceState(null, "", "/");

async function ask(method, path, body) {
  const headers = body ? { "content-type": "application/json" } : {};
  const answer = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
  const json = answer.headers.get("content-type")?.includes("json") ? await answer.json() : null;
  if (!answer.ok) throw Object.assign(new Error(json?.detail ?? answer.statusText), { status: answer.status });
  return json;
}

const span = (ms) => {
  const seconds = ms / 1000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
};

function linkText(link) {
  return link.since_ms && link.state !== "up" ? `${link.state} since ${new Date(link.since_ms).toLocaleString()}` : link.state;
}

function coverageText(coverage) {
  if (!coverage.of_ms) return "-";
  const share = `${(Math.floor(coverage.share * 1000) / 10).toString()} %`;
  return coverage.of_ms < 86000000 ? `${share} of ${span(coverage.of_ms)}` : share;
}

function row(agent) {
  const line = document.createElement("tr");
  line.className = agent.link.state === "up" ? "" : "away";
  const status = agent.comment ? `${agent.status} (${agent.comment})` : agent.status;
  const cells = [agent.name, status, linkText(agent.link), agent.mode.mode, agent.lag_ms == null ? "-" : span(agent.lag_ms),
    coverageText(agent.coverage), agent.roles.join(" "), agent.version];
  for (const text of cells) line.appendChild(document.createElement("td")).textContent = text;
  return line;
}

async function show() {
  try {
    const agents = await ask("GET", "/api/v1/agents");
    byId("rows").replaceChildren(...agents.map(row));
    byId("nobody").hidden = agents.length > 0;
    byId("problem").textContent = "";
  } catch (error) {
    if (error.status === 401) return begin();
    byId("problem").textContent = `The hub does not answer: ${error.message}. What is shown is old.`;
  }
  setTimeout(show, 2000);
}

async function begin(secret) {
  let who = null;
  if (secret) {
    try { await ask("POST", "/api/v1/session/link", { secret }); } catch (error) { byId("sign-in-problem").textContent = error.message; }
  }
  try { who = await ask("GET", "/api/v1/session"); } catch (error) { if (error.status !== 401) throw error; }
  byId("sign-in").hidden = who !== null;
  byId("agents").hidden = who === null;
  byId("who").textContent = who ? `${who.name}, ${who.role}` : "";
  if (who) return show();
  if (firstSecret) byId("sign-in-title").textContent = "Make the first admin: choose a name and a password";
}

byId("sign-in").addEventListener("submit", async (event) => {
  event.preventDefault();
  const who = { name: byId("name").value, password: byId("password").value };
  try {
    if (firstSecret) await ask("POST", "/api/v1/first-admin", { ...who, secret: firstSecret });
    else await ask("POST", "/api/v1/session", who);
    await begin();
  } catch (error) {
    byId("sign-in-problem").textContent = error.message;
  }
});

begin(linkSecret);
