// Where files are dropped or chosen, and how they are seen leaving: in Give, and at /drop.

import { contentOf, entriesOfDrop, entriesOfFiles } from "./choose.js";
import { fromTemplate, say } from "./element.js";
import { Pace } from "./pace.js";
import { countText, durationText, sizeText } from "./text.js";
import { upload } from "./upload.js";

/** `uploadLink()` is asked for a link once there is something to send. */
export function showSender(slot, { uploadLink, onArrived, onRefused = () => {} }) {
  const sender = fromTemplate("sender");
  const find = (selector) => sender.querySelector(selector);
  const [dropzone, sending, problem] = [find(".dropzone"), find(".sending"), find(":scope > .problem")];
  for (const what of ["file", "folder"]) {
    const input = find(`.${what}-input`);
    find(`.choose-${what}`).onclick = () => input.click();
    input.onchange = () => {
      const chosen = entriesOfFiles(input.files);
      input.value = ""; // The same may be chosen again.
      if (chosen.length > 0) give(Promise.resolve(chosen));
    };
  }
  dropzone.ondragover = () => dropzone.classList.add("over");
  dropzone.ondragleave = () => dropzone.classList.remove("over");
  dropzone.ondrop = (event) => {
    dropzone.classList.remove("over");
    give(entriesOfDrop(event.dataTransfer, (count) => say(find(".state"), `Reading: ${countText(count, "file")} …`)));
  };

  async function give(reading) {
    const cancelling = new AbortController();
    find(".cancel").onclick = () => cancelling.abort();
    say(problem);
    show(true);
    const display = new Display(sending);
    try {
      const content = await contentOf(await reading);
      display.begin(content);
      const link = await uploadLink();
      const report = await upload(link, content, { ...display.watch, signal: cancelling.signal });
      sender.remove();
      onArrived(report, content);
    } catch (error) {
      show(false);
      say(problem, error.message);
      onRefused(error);
      find(".choose-file").focus();
    }
  }

  function show(isSending) {
    dropzone.hidden = isSending;
    sending.hidden = !isSending;
    if (isSending) find(".cancel").focus();
  }

  slot.replaceChildren(sender);
}

class Display {
  constructor(sending) {
    const find = (selector) => sending.querySelector(selector);
    [this.name, this.bar, this.state] = [find("h2"), find("progress"), find(".state")];
    this.numbers = [...find(".numbers").children];
    this.bar.removeAttribute("value");
    for (const place of [this.name, this.state, ...this.numbers]) place.textContent = "";
    this.watch = {
      onProgress: (share, bytes) => this.progress(share, bytes),
      onState: (sentence) => say(this.state, sentence),
    };
  }

  begin(content) {
    const { entries } = content;
    const count = entries ? `, ${countText(entries.filter(({ file }) => file).length, "file")}` : "";
    this.name.textContent = `${content.name} (${sizeText(content.size)}${count})`;
    this.pace = new Pace();
    say(this.state);
  }

  progress(share, bytes) {
    const [amount, speed, left] = this.numbers;
    this.pace.note(bytes);
    this.bar.value = Math.min(1, share);
    const perSecond = this.pace.bytesPerSecond();
    amount.textContent = `${Math.floor(Math.min(1, share) * 100)} %, ${sizeText(bytes)}`;
    speed.textContent = perSecond ? `${sizeText(perSecond)}/s` : "";
    const remaining = share > 0 ? (bytes / share - bytes) / perSecond : NaN;
    left.textContent = Number.isFinite(remaining) ? `${durationText(remaining)} left` : "";
  }
}
