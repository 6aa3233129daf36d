// Questions to the server. Figures that are shown together are from one snapshot.

const TIMEOUT_MS = 10000;
const ATTEMPTS = 4;

/** An answer of the server that is an error, with its message. */
export class ServerError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export async function ask(path) {
  const response = await fetch(path, { headers: { Accept: "application/json" }, signal: AbortSignal.timeout(TIMEOUT_MS) });
  const body = await response.json();
  if (!response.ok) throw new ServerError(response.status, body.error?.message ?? response.statusText);
  return body;
}

/**
 * The answers to several paths, all from one snapshot: asked again where a new snapshot came in between.
 * Where one comes each time, the answers from the last attempt: its `snapshot` is then the oldest of them.
 */
export async function askTogether(paths) {
  const names = Object.keys(paths);
  for (let attempt = 1; ; attempt += 1) {
    const answers = await Promise.all(names.map((name) => ask(paths[name])));
    const ids = answers.map((answer) => answer.snapshot.id);
    if (Math.min(...ids) === Math.max(...ids) || attempt === ATTEMPTS) {
      const oldest = answers.reduce((one, other) => (other.snapshot.id < one.snapshot.id ? other : one));
      return {
        data: Object.fromEntries(names.map((name, index) => [name, answers[index].data])),
        snapshot: oldest.snapshot,
      };
    }
  }
}
