// What became of the messages.

import { byId, element, follow, setText } from "./elements.js";
import { count, number, percent } from "./format.js";

const MOTIFS = {
  message_vide: "Empty message",
  json_invalide: "Not valid JSON",
  vente_id_absent: "No sale number",
  client_id_absent: "No client",
  montant_absent: "No amount",
  quantite_absente: "No quantity",
  timestamp_absent: "No time",
  type_invalide: "A value of the wrong type",
  montant_negatif: "Negative amount",
  quantite_non_positive: "Quantity not above zero",
  timestamp_hors_bornes: "Time out of bounds",
};

export function show(quality) {
  const { received, valid, duplicates, rejected_total: rejected } = quality;
  setText(byId("headline-clean"), percent(quality.clean_pct));
  setText(byId("quality-share"), percent(quality.clean_pct));
  setText(byId("quality-sentence"), received ? `${number(received)} → ${number(valid)} messages` : "No message was received yet.");
  setText(byId("quality-valid"), number(valid));
  setText(byId("quality-duplicates"), number(duplicates));
  setText(byId("quality-rejected"), number(rejected));
  [valid, duplicates, rejected].forEach((part, index) => {
    const piece = byId("quality-split").children[index];
    piece.style.flexGrow = part;
    piece.hidden = part === 0;
  });

  const motifs = Object.entries(quality.rejected).filter(([, messages]) => messages > 0).sort((one, other) => other[1] - one[1]);
  followTerms(byId("quality-motifs"), motifs.map(([motif, messages]) => [motif, MOTIFS[motif] ?? motif, number(messages)]));
  byId("quality-no-motifs").hidden = motifs.length > 0;
  const notes = [];
  if (quality.rounded) notes.push(`${count(quality.rounded, "amount was", "amounts were")} rounded to the cent.`);
  if (quality.lost) notes.push(`${count(quality.lost, "message was", "messages were")} deleted by Kafka before being read.`);
  setText(byId("quality-notes"), notes.join(" "));
  followTerms(byId("quality-fields"), Object.entries(quality.nulls).map(([field, { count: nulls, complete_pct: complete }]) => [
    field, field, `${percent(complete)}${nulls ? `, ${number(nulls)} missing` : ""}`,
  ]));
}

function followTerms(list, terms) {
  follow(list, terms, ([key]) => key, () => {
    const pair = element("div");
    pair.append(element("dt"), element("dd"));
    return pair;
  }, (pair, [, name, value]) => {
    setText(pair.children[0], name);
    setText(pair.children[1], value);
  });
}
