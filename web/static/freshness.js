// How fresh the figures are: the pill and the age in the masthead, and the notice under it.

import { byId, setText } from "./elements.js";
import { clock, count, duration, number } from "./format.js";

const PROMPT_MS = 10000;
const STALE_MS = 60000;

/** What is known of the server: its last status, when that came, and why there is none since. */
const known = { status: null, at: 0, trouble: null };

export function serverAnswered(status) {
  Object.assign(known, { status, at: performance.now(), trouble: null });
  draw();
}

export function serverFailed(trouble) {
  known.trouble = trouble;
  draw();
}

function state() {
  const { status, trouble } = known;
  if (trouble) return ["unreachable", "Server not reachable"];
  if (!status) return ["loading", "Loading…"];
  if (!status.snapshot) return ["waiting", "Waiting for a first snapshot"];
  if (status.data.snapshot.failure) return ["stale", "Stale"];
  const { caught_up: caughtUp } = status.snapshot;
  if (caughtUp === null) return ["unknown", "Kafka not reachable"];
  // While sales come in, some are always on their way: only what waits for longer is a backlog.
  const { messages, waiting_ms: waitingMs } = status.data.lag;
  if (caughtUp || waitingMs <= PROMPT_MS) return ["current", "Up to date"];
  const behind = `${count(messages, "message", "messages")} behind`;
  return ageMs() > STALE_MS ? ["stale", `Stale, ${behind}`] : ["behind", `Catching up, ${behind}`];
}

function notice(name) {
  const { status, trouble } = known;
  if (name === "unreachable") {
    const since = status?.snapshot ? ` What you see is snapshot ${status.snapshot.id}, from ${clock(new Date(status.snapshot.created_at))} UTC.` : "";
    return `The server does not answer (${trouble}).${since} Trying again every few seconds.`;
  }
  if (name === "waiting") return status.data.kafka.trouble ?? "The processors have not written a first snapshot yet. Figures appear here as soon as they have.";
  if (name === "stale" && status.data.snapshot.failure) return `The newest snapshot cannot be loaded, an older one is shown. ${status.data.snapshot.failure.message}`;
  if (name === "stale") return "No new snapshot for a while, though messages are waiting. Are the processors running?";
  if (name === "unknown") return "Kafka does not answer, so it is unknown whether newer sales are waiting. The figures are right as of their snapshot.";
  return "";
}

function ageMs() {
  return known.status.snapshot.age_ms + (performance.now() - known.at);
}

function draw() {
  const [name, label] = state();
  byId("freshness").dataset.state = name;
  document.body.dataset.state = name;
  setText(byId("freshness-state"), label);
  const snapshot = known.status?.snapshot;
  setText(byId("freshness-age"), snapshot ? `Snapshot ${number(snapshot.id)}, ${duration(ageMs())} old` : "");
  const text = notice(name);
  setText(byId("notice"), text);
  byId("notice").hidden = !text;
}

setInterval(draw, 500);
