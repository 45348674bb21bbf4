// Ask: an address at which somebody without an account drops a file, and a look at whether it has come.

import { serverNow } from "./clock.js";
import { archiveCard, lookAt } from "./archive.js";
import { say } from "./element.js";
import { makeSource } from "./give.js";
import { handout } from "./handout.js";
import { dropPage } from "./links.js";

/** How often it is looked. */
const LOOK_EVERY_MS = 3000;

export function openAsk(section) {
  const [slot, problem] = [section.querySelector(".slot"), section.querySelector(":scope > .problem")];
  const button = section.querySelector("#make-address");
  button.onclick = async () => {
    say(problem);
    button.disabled = true;
    try {
      const source = await makeSource();
      slot.prepend(asked(source));
      button.textContent = "Make another address";
    } catch (error) {
      say(problem, error.message);
    }
    button.disabled = false;
  };
}

function asked({ upload, download }) {
  const card = handout({
    title: "Waiting for a file",
    text: "Send this address to whoever has the file. It takes one file, once. This page shows when it has come.",
    copies: [["Address", dropPage(upload)]],
    qr: { text: dropPage(upload), label: "Scan to open the address" },
    link: upload,
  });
  lookUntilThere(card, download);
  return card;
}

/** Puts the archive in the place of the address once it is there. */
async function lookUntilThere(card, download) {
  while (serverNow() < download.expiresAt) {
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
    try {
      card.replaceWith(archiveCard(download, await lookAt(download), "A file has come"));
      return;
    } catch {
      // Nothing has been uploaded yet, or the line is down: the next look tells.
    }
  }
}
