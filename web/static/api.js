// Questions to the server. Figures that are shown together are from one snapshot.

const TIMEOUT_MS = 15000;
const ATTEMPTS = 4;
const BUSY_MS = 400;

/** An answer of the server that is an error, with its message. */
export class ServerError extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export async function ask(path) {
  const response = await fetch(path, { headers: { Accept: "application/json" }, signal: AbortSignal.timeout(TIMEOUT_MS) });
  const text = await response.text();
  let body;
  try {
    body = parse(text);
  } catch {
    throw new ServerError(response.status, "no_json", response.statusText || String(response.status));
  }
  if (!response.ok) throw new ServerError(response.status, body.error?.code, body.error?.message ?? response.statusText);
  return body;
}

/** JSON, in which a number that JavaScript cannot hold exactly stays text. */
function parse(text) {
  return JSON.parse(text, (_, value, context) =>
    typeof value === "number" && Math.abs(value) > Number.MAX_SAFE_INTEGER && context?.source ? context.source : value,
  );
}

/**
 * The answer to a question of `questions.js`: `{data, view, note, snapshot}`, or `{refusal}` where there is none for it;
 * what fails for all (no connection, no snapshot, a server that fails, no session) is thrown.
 */
async function answer(question, attempt = 1) {
  if (question.unanswerable) return { refusal: question.unanswerable };
  try {
    return { ...(await ask(question.path)), note: question.note };
  } catch (error) {
    // Single sales are read for a few at a time: others come again in a moment.
    if (error.code === "busy" && attempt < ATTEMPTS) {
      await new Promise((resolve) => setTimeout(resolve, BUSY_MS * attempt));
      return answer(question, attempt + 1);
    }
    if (!(error instanceof ServerError) || CONCERNS_ALL.includes(error.code) || error.status === 401) throw error;
    if (error.code === "no_view" && question.otherwise) return answer(question.otherwise);
    return { refusal: { reason: REASONS[error.code] ?? REASONS[error.status] ?? "failed", message: error.message } };
  }
}

const CONCERNS_ALL = ["no_snapshot", "lake_unreadable", "internal_server_error", "no_json"];
const REASONS = {
  no_view: "noView", bad_parameter: "tooMuch", too_slow: "tooMuch", too_much: "tooMuch", token_not_set: "refused", 403: "refused", 404: "notOffered",
};

/**
 * The answers to several questions, all from one snapshot: asked again where a new snapshot came in between.
 * Where one comes each time, the answers from the last attempt: their snapshots then differ.
 */
export async function askTogether(questions) {
  const names = Object.keys(questions);
  for (let attempt = 1; ; attempt += 1) {
    const answers = await Promise.all(names.map((name) => answer(questions[name])));
    const ids = answers.filter((each) => each.snapshot).map((each) => each.snapshot.id);
    if (new Set(ids).size <= 1 || attempt === ATTEMPTS) return Object.fromEntries(names.map((name, place) => [name, answers[place]]));
  }
}
