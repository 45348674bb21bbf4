// Sends to an upload link in parts, and goes on after a break, for as long as the link lives: an attempt is begun, parts
// are appended at their offset, and an empty one is the last (draft-ietf-httpbis-resumable-upload).

import { BASE, LineDown, fetchHere, refusalOf } from "./api.js";
import { noteServerTime, serverNow } from "./clock.js";
import { pack } from "./pack.js";

/** Less than any proxy refuses. Of a folder, which is packed while it is sent, one part is held. */
const PART_BYTES = 16 * 1024 * 1024;
/** A line on which nothing moves for so long is down; an answer may take longer, since the server syncs its disk. */
const [SILENCE_MS, ANSWER_MS] = [30_000, 120_000];
const LONGEST_PAUSE_SECONDS = 15;
const BACK_LATER = [408, 423, 429, 502, 503, 504];

class Cancelled extends Error {
  constructor() {
    super("You cancelled it. Nothing of it can be downloaded.");
  }
}

/** Sends `content` (of choose.js) to an upload link, and gives the report of what arrived. */
export async function upload(link, content, watch) {
  const { file, size } = content;
  const progress = (bytes) => watch.onProgress(bytes / Math.max(1, size), bytes);
  const parts = file ? partsOf(file) : gathered(pack(content.entries, progress));
  const asked = await persist(link, watch, () => send("OPTIONS", link.address, {}, null, watch));
  if (!asked.header("Tus-Version")) return sendWhole(link, parts, watch);
  const length = file ? { "Upload-Length": size } : {};
  const begun = await persist(link, watch, () => send("PUT", link.address, { "Upload-Complete": "?0", ...length }, null, watch));
  const attempt = new URL(begun.header("Location").replace(link.base, BASE)).href;
  try {
    let at = 0;
    for await (const part of parts) {
      await sendPart({ attempt, part, at }, link, { ...watch, onSent: file && progress });
      at += part.size;
    }
    const { text } = await persist(link, watch, () => append(attempt, at, "?1", null, watch));
    return JSON.parse(text).upload;
  } catch (error) {
    if (error instanceof Cancelled) fetchHere(attempt, { method: "DELETE" }).catch(() => {});
    throw error;
  }
}

/** Not every store takes parts. What is packed is then held by the browser, not by this tab. */
async function sendWhole(link, parts, watch) {
  const pieces = [];
  for await (const part of parts) pieces.push(part);
  const body = new Blob(pieces);
  const onSent = (sent) => watch.onProgress(sent / body.size, sent);
  const { text } = await persist(link, watch, () => send("PUT", link.address, {}, body, { ...watch, onSent }));
  return JSON.parse(text).upload;
}

/** Appends a part; after a break, what is missing of it. */
function sendPart({ attempt, part, at }, link, watch) {
  let from = at;
  return persist(link, watch, async (isAgain) => {
    if (isAgain) from = Number((await send("HEAD", attempt, {}, null, watch)).header("Upload-Offset"));
    if (from < at + part.size) {
      const onSent = (sent) => watch.onSent?.(from + sent);
      await append(attempt, from, "?0", part.slice(from - at), { ...watch, onSent });
    }
  });
}

function append(attempt, offset, isLast, body, watch) {
  const headers = { "Content-Type": "application/partial-upload", "Upload-Offset": offset, "Upload-Complete": isLast };
  return send("PATCH", attempt, headers, body, watch);
}

function* partsOf(file) {
  for (let at = 0; at < file.size; at += PART_BYTES) yield file.slice(at, at + PART_BYTES);
}

/** The bytes of a stream in parts. */
async function* gathered(stream) {
  const reader = stream.getReader();
  let [pieces, length] = [[], 0];
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      pieces.push(value);
      length += value.length;
      if (length >= PART_BYTES) {
        yield new Blob(pieces);
        [pieces, length] = [[], 0];
      }
    }
    yield new Blob(pieces);
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** Tries again, with longer and longer pauses. */
async function persist(link, watch, attempt) {
  for (let failures = 0; ; failures += 1) {
    try {
      return await attempt(failures > 0);
    } catch (error) {
      if (!(error instanceof LineDown || BACK_LATER.includes(error.status))) throw error;
      if (serverNow() > link.expiresAt) throw new Error("The link expired before the line came back.");
      await pause(error, failures, watch);
    }
  }
}

async function pause(error, failures, { onState, signal }) {
  const seconds = error.retryAfterSeconds || Math.min(2 ** failures, LONGEST_PAUSE_SECONDS);
  const why = error instanceof LineDown ? "The line is down" : error.message;
  onState(`${why}. It goes on by itself; next try in ${seconds} s.`);
  await new Promise((resolve) => {
    setTimeout(resolve, seconds * 1000);
    window.addEventListener("online", resolve, { once: true });
    signal.addEventListener("abort", resolve, { once: true });
  });
  onState("");
}

/** A request whose body is watched as it leaves, which `fetch` cannot do. */
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
      onSent?.(loaded);
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
    expect(body ? SILENCE_MS : ANSWER_MS);
    return request.send(body);
  });
}
