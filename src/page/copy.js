// A text with a button that copies it.

import { fromTemplate } from "./element.js";

/** `label` above `text`. */
export function copyable(label, text) {
  const made = fromTemplate("copy");
  const [code, button] = [made.querySelector("code"), made.querySelector("button")];
  made.querySelector(".label").textContent = label;
  code.textContent = text;
  code.setAttribute("aria-label", label);
  button.setAttribute("aria-label", `Copy: ${label}`);
  button.onclick = async () => {
    button.textContent = (await copy(code)) ? "Copied" : "Press Ctrl+C";
    setTimeout(() => (button.textContent = "Copy"), 2000);
  };
  return made;
}

/** Where the page came without TLS the browser lets none copy: then the text is selected, for the user to do it. */
async function copy(place) {
  try {
    await navigator.clipboard.writeText(place.textContent);
    return true;
  } catch {
    getSelection().selectAllChildren(place);
    return false;
  }
}
