// Lines of a log as elements, with the colours that terminals show.

import { element, plain } from "./element.js";

/** What a terminal is told besides colours: moving about, titles, and the like. It has no meaning here. */
const OTHER_COMMANDS = /\x1b(?:\[[0-?]*[ -/]*[@-ln-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_])/g;
const COLOURS = /\x1b\[([\d;]*)m/;

/** Makes lines; what was switched on in one is still on in the next. */
export class Painter {
  constructor() {
    this.style = { ink: undefined, bold: false, dim: false };
  }

  line(text) {
    // What a program wrote over by going back to the start of its line is not seen in a terminal either.
    const seen = text.replace(/\r+$/, "").split("\r").at(-1);
    const made = element("div", { className: "line" });
    seen.replace(OTHER_COMMANDS, "").split(COLOURS).forEach((part, at) => {
      if (at % 2 === 1) this.obey(part);
      else if (part) made.append(this.painted(part));
    });
    return made;
  }

  painted(part) {
    const { ink, bold, dim } = this.style;
    const names = [ink !== undefined && `ink-${ink}`, bold && "bold", dim && "dim"].filter(Boolean);
    const text = part.split("\t").map(plain).join("\t");
    return names.length > 0 ? element("span", { className: names.join(" "), textContent: text }) : text;
  }

  obey(numbers) {
    const codes = numbers.split(";").map(Number);
    while (codes.length > 0) {
      const code = codes.shift();
      if (code === 0) Object.assign(this.style, new Painter().style);
      else if (code === 1) this.style.bold = true;
      else if (code === 2) this.style.dim = true;
      else if (code === 22) Object.assign(this.style, { bold: false, dim: false });
      else if ((code >= 30 && code < 38) || (code >= 90 && code < 98)) this.style.ink = code % 10;
      else if (code === 39) this.style.ink = undefined;
      else if (code === 38 || code === 48) codes.splice(0, codes[0] === 2 ? 4 : 2); // One of more colours than these.
    }
  }
}
