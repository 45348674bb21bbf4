// Sends to an upload link, and goes on when the line was down, for as long as the link lives.

import { LineDown, Refusal, refusalOf } from "./api.js";
import { noteServerTime, serverNow } from "./clock.js";
import { pack } from "./pack.js";

/** Packed pieces are gathered up to this size. */
const GATHER_BYTES = 4 * 1024 * 1024;
/** A line on which nothing moves for so long is down; an answer may take longer, since the server syncs its disk. */
const [SILENCE_MS, ANSWER_MS] = [30_000, 120_000];
const LONGEST_PAUSE_SECONDS = 15;

class Cancelled extends Error {
  constructor() {
    super("You cancelled it. Nothing of it was kept.");
  }
}

/** Sends `content` (of choose.js) to an upload link, and gives the report of what arrived. */
export async function upload(link, content, watch) {
  const body = content.file ?? (await packWhole(content, watch));
  return persist(link, watch, async (onMoved) => {
    const onSent = (sent) => {
      onMoved();
      watch.onProgress(sent / Math.max(1, body.size), sent);
    };
    const { text } = await send("PUT", link.address, {}, body, { signal: watch.signal, onSent });
    return JSON.parse(text).upload;
  });
}

/** Packs a folder before it is sent. The browser keeps the pieces, not this tab. */
async function packWhole(content, watch) {
  watch.onState("Packing …");
  const pieces = [];
  for await (const piece of gathered(pack(content.entries, (read) => watch.onProgress(read / content.size, read)))) {
    if (watch.signal.aborted) throw new Cancelled();
    pieces.push(new Blob([piece]));
  }
  watch.onState("");
  return new Blob(pieces);
}

/** The bytes of a stream in larger pieces. */
async function* gathered(stream) {
  const reader = stream.getReader();
  let [held, length] = [new Uint8Array(GATHER_BYTES), 0];
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      for (let at = 0; at < value.length; ) {
        const part = value.subarray(at, at + held.length - length);
        held.set(part, length);
        at += part.length;
        length += part.length;
        if (length === held.length) {
          yield held;
          [held, length] = [new Uint8Array(GATHER_BYTES), 0];
        }
      }
    }
    if (length > 0) yield held.subarray(0, length);
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** Tries again, with longer and longer pauses, while the line is down or the server asks to come back. */
async function persist(link, watch, attempt) {
  for (let failures = 0; ; failures += 1) {
    try {
      return await attempt(() => (failures = 0));
    } catch (error) {
      if (!isForNow(error)) throw error;
      if (serverNow() > link.expiresAt) throw new Error("The link expired before the line came back.");
      await pause(error, failures, watch);
    }
  }
}

function isForNow(error) {
  return error instanceof LineDown || (error instanceof Refusal && [408, 423, 429, 502, 503, 504].includes(error.status));
}

async function pause(error, failures, watch) {
  const seconds = error.retryAfterSeconds || Math.min(2 ** failures, LONGEST_PAUSE_SECONDS);
  const why = error instanceof LineDown ? "The line is down" : error.message;
  watch.onState(`${why}. It goes on by itself; next try in ${seconds} s.`);
  await new Promise((resolve) => {
    const timer = setTimeout(resolve, seconds * 1000);
    const now = () => {
      clearTimeout(timer);
      resolve();
    };
    window.addEventListener("online", now, { once: true });
    watch.signal.addEventListener("abort", now, { once: true });
  });
  if (watch.signal.aborted) throw new Cancelled();
  watch.onState("");
}

/** One request whose body is watched as it leaves, which `fetch` cannot do. */
function send(method, address, headers, body, { signal, onSent }) {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(new Cancelled());
    const request = new XMLHttpRequest();
    let timer;
    const expect = (ms) => {
      clearTimeout(timer);
      timer = setTimeout(() => request.abort(), ms);
    };
    const abort = () => request.abort();
    request.upload.onprogress = ({ loaded }) => {
      expect(SILENCE_MS);
      onSent(loaded);
    };
    request.upload.onload = () => expect(ANSWER_MS);
    request.onloadend = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", abort);
      if (signal.aborted) return reject(new Cancelled());
      if (request.status === 0) return reject(new LineDown());
      const header = (name) => request.getResponseHeader(name);
      noteServerTime(header("Date"));
      if (request.status >= 400) return reject(refusalOf(request.status, request.responseText, header));
      return resolve({ text: request.responseText, header });
    };
    request.open(method, address);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    signal.addEventListener("abort", abort);
    expect(SILENCE_MS);
    return request.send(body);
  });
}
