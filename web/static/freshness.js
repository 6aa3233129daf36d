// How fresh the figures are: the pill and the age in the masthead, and the notice under it.

import { byId, setText } from "./elements.js";
import { clock, duration } from "./format.js";
import { t } from "./texts.js";

const PROMPT_MS = 10000;
const STALE_MS = 60000;

/** What is known of the server: its last status, when that came, and why there is none since. */
const known = { status: null, at: 0, trouble: null, isRefused: false };

export function serverAnswered(status) {
  Object.assign(known, { status, at: performance.now(), trouble: null, isRefused: false });
  draw();
}

/** @param isRefused it does answer, but only who signs in */
export function serverFailed(trouble, isRefused = false) {
  Object.assign(known, { trouble, isRefused });
  draw();
}

function state() {
  const { status, trouble } = known;
  if (trouble) return ["unreachable", t("stateUnreachable")];
  if (!status) return ["loading", t("stateLoading")];
  if (!status.snapshot) return ["waiting", t("stateWaiting")];
  if (status.data.snapshot.failure) return ["stale", t("stateStale")];
  const { caught_up: caughtUp } = status.snapshot;
  if (caughtUp === null) return ["unknown", t("stateUnknown")];
  // While sales come in, some are always on their way: only what waits for longer is a backlog.
  const { messages, waiting_ms: waitingMs } = status.data.lag;
  if (caughtUp || waitingMs <= PROMPT_MS) return ["current", t("stateCurrent")];
  const behind = { messages: t("messages", { count: messages }) };
  return ageMs() > STALE_MS ? ["stale", t("stateStaleBehind", behind)] : ["behind", t("stateBehind", behind)];
}

function notice(name) {
  const { status, trouble, isRefused } = known;
  if (name === "unreachable") {
    const shown = status?.snapshot ? ` ${t("noticeShown", { id: status.snapshot.id, time: clock(new Date(status.snapshot.created_at)) })}` : "";
    return (isRefused ? t("mustSignIn") : t("noticeUnreachable", { trouble })) + shown;
  }
  if (name === "waiting") return status.data.kafka.trouble ?? t("noticeWaiting");
  if (name === "stale" && status.data.snapshot.failure) return t("noticeFailure", { message: status.data.snapshot.failure.message });
  if (name === "stale") return t("noticeStale");
  if (name === "unknown") return t("noticeUnknown");
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
  setText(byId("freshness-age"), snapshot ? t("snapshotAge", { id: snapshot.id, age: duration(ageMs()) }) : "");
  const text = notice(name);
  setText(byId("notice-text"), text);
  byId("notice").hidden = !text;
  const signIn = byId("notice-sign-in");
  signIn.hidden = !known.isRefused;
  if (known.isRefused) signIn.href = `/login?next=${encodeURIComponent(location.pathname + location.search)}`;
}

setInterval(draw, 500);
