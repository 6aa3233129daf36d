// When to look again: at each event of the server, and where none come, every few seconds.

const POLL_MS = 3000;
const HEARTBEAT_MS = 15000;
const LISTEN_AGAIN_MS = 10000;

let source = null;
let timer = 0;
let look = () => {};

/** Whether the server tells of news by itself. */
export const isLive = () => source?.readyState === EventSource.OPEN;
export const POLL_INTERVAL_MS = POLL_MS;

/** Call back at once, and whenever there may be something new; never while nobody sees the page. */
export function start(callback) {
  look = callback;
  listen();
  // A page that is shown again catches up.
  document.addEventListener("visibilitychange", () => document.hidden || soon(0));
  addEventListener("online", () => soon(0));
  soon(0);
}

/** Look again after a while, and then on and on. */
function soon(ms) {
  clearTimeout(timer);
  timer = setTimeout(async () => {
    if (!document.hidden) await look();
    soon(isLive() ? HEARTBEAT_MS : POLL_MS);
  }, ms);
}

function listen() {
  source = new EventSource("/api/events");
  for (const kind of ["snapshot", "state"]) source.addEventListener(kind, () => soon(0));
  source.addEventListener("error", () => {
    // It comes back by itself after a lost connection, but not after an answer that is no stream.
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, LISTEN_AGAIN_MS);
    soon(0);
  });
}
