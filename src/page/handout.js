// A link to hand out, with its QR code, what else there is to copy, and the time it still lives.

import { copyable } from "./copy.js";
import { fromTemplate } from "./element.js";
import { countDown } from "./links.js";
import { qrImage } from "./qr.js";

/** `copies` are pairs of a label and a text; `qr` is a text and what its code is called. */
export function handout({ title, text, copies, qr, link }) {
  const made = fromTemplate("handout");
  const find = (selector) => made.querySelector(selector);
  find("h2").textContent = title;
  find(".hint").textContent = text;
  find(".copies").append(...copies.map(([label, copied]) => copyable(label, copied)));
  find(".qr").prepend(qrImage(qr.text, qr.label));
  find("figcaption").textContent = qr.label;
  countDown(find(".countdown"), link);
  return made;
}
