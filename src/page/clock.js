// The server's clock, which decides when a link expires.

let aheadMs = 0;

/** Takes the header `Date` of an answer. It has whole seconds, so less than one of difference means nothing. */
export function noteServerTime(date) {
  const difference = Date.parse(date) - Date.now();
  if (Number.isNaN(difference)) return;
  aheadMs = difference > -1000 && difference <= 0 ? 0 : difference;
}

/** Milliseconds since the epoch, by the server's clock. */
export function serverNow() {
  return Date.now() + aheadMs;
}
