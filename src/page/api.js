// Calls to this server. The API token lives here, in memory, and goes nowhere but into a header.

import { noteServerTime } from "./clock.js";

/** What all addresses of this server begin with, also behind a proxy that puts a path before them. */
export const BASE = new URL("./", location.href).href;

let apiToken = "";

/** The line to the server is down, or the server is. */
export class LineDown extends Error {
  constructor() {
    super("The server cannot be reached. Check the line, then try again.");
  }
}

/** What is refused, in the server's own words. `header` gives a header of the answer. */
export function refusalOf(status, text, header) {
  const retryAfterSeconds = Number(header("Retry-After")) || 0;
  return Object.assign(new Error(sentenceIn(text) ?? `The server answered ${status}.`), { status, retryAfterSeconds });
}

function sentenceIn(text) {
  let body;
  try {
    body = JSON.parse(text);
  } catch {
    return undefined; // Something between here and the server speaks for itself.
  }
  if (body.errors) {
    return Object.entries(body.errors).map(([name, said]) => `${name} ${said.join(", ")}`).join("; ");
  }
  return body.error;
}

export async function signIn(token) {
  apiToken = token;
  try {
    return (await call("GET", "v1/users/self")).user;
  } catch (error) {
    apiToken = "";
    throw error;
  }
}

export function isSignedIn() {
  return apiToken !== "";
}

/** Calls the API, and gives the JSON of the answer. */
export async function call(method, path, body) {
  return (await ask(method, path, body)).json();
}

export async function ask(method, path, body) {
  const headers = { Accept: "application/json", Authorization: `Bearer ${apiToken}` };
  if (body) headers["Content-Type"] = "application/json";
  return fetchHere(new URL(path, BASE), { method, headers, body: body && JSON.stringify(body) });
}

/** Fetches from this server. Throws what is refused. */
export async function fetchHere(address, options = {}) {
  const response = await fetch(address, { credentials: "omit", cache: "no-store", ...options }).catch(() => {
    throw new LineDown();
  });
  noteServerTime(response.headers.get("Date"));
  if (!response.ok) {
    throw refusalOf(response.status, await response.text(), (name) => response.headers.get(name));
  }
  return response;
}

/** Follows the deployments of an application. */
export function follow(app, onFrame, onClose) {
  const address = new URL(`v1/apps/${encodeURIComponent(app)}/deployments/stream`, BASE);
  address.protocol = address.protocol.replace("http", "ws");
  const socket = new WebSocket(address);
  socket.onopen = () => socket.send(JSON.stringify({ type: "auth", data: { token: apiToken } }));
  socket.onmessage = ({ data }) => onFrame(JSON.parse(data));
  socket.onclose = ({ code, reason }) => onClose(code, reason);
  return socket;
}
