// What somebody sees who was asked for a file: at /drop, with the upload link behind `#`.

import { element, say } from "./element.js";
import { countDown, forgetAddress, linkInAddress, readForeignLink } from "./links.js";
import { showSender } from "./sender.js";
import { sizeText } from "./text.js";

export function openDrop(section) {
  const [slot, problem] = [section.querySelector(".slot"), section.querySelector(":scope > .problem")];
  let link;
  try {
    link = readForeignLink(linkInAddress());
  } catch (error) {
    say(problem, location.hash ? error.message : "The address is not whole: open it again as you were given it.");
    return;
  }
  const stop = countDown(section.querySelector(".countdown"), link);
  showSender(slot, {
    uploadLink: async () => link,
    onArrived: (report, content) => {
      stop();
      forgetAddress();
      section.querySelector(".lead").hidden = true;
      slot.replaceChildren(arrived(report, content));
      slot.firstElementChild.focus();
    },
    onRefused: (error) => {
      if ([403, 409, 410].includes(error.status)) forgetAddress();
    },
  });
}

function arrived(report, content) {
  return element(
    "div",
    { className: "card", tabIndex: -1 },
    element("div", { role: "status" }, element("h2", { textContent: "It has arrived. Thank you." })),
    element("p", { className: "hint", textContent: `${content.name}, ${sizeText(report.size)}. You can close this page.` }),
    element("dl", {}, element("div", {}, element("dt", { textContent: "SHA-256" }), element("dd", {}, element("code", { textContent: report.sha256 })))),
  );
}
