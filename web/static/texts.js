// What the page says, in English and French: the one place of its words. `t("sales", {count: 3})` fills `{count}` in.

import { plain, languageOf } from "./language.js";

const TEXTS = {
  // The page
  title: ["Sales, live", "Ventes en direct"],
  skip: ["Skip to the figures", "Aller aux chiffres"],
  noteUtc: ["Hours, days and months are UTC. Money is in euros.", "Heures, jours et mois sont en UTC. Les montants sont en euros."],
  api: ["The API behind it", "L’API qui est derrière"],
  signOut: ["Sign out", "Se déconnecter"],
  signIn: ["Sign in", "Se connecter"],
  mustSignIn: ["Your session is over.", "Votre session est terminée."],
  language: ["Language", "Langue"],
  print: ["Print", "Imprimer"],
  asTable: ["Show as a table", "Afficher le tableau"],
  loading: ["Loading…", "Chargement…"],

  // Filters
  filters: ["Filters", "Filtres"],
  period: ["Period", "Période"],
  today: ["Latest day", "Dernier jour"],
  hours24: ["Last 24 hours", "Dernières 24 heures"],
  days7: ["Last 7 days", "7 derniers jours"],
  days30: ["Last 30 days", "30 derniers jours"],
  months12: ["Last 12 months", "12 derniers mois"],
  oneMonth: ["One month", "Un mois"],
  dates: ["From … to …", "Du … au …"],
  month: ["Month", "Mois"],
  monthBefore: ["The month before", "Mois précédent"],
  monthAfter: ["The month after", "Mois suivant"],
  from: ["From", "Du"],
  to: ["To", "Au"],
  pays: ["Country", "Pays"],
  categorie: ["Category", "Catégorie"],
  produit_nom: ["Product", "Produit"],
  segment: ["Segment", "Segment"],
  all_pays: ["All countries", "Tous les pays"],
  all_categorie: ["All categories", "Toutes les catégories"],
  all_produit_nom: ["All products", "Tous les produits"],
  all_segment: ["All segments", "Tous les segments"],
  clear: ["Clear filters", "Effacer les filtres"],
  emptyName: ["(empty)", "(vide)"],
  onlyThis: ["Show only {name}", "Ne montrer que {name}"],
  showing: ["{period}, compared with {before}", "{period}, par rapport à {before}"],
  fromTo: ["{from} to {to}", "{from} – {to}"],
  until: ["{day} until {time}", "{day} jusqu’à {time}"],

  // Freshness
  stateLoading: ["Loading…", "Chargement…"],
  stateUnreachable: ["Reconnecting", "Reconnexion"],
  stateWaiting: ["Waiting for a first snapshot", "En attente d’un premier instantané"],
  stateStale: ["Stale", "Figé"],
  stateStaleBehind: ["Stale, {messages} behind", "Figé, {messages} de retard"],
  stateUnknown: ["Kafka not reachable", "Kafka injoignable"],
  stateCurrent: ["Up to date", "À jour"],
  stateBehind: ["Catching up, {messages} behind", "Rattrapage, {messages} de retard"],
  snapshotAge: ["Snapshot {id}, {age} old", "Instantané {id}, âge {age}"],
  noticeUnreachable: ["The server does not answer ({trouble}). Trying again every few seconds.", "Le serveur ne répond pas ({trouble}). Nouvel essai toutes les quelques secondes."],
  noticeShown: ["What you see is snapshot {id}, from {time} UTC.", "Ce que vous voyez est l’instantané {id}, de {time} UTC."],
  noticeWaiting: ["The processors have not written a first snapshot yet. Figures appear here as soon as they have.", "Les processeurs n’ont pas encore écrit de premier instantané. Les chiffres apparaîtront ici aussitôt."],
  noticeFailure: ["The newest snapshot cannot be loaded, an older one is shown. {message}", "Le dernier instantané ne peut pas être chargé, un plus ancien est affiché. {message}"],
  noticeStale: ["No new snapshot for a while, though messages are waiting. Are the processors running?", "Pas de nouvel instantané depuis un moment, alors que des messages attendent. Les processeurs tournent-ils ?"],
  noticeUnknown: ["Kafka does not answer, so it is unknown whether newer sales are waiting. The figures are right as of their snapshot.", "Kafka ne répond pas : on ne sait pas si des ventes plus récentes attendent. Les chiffres sont justes à l’instant de leur instantané."],
  noConnection: ["no connection", "pas de connexion"],

  // Units
  sales: ["{count} {count|sale|sales}", "{count} {count|vente|ventes}"],
  messages: ["{count} {count|message|messages}", "{count} {count|message|messages}"],
  customers: ["{count} {count|customer|customers}", "{count} {count|client|clients}"],
  perSale: ["{count} a sale", "{count} par vente"],
  perSecond: ["{count}/s", "{count}/s"],

  // What a tile says instead of figures
  noSales: ["No sales in this period.", "Aucune vente dans cette période."],
  noSalesFiltered: ["No sales for these filters in this period.", "Aucune vente pour ces filtres dans cette période."],
  noView: ["No view keeps these figures by {what} together.", "Aucune vue ne tient ces chiffres par {what} à la fois."],
  noViewOne: ["No view keeps these figures by {what}.", "Aucune vue ne tient ces chiffres par {what}."],
  noViewSimple: ["No view keeps these figures for this period.", "Aucune vue ne tient ces chiffres pour cette période."],
  byHour: ["hour", "heure"],
  byMonthOnly: ["Customers are kept by month.", "Les clients sont tenus par mois."],
  showMonth: ["Show {month}", "Afficher {month}"],
  noCustomerFilter: ["Customers are kept by month, not by {what}.", "Les clients sont tenus par mois, pas par {what}."],
  noMessageFilter: ["What became of a message is kept by hour of arrival, not by {what}.", "Le sort des messages est tenu par heure d’arrivée, pas par {what}."],
  tooMuch: ["This takes more than one answer may: choose a shorter period.", "Cela demande trop pour une réponse : choisissez une période plus courte."],
  refused: ["Single customers and messages are shown on this machine only, or with an access token.", "Les clients et les messages ne sont montrés que sur cette machine, ou avec un jeton d’accès."],
  failed: ["These figures cannot be had at the moment: {message}", "Ces chiffres sont indisponibles pour le moment : {message}"],
  notOffered: ["This server does not offer these figures.", "Ce serveur ne propose pas ces chiffres."],
  retry: ["Try again", "Réessayer"],

  // Headline
  headline: ["Key figures", "Chiffres clés"],
  revenue: ["Revenue", "Chiffre d’affaires"],
  salesTitle: ["Sales", "Ventes"],
  basket: ["Average basket", "Panier moyen"],
  uniqueCustomers: ["Unique customers", "Clients uniques"],
  against: ["{change} against {before}", "{change} par rapport à {before}"],
  nothingBefore: ["nothing in the period before", "rien dans la période précédente"],
  wholePeriod: ["the whole period before", "toute la période précédente"],
  beforeUnknown: ["no comparison: {why}", "pas de comparaison : {why}"],

  // Course
  courseTitle: ["Revenue over time", "Chiffre d’affaires dans le temps"],
  byHourTitle: ["by hour", "par heure"],
  byDayTitle: ["by day", "par jour"],
  byMonthTitle: ["by month", "par mois"],
  thisPeriod: ["This period", "Cette période"],
  periodBefore: ["Period before", "Période précédente"],
  courseHelp: ["Left and right arrow keys go through the points.", "Les flèches gauche et droite parcourent les points."],
  soFar: ["so far", "jusqu’ici"],
  when: ["When (UTC)", "Quand (UTC)"],
  before: ["Before", "Avant"],
  onlyByDay: ["By day: no view keeps these filters by hour.", "Par jour : aucune vue ne tient ces filtres par heure."],
  anomalies: ["Unusual hours: {list}.", "Heures inhabituelles : {list}."],
  anomalyHigh: ["{when}: {sales}, {expected} expected", "{when} : {sales}, {expected} attendues"],

  // Shares
  productsTitle: ["Top ten products", "Dix meilleurs produits"],
  byRevenue: ["by revenue", "par chiffre d’affaires"],
  countriesTitle: ["Countries", "Pays"],
  categoriesTitle: ["Categories", "Catégories"],
  segmentsTitle: ["Segments", "Segments"],
  share: ["{share} of revenue", "{share} du chiffre d’affaires"],
  restOf: ["and {count} more", "et {count} de plus"],

  // Months
  monthsTitle: ["Months, year over year", "Mois, d’une année à l’autre"],
  monthsAside: ["choose one to see it; not limited to the period", "choisissez-en un ; non limité à la période"],
  yearBefore: ["Year before", "Année précédente"],
  change: ["Change", "Écart"],
  noMonths: ["No sales yet.", "Aucune vente pour l’instant."],

  // Week
  weekTitle: ["The week, hour by hour", "La semaine, heure par heure"],
  weekAside: ["mean sales in such an hour (UTC)", "ventes moyennes d’une telle heure (UTC)"],
  weekHelp: ["Arrow keys go through the cells.", "Les flèches parcourent les cases."],
  weekCell: ["{day}, {hour}: {mean} sales an hour on average, {sales} in all, {amount}", "{day}, {hour} : {mean} ventes par heure en moyenne, {sales} au total, {amount}"],
  day: ["Day", "Jour"],
  hour: ["Hour", "Heure"],

  // Customers
  customersTitle: ["Best customers", "Meilleurs clients"],
  customersAside: ["by revenue in this period", "par chiffre d’affaires de la période"],
  customer: ["Customer {id}", "Client {id}"],
  customerColumn: ["Customer", "Client"],
  firstPurchase: ["First purchase", "Premier achat"],
  lastPurchase: ["Last purchase", "Dernier achat"],
  returningTitle: ["New and returning customers", "Nouveaux clients et fidèles"],
  newOnes: ["New", "Nouveaux"],
  returningOnes: ["Returning", "Fidèles"],

  // Quality
  qualityTitle: ["Data quality", "Qualité des données"],
  qualityAside: ["messages that arrived in this period", "messages arrivés dans la période"],
  qualitySentence: ["of {messages} that arrived", "de {messages} reçus"],
  noMessages: ["No message arrived in this period.", "Aucun message n’est arrivé dans cette période."],
  valid: ["Valid", "Valides"],
  duplicates: ["Duplicates", "Doublons"],
  rejected: ["Rejected", "Rejetés"],
  whyRejected: ["Why messages were rejected", "Pourquoi des messages ont été rejetés"],
  noneRejected: ["None was.", "Aucun ne l’a été."],
  rounded: ["{count} {count|amount was|amounts were} rounded to the cent.", "{count} {count|montant a été arrondi|montants ont été arrondis} au centime."],
  lost: ["{count} {count|message was|messages were} deleted by Kafka before being read.", "{count} {count|message a été supprimé|messages ont été supprimés} par Kafka avant d’être lus."],
  rejectsTitle: ["The latest messages that do not count", "Les derniers messages qui ne comptent pas"],
  rejectsAside: ["whatever the period", "quelle que soit la période"],
  noRejects: ["Every message counts.", "Tous les messages comptent."],
  motif: ["Reason", "Motif"],
  arrived: ["Arrived (UTC)", "Arrivé (UTC)"],
  begins: ["How it begins", "Début"],
  noPayload: ["(no content)", "(sans contenu)"],

  valide: ["Valid", "Valide"],
  doublon: ["Duplicate", "Doublon"],
  perdu: ["Deleted by Kafka", "Supprimé par Kafka"],
  en_attente: ["Waiting", "En attente"],
  message_vide: ["Empty message", "Message vide"],
  json_invalide: ["Not valid JSON", "JSON invalide"],
  vente_id_absent: ["No sale number", "Numéro de vente absent"],
  client_id_absent: ["No client", "Client absent"],
  montant_absent: ["No amount", "Montant absent"],
  quantite_absente: ["No quantity", "Quantité absente"],
  timestamp_absent: ["No time", "Date absente"],
  type_invalide: ["A value of the wrong type", "Valeur du mauvais type"],
  montant_negatif: ["Negative amount", "Montant négatif"],
  quantite_non_positive: ["Quantity not above zero", "Quantité non positive"],
  timestamp_hors_bornes: ["Time out of bounds", "Date hors bornes"],

  // Pipeline
  pipelineTitle: ["Pipeline", "Chaîne de traitement"],
  lag: ["Waiting in Kafka", "En attente dans Kafka"],
  throughput: ["Throughput", "Débit"],
  throughputOver: ["{rate} over the last {time}", "{rate} sur {time}"],
  processor: ["Processor {name}", "Processeur {name}"],
  members: ["{state}, {count} {count|process|processes}", "{state}, {count} processus"],
  membersLag: ["{state}, {count} {count|process|processes}, {lag} behind", "{state}, {count} processus, {lag} de retard"],
  audit: ["Last audit", "Dernier audit"],
  auditHolds: ["holds (snapshot {id}, {when})", "conforme (instantané {id}, {when})"],
  auditDiffers: ["{count} differences (snapshot {id}, {when})", "{count} écarts (instantané {id}, {when})"],
  auditNone: ["none was made yet", "aucun n’a encore été fait"],
  serverSince: ["Server up since", "Serveur démarré"],
  kafka: ["Kafka", "Kafka"],
  kafkaAnswers: ["answers", "répond"],
  unknown: ["unknown", "inconnu"],
  none: ["none", "aucun"],
  updates: ["Updates", "Mises à jour"],
  live: ["live", "en direct"],
  polling: ["every {time}", "toutes les {time}"],

  // Lineage
  trace: ["Where a figure comes from", "D’où vient un chiffre"],
  close: ["Close", "Fermer"],
  back: ["Back", "Retour"],
  asOf: ["as of snapshot {id}", "à l’instantané {id}"],
  nowInstead: ["Show it as it is now", "Afficher l’état actuel"],
  partsOf: ["This figure is the sum of {count} {count|part|parts} of the view {view}. Choose one to see its sales.", "Ce chiffre est la somme de {count} {count|partie|parties} de la vue {view}. Choisissez-en une pour voir ses ventes."],
  partsFirst: ["The {count} largest are shown.", "Les {count} plus grandes sont affichées."],
  noParts: ["There are no sales behind it.", "Il n’y a aucune vente derrière."],
  figure: ["Figure", "Chiffre"],
  addsUp: ["The sales below add up to exactly this figure.", "Les ventes ci-dessous donnent exactement ce chiffre."],
  addsNotUp: ["The sales below do not add up to this figure: run an audit.", "Les ventes ci-dessous ne donnent pas ce chiffre : lancez un audit."],
  behindTitle: ["Counted: {count}", "Comptés : {count}"],
  leftOutTitle: ["Left out: {count}", "Laissés de côté : {count}"],
  leftOutNone: ["Nothing was left out.", "Rien n’a été laissé de côté."],
  rawMissing: ["{count} raw {count|message is|messages are} missing from Bronze.", "{count} {count|message brut manque|messages bruts manquent} dans Bronze."],
  more: ["Show more", "Afficher plus"],
  sale: ["Sale", "Vente"],
  amount: ["Amount", "Montant"],
  quantity: ["Quantity", "Quantité"],
  position: ["Position", "Position"],
  message: ["Message", "Message"],
  becameOf: ["What became of it", "Ce qu’il est devenu"],
  kafkaTime: ["Kafka took it", "Pris par Kafka"],
  ingested: ["Archived in Bronze", "Archivé dans Bronze"],
  key: ["Key", "Clé"],
  headers: ["Headers", "En-têtes"],
  countedAt: ["Counted instead", "Compté à sa place"],
  payload: ["Exactly as received", "Exactement tel que reçu"],
  base64: ["as base64: it is not UTF-8", "en base64 : ce n’est pas de l’UTF-8"],
  agrees: ["Read again, the payload gives what the figures counted.", "Relu, le contenu donne ce que les chiffres ont compté."],
  agreesNot: ["Read again, the payload does not give what the figures counted: run an audit.", "Relu, le contenu ne donne pas ce que les chiffres ont compté : lancez un audit."],
  rawLacks: ["Bronze lacks this message.", "Ce message manque dans Bronze."],
  partOf: ["Figures that it is part of", "Chiffres dont il fait partie"],
  salesOf: ["The sales of customer {id}", "Les ventes du client {id}"],
  storyOf: ["The story of sale {id}", "L’histoire de la vente {id}"],
  nothingKnown: ["Nothing is known of it in this snapshot.", "On n’en sait rien dans cet instantané."],
  expired: ["This snapshot is no longer kept.", "Cet instantané n’est plus conservé."],
};

const index = languageOf() === "fr" ? 1 : 0;

/** A text in the language of the page. `{count|one|many}` chooses by a number, `{name}` is filled in. */
export function t(key, values = {}) {
  const texts = TEXTS[key];
  if (!texts) throw new Error(`There is no text ${key}.`);
  return texts[index]
    .replace(/\{(\w+)\|([^|}]*)\|([^}]*)\}/g, (_, name, one, many) => (plain.select(Number(values[name])) === "one" ? one : many))
    .replace(/\{(\w+)\}/g, (_, name) => (typeof values[name] === "number" ? plain.number(values[name]) : values[name]));
}

export const hasText = (key) => Object.hasOwn(TEXTS, key);

/** Put the texts into what the page came with: `data-text` is the text of an element, `data-label` its name. */
export function translate(root = document) {
  for (const element of root.querySelectorAll("[data-text]")) element.textContent = t(element.dataset.text);
  for (const element of root.querySelectorAll("[data-label]")) element.setAttribute("aria-label", t(element.dataset.label));
}
