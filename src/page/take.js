// Take: what is behind a download link, at /get or of a link that is pasted.

import { archiveCard, lookAt } from "./archive.js";
import { say } from "./element.js";
import { forgetAddress, linkInAddress, readForeignLink } from "./links.js";

export function openTake(section) {
  section.querySelector("form").onsubmit = (event) => {
    event.preventDefault();
    look(section, () => section.querySelector("input").value);
  };
}

/** At /get, whose address has the link. */
export function openTakePage(section) {
  openTake(section);
  if (!location.hash) return;
  section.querySelector("form").hidden = true;
  look(section, linkInAddress, forgetAddress);
}

/** `onUse` is called when the link was used, or is of no use. */
async function look(section, textOfLink, onUse = () => {}) {
  const [slot, problem] = [section.querySelector(".slot"), section.querySelector(":scope > .problem")];
  say(problem);
  slot.replaceChildren();
  try {
    const link = readForeignLink(textOfLink());
    slot.append(archiveCard(link, await lookAt(link), undefined, onUse));
  } catch (error) {
    say(problem, error.message);
    if ([403, 410].includes(error.status)) onUse();
  }
}
