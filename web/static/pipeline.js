// How the pipeline is: what waits, how fast it goes, the processors, the last audit.

import { byId, element, follow, setText } from "./elements.js";
import { decimal, duration, instant, number } from "./format.js";
import { isLive, POLL_INTERVAL_MS } from "./live.js";
import { t } from "./texts.js";

const THROUGHPUT_MS = 60000;

/** Snapshots that were served while the page was open: how many messages each covers, the oldest first. */
let passed = [];

/** @param status the answer of `/api/status` */
export function show(status) {
  const { lag, processors, audit, kafka, started_at: startedAt } = status.data;
  const waiting = lag.messages === null ? t("unknown") : `${t("messages", { count: lag.messages })}${lag.waiting_ms ? `, ${duration(lag.waiting_ms)}` : ""}`;
  const terms = [
    ["lag", t("lag"), waiting, lag.messages === null ? "warn" : lag.waiting_ms > 10000 ? "warn" : "good"],
    ["throughput", t("throughput"), throughput(status.snapshot), null],
    ...Object.entries(processors ?? {}).map(([name, group]) => [
      `processor-${name}`, t("processor", { name }), t(group.lag ? "membersLag" : "members", { state: group.state, count: group.members.length, lag: t("messages", { count: group.lag ?? 0 }) }),
      group.state === "stable" ? "good" : "warn",
    ]),
    ["audit", t("audit"), describeAudit(audit), audit ? (audit.holds ? "good" : "bad") : null],
    ["kafka", t("kafka"), kafka.answers ? t("kafkaAnswers") : (kafka.trouble ?? t("unknown")), kafka.answers ? "good" : "warn"],
    ["updates", t("updates"), isLive() ? t("live") : t("polling", { time: duration(POLL_INTERVAL_MS) }), isLive() ? "good" : "warn"],
    ["server", t("serverSince"), instant(new Date(startedAt)), null],
  ];
  follow(byId("pipeline-terms"), terms, ([key]) => key, () => {
    const pair = element("div");
    pair.append(element("dt"), element("dd"));
    return pair;
  }, (pair, [, name, value, level]) => {
    setText(pair.children[0], name);
    setText(pair.children[1], value);
    if (level) pair.children[1].dataset.level = level;
    else delete pair.children[1].dataset.level;
  });
}

function describeAudit(audit) {
  if (!audit) return t("auditNone");
  const about = { id: audit.snapshot?.id ?? audit.snapshot ?? "–", when: instant(new Date(audit.audited_at)) };
  return audit.holds ? t("auditHolds", about) : t("auditDiffers", { ...about, count: audit.differences_total });
}

/** Messages a second between the oldest and the newest snapshot that this page saw in the last minute. */
function throughput(snapshot) {
  if (!snapshot) return t("unknown");
  const covered = snapshot.positions.reduce((sum, position) => sum + position.offset, 0);
  const at = new Date(snapshot.created_at).getTime();
  if (passed.at(-1)?.at > at || passed.at(-1)?.covered > covered) passed = [];
  if (passed.at(-1)?.at !== at) passed.push({ at, covered });
  passed = passed.filter((each) => at - each.at <= THROUGHPUT_MS);
  const [first] = passed;
  if (first.at === at) return "–";
  const rate = ((covered - first.covered) * 1000) / (at - first.at);
  return t("throughputOver", { rate: t("perSecond", { count: rate < 10 ? decimal(rate) : number(Math.round(rate)) }), time: duration(at - first.at) });
}
