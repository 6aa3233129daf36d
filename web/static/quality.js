// What became of the messages: how many count, why the others do not, and the latest of those.

import { changed } from "./address.js";
import { byId, element, follow, setAttribute, setLink, setText } from "./elements.js";
import { instant, number, percentOf } from "./format.js";
import { trace } from "./questions.js";
import { showRefusal } from "./refusals.js";
import { hasText, t } from "./texts.js";

const motifName = (motif) => (hasText(motif) ? t(motif) : motif);

/** @param href makes the address behind the messages of some motif */
export function show({ quality, rejects }, href) {
  showOutcomes(quality, href);
  showRejects(rejects);
}

function showOutcomes(answer, href) {
  const section = byId("quality");
  showRefusal(section, answer.refusal ?? null);
  if (answer.refusal) return;
  const byMotif = Object.fromEntries(answer.data.map((row) => [row.motif, row]));
  const lost = byMotif.perdu?.messages ?? 0;
  const rows = answer.data.filter((row) => row.motif !== "perdu");
  const received = rows.reduce((sum, row) => sum + row.messages, 0);
  const valid = byMotif.valide?.messages ?? 0;
  const duplicates = byMotif.doublon?.messages ?? 0;
  const rejected = received - valid - duplicates;
  setText(byId("quality-share"), percentOf(valid, received));
  setText(byId("quality-sentence"), received ? t("qualitySentence", { messages: t("messages", { count: received }) }) : t("noMessages"));
  const rejections = rows.map((row) => row.motif).filter((motif) => !["valide", "doublon"].includes(motif));
  for (const [name, count, motif] of [["valid", valid, "valide"], ["duplicates", duplicates, "doublon"], ["rejected", rejected, rejections]]) {
    setLink(byId(`quality-${name}`), count ? href(answer, { motif }) : null, number(count));
    const piece = byId("quality-split").querySelector(`.${name}`);
    piece.style.flexGrow = count;
    piece.hidden = count === 0;
  }
  const motifs = rows.filter((row) => rejections.includes(row.motif) && row.messages > 0).sort((one, other) => other.messages - one.messages);
  follow(byId("quality-motifs"), motifs, (row) => row.motif, makeTerm, (pair, row) => {
    setText(pair.children[0], motifName(row.motif));
    setLink(pair.children[1].firstChild, href(answer, { motif: row.motif }), number(row.messages));
  });
  byId("quality-no-motifs").hidden = motifs.length > 0;
  const rounded = rows.reduce((sum, row) => sum + row.montants_arrondis, 0);
  setText(byId("quality-notes"), [rounded ? t("rounded", { count: rounded }) : "", lost ? t("lost", { count: lost }) : ""].join(" ").trim());
}

function makeTerm() {
  const pair = element("div");
  const value = element("dd");
  value.append(element("a", "figure"));
  pair.append(element("dt"), value);
  return pair;
}

function showRejects(answer) {
  const section = byId("rejects");
  showRefusal(section, answer.refusal ?? null);
  if (answer.refusal) return;
  section.querySelector(".empty").hidden = answer.data.length > 0;
  section.querySelector("table").hidden = answer.data.length === 0;
  follow(byId("rejects-table"), answer.data, (row) => row.position, makeReject, (line, row) => {
    const [motif, arrived, begins] = line.children;
    setLink(motif.firstChild, changed({ trace: trace("message", { position: row.position, as_of: answer.snapshot.id }) }), motifName(row.motif));
    setText(arrived, instant(new Date(row.kafka_timestamp)));
    setText(begins.firstChild, row.payload_debut ?? t("noPayload"));
    setAttribute(begins, "title", row.payload_debut);
  });
}

function makeReject() {
  const row = element("tr");
  const motif = element("th", "text");
  motif.scope = "row";
  motif.append(element("a", "figure"));
  const begins = element("td", "text excerpt optional");
  begins.append(element("code"));
  row.append(motif, element("td", "text"), begins);
  return row;
}
