// Links of sources: what they are made of, when they end, and the addresses of this page that carry one.

import { BASE } from "./api.js";
import { serverNow } from "./clock.js";
import { durationText } from "./text.js";

const FORM = /^(https?:\/\/[^?#]+\/)(v1\/sources\/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\?token=[0-9a-f]{32})$/;

/** Reads a link. `address` is where this page finds the same, if the server is known by another name as well. */
export function readLink(text) {
  const [, base, path, id] = FORM.exec(text.trim()) ?? [];
  if (!path) throw new Error("This is no link of a waystation server: it has to be whole, with its token at the end.");
  // The id begins with the instant of expiry, in 48 bits of milliseconds.
  const expiresAt = parseInt(id.replaceAll("-", "").slice(0, 12), 16);
  return { text: text.trim(), address: new URL(path, BASE).href, base, id, expiresAt };
}

/** Reads a link that somebody was given. It is sent to no other server than its own. */
export function readForeignLink(text) {
  const link = readLink(text);
  if (link.base !== BASE) throw new Error(`This link is of another server. Open it at ${new URL(link.base).host}.`);
  return link;
}

/** Where the holder of an upload link drops a file. What is behind `#` is in no request. */
export function dropPage(uploadLink) {
  return `${uploadLink.base}drop#${uploadLink.text}`;
}

export function takePage(downloadLink) {
  return `${downloadLink.base}get#${downloadLink.text}`;
}

/** The link behind `#` in the address of this page. */
export function linkInAddress() {
  return decodeURIComponent(location.hash.slice(1));
}

/** Takes a link that was used, or is of no use, out of the address and the history of this tab. */
export function forgetAddress() {
  history.replaceState(null, "", location.pathname);
}

/** Shows each second how long a link still lives. Gives what stops that. */
export function countDown(place, link, onEnd = () => {}) {
  const tick = () => {
    const seconds = (link.expiresAt - serverNow()) / 1000;
    place.classList.toggle("soon", seconds > 0 && seconds < 60);
    place.classList.toggle("over", seconds <= 0);
    place.textContent = seconds > 0 ? `The link expires in ${durationText(seconds)}.` : "The link has expired.";
    if (seconds <= 0) {
      clearInterval(timer);
      onEnd();
    }
  };
  const timer = setInterval(tick, 1000);
  tick();
  return () => clearInterval(timer);
}
