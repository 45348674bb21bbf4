// How fast something moves, and how long it will still take.

/** Only the last seconds count, so that a change is seen soon. */
const WINDOW_MS = 6000;

export class Pace {
  constructor() {
    this.points = [];
  }

  /** Notes that so many bytes are done now. */
  note(bytes, now = performance.now()) {
    if (this.points.length > 0 && bytes < this.points.at(-1).bytes) this.points = []; // It began anew.
    this.points.push({ bytes, now });
    while (this.points.length > 2 && now - this.points[0].now > WINDOW_MS) this.points.shift();
  }

  /** Nothing while too little is known. */
  bytesPerSecond() {
    const [first, last] = [this.points[0], this.points.at(-1)];
    if (!first || last.now - first.now < 300) return undefined;
    return ((last.bytes - first.bytes) * 1000) / (last.now - first.now);
  }
}
