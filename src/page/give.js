// Give: an archive or a folder goes up, and a link to hand out comes back.

import { call } from "./api.js";
import { element } from "./element.js";
import { handout } from "./handout.js";
import { readLink, takePage } from "./links.js";
import { showSender } from "./sender.js";
import { sizeText } from "./text.js";

/** Makes a source: both its links. */
export async function makeSource() {
  const { source } = await call("POST", "v1/sources");
  const links = [source.upload_url, source.download_url];
  try {
    const [upload, download] = links.map(readLink);
    return { upload, download };
  } catch {
    // They lead to the object store itself, where this page may not send anything.
    throw new Error(`Here links lead to an object store, which this page must not reach. Use curl: curl -T FILE '${links[0]}'`);
  }
}

export function openGive(section) {
  const slot = section.querySelector(".slot");
  if (slot.childElementCount > 0) return; // What is under way, or has just been given, stays.
  let source;
  showSender(slot, {
    uploadLink: async () => (source = await makeSource()).upload,
    onArrived: (report, content) => {
      const again = element("button", { textContent: "Give something else" });
      again.onclick = () => {
        slot.replaceChildren();
        openGive(section);
        slot.querySelector("button").focus();
      };
      slot.replaceChildren(given(source.download, report, content), element("p", { className: "actions" }, again));
      slot.querySelector(".copy button").focus();
    },
  });
}

function given(download, report, content) {
  return handout({
    title: "Ready to hand out",
    text: `${content.name}, ${sizeText(report.size)}. Whoever has one of these can download it.`,
    copies: [
      ["Download link", download.text],
      ["Page to open", takePage(download)],
      ["With curl", `curl -fOJ '${download.text}'`],
      ["SHA-256", report.sha256],
    ],
    qr: { text: takePage(download), label: "Scan to open the page" },
    link: download,
  });
}
