// What a download link leads to: its facts, the download, and the list of what is inside.

import { fetchHere } from "./api.js";
import { element, fromTemplate, plain, say } from "./element.js";
import { countDown } from "./links.js";
import { countText, sizeText } from "./text.js";
import { entriesOf } from "./untar.js";

/** An archive up to this size is listed without being asked. */
const LIST_AT_ONCE_BYTES = 8 * 1024 * 1024;
const MAX_SHOWN = 2000;

/** Asks for its first byte: unlike a HEAD that is refused, this one says why. */
export function lookAt(link) {
  return fetchHere(link.address, { headers: { Range: "bytes=0-0" } });
}

/** A card of it, from the answer to a look at it. `onUse` is called when it is downloaded. */
export function archiveCard(link, answer, title, onUse = () => {}) {
  const card = fromTemplate("archive");
  const find = (selector) => card.querySelector(selector);
  const header = (name) => answer.headers.get(name) ?? "";
  const size = Number(header("Content-Range").split("/")[1]);
  const type = header("Content-Type");
  const [, name] = /filename="([^"]*)"/.exec(header("Content-Disposition")) ?? [];
  find("h2").textContent = title ?? name;
  find(".size").textContent = `${sizeText(size)} (${size.toLocaleString("en")} bytes)`;
  find(".type").textContent = type;
  find(".sha256").textContent = header("ETag").replaceAll('"', "");
  const download = find(".download");
  download.href = link.address;
  download.onclick = onUse;
  countDown(find(".countdown"), link, () => download.removeAttribute("href"));
  const button = find(".list");
  button.hidden = !canList(type);
  button.onclick = () => {
    button.hidden = true;
    list(find(".contents"), link, type);
  };
  if (canList(type) && size <= LIST_AT_ONCE_BYTES) button.click();
  return card;
}

function canList(type) {
  return type === "application/gzip" || type === "application/x-tar";
}

async function list(contents, link, type) {
  const [state, items] = [contents.querySelector(".state"), contents.querySelector("ul")];
  contents.hidden = false;
  say(state, "Looking inside …");
  let [files, folders, bytes] = [0, 0, 0];
  let last = performance.now();
  try {
    const { body } = await fetchHere(link.address);
    const tar = type === "application/gzip" ? body.pipeThrough(new DecompressionStream("gzip")) : body;
    for await (const entry of entriesOf(tar)) {
      if (entry.isFolder) folders += 1;
      else files += 1;
      bytes += entry.isFolder ? 0 : entry.size;
      if (files + folders <= MAX_SHOWN) items.append(row(entry));
      if (performance.now() - last > 250) {
        last = performance.now();
        say(state, `Looking inside: ${countText(files, "file")} so far …`);
      }
    }
    say(state, summary(files, folders, bytes));
  } catch (error) {
    const told = error instanceof TypeError ? "It is damaged, or no tar." : error.message;
    say(state, files + folders > 0 ? `${told} This was read before:` : told);
  }
  items.hidden = files + folders === 0;
}

function row({ path, size, isFolder }) {
  const note = isFolder ? "folder" : sizeText(size);
  return element("li", {}, element("span", { textContent: plain(path) }), element("span", { textContent: note }));
}

function summary(files, folders, bytes) {
  const shown = files + folders > MAX_SHOWN ? ` The first ${MAX_SHOWN.toLocaleString("en")} are:` : "";
  return `${countText(files, "file")} in ${countText(folders, "folder")}, ${sizeText(bytes)} unpacked.${shown}`;
}
